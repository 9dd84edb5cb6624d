"""Batches: pure, in order, complete, and errors that name the file."""

import io

import numpy as np
import pytest

from byol_jax.data import order
from byol_jax.data import sources
from byol_jax.errors import UserError

pytest.importorskip('tensorflow')
Image = pytest.importorskip('PIL.Image')

from byol_jax.data import decode  # pylint: disable=g-import-not-at-top
from byol_jax.data import pipeline  # pylint: disable=g-import-not-at-top

_N, _BATCH, _SIZE = 13, 6, 8


def _encoded(sizes, labels=True):
  """Random PNG and JPEG images in memory as a source."""
  rng = np.random.default_rng(0)
  files = []
  for k, size in enumerate(sizes):
    file = io.BytesIO()
    pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, 'JPEG' if k % 2 else 'PNG')
    files.append(file.getvalue())
  return sources.Encoded(
      read=files.__getitem__, size=len(files),
      labels=np.arange(len(files), dtype=np.int32) if labels else None,
      names=[f'image {k}' for k in range(len(files))], class_names=None,
      name='test images')


@pytest.fixture(scope='module', name='source')
def _source():
  return _encoded([(10 + k, 30 - k) for k in range(_N)])


def _train(source, start_step=0, num_steps=5, rows=range(_BATCH), **options):
  return list(pipeline.train_batches(
      source, seed=3, start_step=start_step, num_steps=num_steps,
      batch_size=_BATCH, rows_of_host=np.array(rows), image_size=_SIZE,
      **options))


def test_shows_what_order_says(source):
  for step, batch in enumerate(_train(source)):
    assert batch['views'].shape == (_BATCH, 2, _SIZE, _SIZE, 3)
    assert batch['views'].dtype == np.uint8
    assert batch['labels'].dtype == np.int32
    indices = order.rows(3, step, _BATCH, _N)
    np.testing.assert_array_equal(batch['labels'], indices)
    u = order.uniforms(3, step, np.arange(_BATCH), 8).reshape(-1, 2, 4)
    for k in (0, _BATCH - 1):
      np.testing.assert_array_equal(
          batch['views'][k],
          decode.decode_two_views(source.read(indices[k]), u[k], _SIZE))
  seen = np.concatenate([b['labels'] for b in _train(source)])
  np.testing.assert_array_equal(np.sort(seen[:_N]), np.arange(_N))


@pytest.mark.parametrize('threads, prefetch', [(1, 1), (2, 3), (7, 1)])
def test_threads_change_nothing(source, threads, prefetch):
  for ours, theirs in zip(
      _train(source, threads=threads, prefetch=prefetch),
      _train(source, threads=3), strict=True):
    np.testing.assert_array_equal(ours['views'], theirs['views'])
    np.testing.assert_array_equal(ours['labels'], theirs['labels'])


def test_start_step_and_hosts_change_nothing(source):
  whole = _train(source)
  for ours, theirs in zip(
      _train(source, start_step=3, num_steps=2), whole[3:], strict=True):
    np.testing.assert_array_equal(ours['views'], theirs['views'])
  for rows in ([0, 1, 2], [3, 4, 5], [4, 1]):
    for ours, theirs in zip(_train(source, rows=rows), whole, strict=True):
      np.testing.assert_array_equal(ours['views'], theirs['views'][rows])
      np.testing.assert_array_equal(ours['labels'], theirs['labels'][rows])


def test_no_labels_no_key():
  source = _encoded([(9, 9)] * 4, labels=False)
  assert set(_train(source, num_steps=1)[0]) == {'views'}
  batch = next(pipeline.eval_batches(source, batch_size=4, image_size=_SIZE))
  assert set(batch) == {'images', 'mask'}


def test_eval_counts_every_image_once(source):
  batches = list(pipeline.eval_batches(source, batch_size=5, image_size=_SIZE))
  assert [len(batch['mask']) for batch in batches] == [5, 5, 5]
  mask = np.concatenate([batch['mask'] for batch in batches])
  labels = np.concatenate([batch['labels'] for batch in batches])
  images = np.concatenate([batch['images'] for batch in batches])
  assert mask.dtype == bool and images.dtype == np.uint8
  assert labels.dtype == np.int32
  assert mask.tolist() == [True] * _N + [False] * 2
  np.testing.assert_array_equal(labels[mask], np.arange(_N))
  assert not images[~mask].any() and not labels[~mask].any()
  for k in (0, _N - 1):
    np.testing.assert_array_equal(
        images[k], decode.decode_eval(source.read(k), _SIZE))


def test_eval_on_two_hosts(source):
  """-1 evens out the number of batches."""
  rows = np.pad(np.arange(_N), (0, 3), constant_values=-1).reshape(2, 8)
  parts = [list(pipeline.eval_batches(
      source, batch_size=4, image_size=_SIZE, rows=part)) for part in rows]
  assert [len(part) for part in parts] == [2, 2]
  labels = np.concatenate([b['labels'][b['mask']] for p in parts for b in p])
  np.testing.assert_array_equal(labels, np.arange(_N))


def test_load_resident(source):
  same = _encoded([(9, 7)] * 5)
  data = pipeline.load_resident(same, 5 * 9 * 7 * 3)
  assert data.images.shape == (5, 9, 7, 3) and data.images.dtype == np.uint8
  for k in range(5):
    np.testing.assert_array_equal(
        data.images[k], decode.decode_image(same.read(k)))
  np.testing.assert_array_equal(data.labels, same.labels)
  assert pipeline.load_resident(same, 5 * 9 * 7 * 3 - 1) is None
  assert pipeline.load_resident(source, 10**9) is None  # sizes differ
  assert pipeline.load_resident(_encoded([(9, 7)] * 4 + [(7, 9)]), 10**9) is None


def _broken(data):
  good = _encoded([(40, 40)] * 8)
  return good._replace(
      read=lambda index: data(good, index) if index == 5 else good.read(index))


def _unreadable(good, index):
  raise UserError(f'cannot read {good.names[index]}')


_RUNS = {
    'train': _train,
    'eval': lambda source: list(pipeline.eval_batches(
        source, batch_size=3, image_size=_SIZE)),
    'resident': lambda source: pipeline.load_resident(source, 10**9),
}


@pytest.mark.parametrize('run', _RUNS)
def test_a_bad_image_is_named(run):
  with pytest.raises(UserError, match="cannot decode 'image 5' of test images"):
    _RUNS[run](_broken(lambda good, index: good.read(index)[:60]))
  with pytest.raises(UserError, match='cannot read image 5'):
    _RUNS[run](_broken(_unreadable))


def test_batches_before_the_bad_image_come():
  source = _broken(lambda good, index: b'\xff\xd8\xff')
  batches = pipeline.eval_batches(source, batch_size=2, image_size=_SIZE)
  assert next(batches)['labels'].tolist() == [0, 1]
  assert next(batches)['labels'].tolist() == [2, 3]
  with pytest.raises(UserError, match='image 5'):
    next(batches)
