"""Batches: pure, in order, complete, and errors that name the file."""

import io
import threading
import time

import numpy as np
from PIL import Image
import pytest

from byol_jax.data import bad
from byol_jax.data.feed import feed as feed_lib
from byol_jax.data.feed import order
from byol_jax.data.feed import stream
from byol_jax.data.images import crops
from byol_jax.data.images import decode
from byol_jax.data.images import resize
from byol_jax.data.images.crops import CropSpec
from byol_jax.data.sources import table
from byol_jax.devices import grid as grid_lib
from byol_jax.devices import prefetch as prefetch_lib
from byol_jax.errors import UserError

_N, _BATCH, _SIZE = 13, 6, 8


def _encoded(sizes, labels=True, max_bad=None):
  """Random PNG and JPEG images in memory as a source."""
  rng = np.random.default_rng(0)
  files = []
  for k, size in enumerate(sizes):
    file = io.BytesIO()
    pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, 'JPEG' if k % 2 else 'PNG')
    files.append(file.getvalue())
  names = [f'image {k}' for k in range(len(files))]
  return table.Encoded(
      read=files.__getitem__, size=len(files),
      labels=np.arange(len(files), dtype=np.int32) if labels else None,
      names=names, class_names=None, name='test images',
      bad=bad.BadImages(names, 'test images', max_bad))


@pytest.fixture(scope='module', name='source')
def _source():
  return _encoded([(10 + k, 30 - k) for k in range(_N)])


def _train(source, start_step=0, num_steps=5, rows=range(_BATCH), **options):
  return list(stream.train_batches(
      source, CropSpec(_SIZE), seed=3, start_step=start_step, num_steps=num_steps,
      batch_size=_BATCH, examples_of_host=np.array(rows), **options))


@pytest.mark.parametrize('sampler', ['tf', 'torchvision'])
def test_other_samplers_take_more_draws(source, sampler):
  """Each view has its own tries, functions of (seed, step, example) as well."""
  crop = CropSpec(_SIZE, sampler=sampler)
  batch, = stream.train_batches(source, crop, seed=3, start_step=2, num_steps=1,
                                batch_size=_BATCH, examples_of_host=np.array([3, 1]))
  shown = order.rows(3, 2, _BATCH, source.size)[[3, 1]]
  u = order.uniforms(3, 2, np.array([3, 1]), 2 * crop.draws).reshape(2, 2, -1)
  views = np.empty((2, _SIZE, _SIZE, 3), np.uint8)
  for k in range(2):
    decode.decode_views(source.read(int(shown[k])), u[k], views, crop)
    np.testing.assert_array_equal(batch['views'][k], views)
    image = decode.decode(source.read(int(shown[k])))
    box = crops.crop_box(u[k, 1], *image.shape[:2], sampler=sampler)
    resize.cut(image, tuple(int(side) for side in box), views[0])
    np.testing.assert_array_equal(views[0], views[1])


@pytest.mark.parametrize('sampler', crops.SAMPLERS)
def test_a_jigsaw_is_one_more_crop(source, sampler):
  """Its draws come last: the views are what they were."""
  plain = CropSpec(_SIZE, sampler=sampler)
  spec = plain._replace(jigsaw=crops.Jigsaw(size=15))
  options = dict(seed=3, start_step=2, num_steps=1, batch_size=_BATCH,
                 examples_of_host=np.array([3, 1]))
  batch, = stream.train_batches(source, spec, **options)
  without, = stream.train_batches(source, plain, **options)
  assert 'jigsaw' not in without
  np.testing.assert_array_equal(batch['views'], without['views'])
  shown = order.rows(3, 2, _BATCH, source.size)[[3, 1]]
  u = order.uniforms(3, 2, np.array([3, 1]), 3 * spec.draws).reshape(2, 3, -1)
  assert batch['jigsaw'].shape == (2, 15, 15, 3)
  for k in range(2):
    image, expected = decode.decode(source.read(int(shown[k]))), np.empty((15, 15, 3),
                                                                         np.uint8)
    box = crops.crop_box(u[k, 2], *image.shape[:2], (0.6, 1.0), sampler=sampler)
    resize.cut(image, tuple(int(side) for side in box), expected)
    np.testing.assert_array_equal(batch['jigsaw'][k], expected)


