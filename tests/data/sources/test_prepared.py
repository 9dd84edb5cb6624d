"""Prepared shards: opened as they were written, or what is damaged is named."""

import json
import os
import types

import numpy as np
import pytest

from byol_jax.data.records import shards
from byol_jax.data.records import writing
from byol_jax.data.sources import open as open_lib
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.storage import paths as paths_lib
from byol_jax.storage import retry

pytest.importorskip('array_record')
_IMAGES = [np.random.default_rng(k).bytes(2000) for k in range(18)]


@pytest.fixture(name='folder')
def _folder(tmp_path):
  """The part `train`: 18 images, of which none is a picture, in 5 shards."""
  folder = tmp_path / 'out/train'
  folder.mkdir(parents=True)
  files = [f'images-{k:05d}-of-00005.array_record' for k in range(5)]
  for k, file in enumerate(files):
    rows = range(4 * k, min(4 * k + 4, 18))
    writing.write_shard(
        str(folder / file), ((f'{i}.jpg', i % 3, _IMAGES[i]) for i in rows), {}, 'f')()
  writing.finish(str(folder), files, fingerprint='f', short_side=20,
                 class_names=['a', 'b', 'c'])
  return folder


def _open(folder, **wanted):
  return open_lib.open_part('prepared', path=os.path.dirname(folder), **wanted)


def test_all_comes_back(folder):
  source = _open(folder)
  assert source.names == [f'{k}.jpg' for k in range(18)]
  assert source.labels.tolist() == [k % 3 for k in range(18)]
  assert source.labels.dtype == np.int32 and source.class_names == ('a', 'b', 'c')
  for k in (17, 0, 4, 3, 12):
    assert source.read(k) == _IMAGES[k]
  assert _open(folder, split='test') is None and _open(folder, max_bad=7).bad.limit == 7


def test_records_smaller_than_views_are_told(folder, caplog):
  for image_size, times in ((20, 0), (21, 1)):
    caplog.clear()
    _open(folder, image_size=image_size)
    assert [r.levelname for r in caplog.records] == ['WARNING'] * times
  assert 'data.image_size = 21' in caplog.text


def test_a_shard_of_another_size_is_named_at_the_start(folder):
  shard = folder / 'images-00001-of-00005.array_record'
  shard.write_bytes(shard.read_bytes()[:-100])
  with pytest.raises(UserError, match='00001-of-00005.*bytes'):
    _open(folder)


def test_a_damaged_record_is_named(folder):
  shard = folder / 'images-00000-of-00005.array_record'
  data = shard.read_bytes()
  at = data.index(_IMAGES[2]) + 1000
  shard.write_bytes(data[:at] + bytes([data[at] ^ 255]) + data[at + 1:])
  source = _open(folder)
  assert source.read(3) == _IMAGES[3]
  with pytest.raises(UserError, match='record 2 of shard .*00000-of-00005'):
    source.read(2)


def test_prepared_data_without_images_is_not_opened(folder):
  path = folder / 'metadata.json'
  said = json.loads(path.read_text())
  path.write_text(json.dumps(said | {'images': 0, 'shards': []}))
  with pytest.raises(UserError, match='has no images'):
    _open(folder)


@pytest.mark.parametrize('path, words', [
    ('nowhere', 'no prepared data in .*nowhere/train.*data.path, or data.source'),
    ('photos', 'no prepared data in .*photos/train.*data.path, or data.source'),
    ('begun', 'not complete'), ('locked', 'not complete')])
def test_a_path_that_is_not_prepared(tmp_path, path, words):
  for part in ('photos', 'begun', 'locked'):
    (tmp_path / part / 'train').mkdir(parents=True)
  (tmp_path / 'photos/train/a.jpg').touch()
  (tmp_path / 'begun/train/images-00000-of-00002.array_record.tmp').touch()
  (tmp_path / 'locked/.prepare.lock').touch()
  with pytest.raises(UserError, match=words):
    _open(tmp_path / path / 'train')


def test_a_copy_in_a_bucket_is_read_as_one_on_the_disk(folder, monkeypatch):
  """All but array_record's own reading goes through epath."""
  here = _open(folder)

  def local(path):
    return str(path).replace('gs://bucket', str(folder.parents[1]))
  epath, module = paths_lib.epath, shards.module()
  path_of = epath.Path
  monkeypatch.setattr(epath, 'Path', lambda path: path_of(local(path)))
  monkeypatch.setattr(shards, 'module', lambda: types.SimpleNamespace(
      ArrayRecordReader=lambda path, options: module.ArrayRecordReader(
          local(path), options)))
  there = _open('gs://bucket/out/train')
  assert there.names == here.names
  assert [there.read(k) for k in range(18)] == _IMAGES


def test_storage_that_fails_for_a_while(folder, monkeypatch):
  module, failures = shards.module(), []
  def reader(path, options):
    if failures:
      raise RuntimeError(failures.pop())
    return module.ArrayRecordReader(path, options)
  monkeypatch.setattr(shards, 'module', lambda: types.SimpleNamespace(
      ArrayRecordReader=reader))
  monkeypatch.setattr(retry.time, 'sleep', lambda seconds: None)
  busy = 'open() failed: Too many open files; opening a.array_record'
  failures += [busy] * 5
  source = _open(folder)
  assert [source.read(k) for k in range(18)] == _IMAGES
  failures += [busy] * 50
  with pytest.raises(TransientError, match='images-.*for . s now.*Too many'):
    _open(folder).read(0)
  failures[:] = ['open() failed: No such file or directory; opening a'] * 50
  with pytest.raises(UserError, match='record 0 of shard .*No such file'):
    _open(folder).read(0)
  assert len(failures) == 49  # at once