def test_shows_what_order_says(source):
  for step, batch in enumerate(_train(source)):
    assert batch['views'].shape == (_BATCH, 2, _SIZE, _SIZE, 3)
    assert batch['views'].dtype == np.uint8
    assert batch['labels'].dtype == np.int32
    indices = order.rows(3, step, _BATCH, _N)
    np.testing.assert_array_equal(batch['labels'], indices)
    u = order.uniforms(3, step, np.arange(_BATCH), 8).reshape(-1, 2, 4)
    for k in (0, _BATCH - 1):
      views = np.empty((2, _SIZE, _SIZE, 3), np.uint8)
      decode.decode_views(source.read(indices[k]), u[k], views, CropSpec(_SIZE))
      np.testing.assert_array_equal(batch['views'][k], views)
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


def test_a_thousand_start_steps_equal_the_unbroken_stream(source):
  """Resuming anywhere goes on as if nothing had happened."""
  whole = _train(source, num_steps=60)  # 27 epochs of 13 images
  rng = np.random.default_rng(0)
  for start in rng.integers(0, 60, 1000):
    row = int(rng.integers(_BATCH))
    batch, = _train(source, start_step=int(start), num_steps=1, rows=[row],
                    threads=1)
    expected = whole[start]
    assert batch['views'].tobytes() == expected['views'][row].tobytes()
    assert batch['labels'].tolist() == [expected['labels'][row]]


@pytest.mark.parametrize('threads', [1, 2, 8])
@pytest.mark.parametrize('hosts', [1, 2, 4, 8])
def test_hosts_and_threads_change_no_byte(source, hosts, threads):
  def batches(rows, threads):
    return list(stream.train_batches(
        source, CropSpec(_SIZE), seed=5, start_step=2, num_steps=4, batch_size=16,
        examples_of_host=rows, threads=threads))
  whole = batches(np.arange(16), 3)
  parts = [batches(rows, threads)
           for rows in np.arange(16).reshape(hosts, -1)]
  for step, expected in enumerate(whole):
    for key in expected:
      joined = np.concatenate([part[step][key] for part in parts])
      assert joined.tobytes() == expected[key].tobytes()


def test_no_labels_no_key():
  source = _encoded([(9, 9)] * 4, labels=False)
  assert set(_train(source, num_steps=1)[0]) == {'views'}
  batch = next(stream.eval_batches(source, batch_size=4, image_size=_SIZE))
  assert set(batch) == {'images', 'mask'}


def test_eval_counts_every_image_once(source):
  batches = list(stream.eval_batches(source, batch_size=5, image_size=_SIZE))
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
    expected = np.empty((_SIZE, _SIZE, 3), np.uint8)
    decode.decode_eval(source.read(k), expected)
    np.testing.assert_array_equal(images[k], expected)


def test_eval_on_two_hosts(source):
  """-1 evens out the number of batches."""
  rows = np.pad(np.arange(_N), (0, 3), constant_values=-1).reshape(2, 8)
  parts = [list(stream.eval_batches(
      source, batch_size=4, image_size=_SIZE, rows=part)) for part in rows]
  assert [len(part) for part in parts] == [2, 2]
  labels = np.concatenate([b['labels'][b['mask']] for p in parts for b in p])
  np.testing.assert_array_equal(labels, np.arange(_N))


def test_load_resident(source):
  same = _encoded([(9, 7)] * 5)
  data = stream.load_resident(same, 5 * 9 * 7 * 3)
  assert data.images.shape == (5, 9, 7, 3) and data.images.dtype == np.uint8
  for k in range(5):
    np.testing.assert_array_equal(
        data.images[k], decode.decode(same.read(k)))
  np.testing.assert_array_equal(data.labels, same.labels)
  assert stream.load_resident(same, 5 * 9 * 7 * 3 - 1) is None
  assert stream.load_resident(source, 10**9) is None  # sizes differ
  assert stream.load_resident(_encoded([(9, 7)] * 4 + [(7, 9)]), 10**9) is None


# ---------------------------------------------------------------- bad images
def _damage(source, *indices):
  """The source with some images cut short."""
  def read(index):
    return source.read(index)[:60] if index in indices else source.read(index)
  return source._replace(
      read=read, bad=bad.BadImages(source.names, source.name, len(source.names)))


def test_a_bad_image_is_replaced_by_the_same_one_everywhere(source):
  damaged = _damage(source, 4)
  substitute = order.substitute(4, 0, _N)
  assert substitute != 4
  whole = _train(source, num_steps=7)
  ours = _train(damaged, num_steps=7)
  places = 0
  for good, batch in zip(whole, ours, strict=True):
    was_bad = good['labels'] == 4
    places += was_bad.sum()
    assert (batch['labels'][was_bad] == substitute).all()
    np.testing.assert_array_equal(batch['labels'][~was_bad],
                                  good['labels'][~was_bad])
    np.testing.assert_array_equal(batch['views'][~was_bad],
                                  good['views'][~was_bad])
  assert places >= 3 and len(damaged.bad) == 1 and 4 in damaged.bad
  # From another step, on another host, knowing nothing of it yet.
  for theirs, batch in zip(
      _train(_damage(source, 4), start_step=3, num_steps=4, rows=[1, 5],
             threads=3), ours[3:], strict=True):
    np.testing.assert_array_equal(theirs['views'], batch['views'][[1, 5]])
    np.testing.assert_array_equal(theirs['labels'], batch['labels'][[1, 5]])


def test_a_bad_substitute_is_replaced_as_well(source):
  second = order.substitute(4, 0, _N)
  damaged = _damage(source, 4, second)
  third = next(k for k in (order.substitute(4, attempt, _N)
                           for attempt in range(1, 99)) if k not in (4, second))
  labels = np.concatenate([b['labels'] for b in _train(damaged)])[:_N]
  place = np.concatenate([b['labels'] for b in _train(source)])[:_N] == 4
  assert labels[place].tolist() == [third]


def test_evaluation_leaves_bad_images_out(source):
  batches = list(stream.eval_batches(
      _damage(source, 0, 7), batch_size=5, image_size=_SIZE))
  mask = np.concatenate([batch['mask'] for batch in batches])[:_N]
  images = np.concatenate([batch['images'] for batch in batches])[:_N]
  assert np.flatnonzero(~mask).tolist() == [0, 7]
  assert not images[~mask].any()


def test_resident_data_shows_the_same_as_streamed():
  damaged = _damage(_encoded([(9, 9)] * 12), 5)
  data = stream.load_resident(damaged, 10**9)
  substitute = order.substitute(5, 0, 12)
  assert data.labels[5] == substitute
  np.testing.assert_array_equal(data.images[5], data.images[substitute])
  assert 5 in data.bad


def test_too_many_end_the_run():
  damaged = _damage(_encoded([(9, 9)] * 40), *range(10, 20))
  damaged = damaged._replace(bad=bad.BadImages(damaged.names, 'them', 4))
  with pytest.raises(UserError, match='5 of 40 images of them') as error:
    _train(damaged, num_steps=20, threads=1)
  assert 'data.max_bad_images allows 4' in str(error.value)
  assert "'image 1" in str(error.value) and 'truncated' in str(error.value)


def test_nothing_but_bad_images_ends_the_run():
  damaged = _damage(_encoded([(9, 9)] * 6), *range(6))
  with pytest.raises(UserError, match='in a row'):
    _train(damaged)


def test_errors_of_the_source_itself_come_through():
  def read(index):
    raise UserError('the disk is gone')
  source = _encoded([(9, 9)] * 6)._replace(read=read)
  with pytest.raises(UserError, match='the disk is gone'):
    _train(source)


def test_closing_ends_the_threads(source):
  # an earlier test's error may still hold on to its threads
  before = set(threading.enumerate())
  def ours():
    return [t for t in set(threading.enumerate()) - before
            if t.name.startswith('decode')]
  batches = stream.train_batches(
      source, CropSpec(_SIZE), seed=3, start_step=0, num_steps=10**6,
      batch_size=_BATCH, examples_of_host=np.arange(_BATCH), threads=3)
  next(batches)
  assert 1 <= len(ours()) <= 3  # a pool adds none while one has nothing to do
  batches.close()
  assert not ours()


def test_closing_a_prefetch_waits_for_one_slow_read_at_most(source):
  reads = []
  def read(index):
    reads.append(index)
    time.sleep(.3)
    return source.read(index)
  before = set(threading.enumerate())
  stop = threading.Event()
  feed = feed_lib.make(source._replace(read=read), CropSpec(_SIZE), seed=3,
                       batch_size=64, threads=2)
  batches = prefetch_lib.prefetch(
      feed.batches(0, 10**6, grid_lib.local_example_grid(64, 1), stop),
      meanwhile=lambda: len(reads) > 2, stop=stop)
  assert next(batches) is None
  start = time.monotonic()
  batches.close()
  assert time.monotonic() - start < 2  # a batch takes ten seconds
  assert not set(threading.enumerate()) - before
  assert len(reads) <= 6
