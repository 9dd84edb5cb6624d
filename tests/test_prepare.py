"""task=prepare: what goes in comes out, after a kill too, and damage is named."""

from concurrent import futures
import io
import os
import signal
import subprocess
import sys
import time
import types

import numpy as np
from PIL import Image
import pytest

from byol_jax import config as config_lib
from byol_jax import prepare
from byol_jax.data import decode
from byol_jax.data import pipeline
from byol_jax.data import prepared
from byol_jax.data import sources
from byol_jax.errors import UserError

pytest.importorskip('array_record')
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _photos(folder, count=23, size=(30, 40)):
  rng = np.random.default_rng(0)
  for k in range(count):
    path = folder / ('train' if k < count - 5 else 'test') / 'ab'[k % 2]
    path.mkdir(parents=True, exist_ok=True)
    pixels = rng.integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path / f'{k:03d}.jpg')
  return str(folder)


def _config(photos, output, **options):
  c = config_lib.base().unlock()
  c.task, c.data.source, c.data.path = 'prepare', 'folder', photos
  c.prepare.update(output=str(output), images_per_shard=4, **options)
  return c


def _open(path, split='train'):
  return sources.open_source('prepared', path=str(path), split=split)


def test_every_byte_name_and_label_comes_back(tmp_path):
  photos = _photos(tmp_path / 'photos')
  prepare.run(_config(photos, tmp_path / 'out'))
  for split, count in (('train', 18), ('test', 5)):
    before = sources.folder(photos, split)
    after = _open(tmp_path / 'out', split)
    assert after.size == count
    assert list(after.names) == list(before.names)
    np.testing.assert_array_equal(after.labels, before.labels)
    assert after.class_names == before.class_names == ('a', 'b')
    for k in range(count):
      assert after.read(k) == before.read(k)
  assert not [name for _, _, files in os.walk(tmp_path / 'out')
              for name in files if name.endswith('.tmp')]


def test_training_sees_the_same_batches(tmp_path):
  photos = _photos(tmp_path / 'photos')
  prepare.run(_config(photos, tmp_path / 'out'))
  streams = [list(pipeline.train_batches(
      source, seed=1, start_step=0, num_steps=6, batch_size=8,
      rows_of_host=np.arange(8), image_size=16, threads=threads))
             for source, threads in ((sources.folder(photos, 'train'), 1),
                                     (_open(tmp_path / 'out'), 4))]
  for one, other in zip(*streams, strict=True):
    assert one['views'].tobytes() == other['views'].tobytes()
    assert one['labels'].tolist() == other['labels'].tolist()


def test_many_threads_read_the_right_records(tmp_path):
  photos = _photos(tmp_path / 'photos', 200, size=(8, 8))
  prepare.run(_config(photos, tmp_path / 'out'))
  before, after = sources.folder(photos, 'train'), _open(tmp_path / 'out')
  expected = [before.read(k) for k in range(before.size)]
  wanted = np.random.default_rng(0).integers(0, before.size, 4000).tolist()
  with futures.ThreadPoolExecutor(16) as pool:
    for k, data in zip(wanted, pool.map(after.read, wanted)):
      assert data == expected[k]


def test_short_side(tmp_path):
  photos = _photos(tmp_path / 'photos')
  prepare.run(_config(photos, tmp_path / 'out', short_side=20))
  shape = decode.decode(_open(tmp_path / 'out').read(3)).shape
  assert shape == (20, 27, 3)
  metadata = prepared.read_metadata(str(tmp_path / 'out/train'))
  assert metadata['short_side'] == 20 and metadata['quality'] == 95
  assert metadata['images'] == 18 and metadata['source'].endswith('train')


@pytest.mark.parametrize('size, new', [
    ((40, 60), (20, 30)), ((61, 40), (30, 20)), ((20, 500), (20, 500)),
    ((7, 9), (7, 9)), ((21, 21), (20, 20))])
def test_smaller_keeps_the_shape_and_never_enlarges(size, new):
  file = io.BytesIO()
  pixels = np.full((*size, 3), (200, 100, 50), np.uint8)
  Image.fromarray(pixels).save(file, 'PNG')
  data = prepare.smaller(file.getvalue(), 20, 95)
  assert decode.decode(data).shape[:2] == new
  assert np.abs(decode.decode(data).astype(int) - (200, 100, 50)).max() < 4
  assert (data == file.getvalue()) == (size == new)


def test_bad_files_are_left_out_and_named(tmp_path):
  photos = _photos(tmp_path / 'photos')
  (tmp_path / 'photos/train/a/004.jpg').write_bytes(b'no picture')
  prepare.run(_config(photos, tmp_path / 'out'))
  after = _open(tmp_path / 'out')
  assert after.size == 17 and 'a/004.jpg' not in after.names
  assert after.names[2] == 'a/006.jpg' and after.labels.sum() == 9
  left_out = prepared.read_metadata(str(tmp_path / 'out/train'))['left_out']
  assert left_out.keys() == {'a/004.jpg'}


def test_names_are_unique():
  assert prepare.unique_names(['a', 'b', 'a', 'a']) == ['a', 'b', 'a#2', 'a#3']


def test_a_killed_run_goes_on_with_what_is_missing(tmp_path):
  photos = _photos(tmp_path / 'photos', 400, size=(200, 200))
  flags = [f'--config={ROOT}/configs/prepare.py', f'--config.data.path={photos}',
           '--config.prepare.images_per_shard=16', '--config.data.threads=1',
           '--config.prepare.short_side=100']
  command = [sys.executable, '-m', 'byol_jax.main', *flags,
             f'--config.prepare.output={tmp_path / "out"}']
  environment = os.environ | {'PYTHONPATH': ROOT}
  process = subprocess.Popen(command, env=environment, cwd=tmp_path,
                             stdout=subprocess.DEVNULL)
  done = lambda: sorted((tmp_path / 'out/train').glob('*.json'))
  deadline = time.time() + 120
  while len(done()) < 3 and time.time() < deadline:
    time.sleep(0.01)
  process.send_signal(signal.SIGKILL)
  process.wait()
  kept = {path: path.stat().st_mtime_ns for path in done()}
  assert 3 <= len(kept) < 25
  with pytest.raises(UserError, match='not complete'):
    _open(tmp_path / 'out')
  again = subprocess.run(command, env=environment, cwd=tmp_path, text=True,
                         capture_output=True, timeout=300)
  assert again.returncode == 0, again.stderr
  assert f'{len(kept)} of 25 shards are there' in again.stdout
  for path, written in kept.items():
    assert path.stat().st_mtime_ns == written
  fresh = subprocess.run(
      [*command[:-1], f'--config.prepare.output={tmp_path / "fresh"}'],
      env=environment, cwd=tmp_path, capture_output=True, timeout=300)
  assert fresh.returncode == 0
  one, other = (prepared.read_metadata(str(tmp_path / name / 'train'))
                for name in ('out', 'fresh'))
  assert one == other  # every SHA-256 too


# ------------------------------------------------------------------- bad input
def _damage(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 255
  path.write_bytes(data)


def test_run_again_checks_every_shard(tmp_path, caplog):
  caplog.set_level('INFO', 'byol_jax')
  config = _config(_photos(tmp_path / 'photos'), tmp_path / 'out')
  prepare.run(config)
  prepare.run(config)
  assert '5 shards with the right SHA-256' in caplog.text
  shard = tmp_path / 'out/train/images-00002-of-00005.array_record'
  _damage(shard)
  with pytest.raises(UserError, match='00002-of-00005.* is damaged'):
    prepare.run(config)
  shard.unlink()
  with pytest.raises(UserError, match='00002-of-00005.* is missing'):
    prepare.run(config)
  with pytest.raises(UserError, match='00002-of-00005.* is missing'):
    _open(tmp_path / 'out')


def test_a_shard_of_another_size_is_named_at_the_start(tmp_path):
  prepare.run(_config(_photos(tmp_path / 'photos'), tmp_path / 'out'))
  shard = tmp_path / 'out/train/images-00001-of-00005.array_record'
  shard.write_bytes(shard.read_bytes()[:-100])
  with pytest.raises(UserError, match='00001-of-00005.*bytes'):
    _open(tmp_path / 'out')


def test_a_damaged_record_is_named_or_bad(tmp_path):
  prepare.run(_config(_photos(tmp_path / 'photos'), tmp_path / 'out'))
  _damage(tmp_path / 'out/train/images-00000-of-00005.array_record')
  source = _open(tmp_path / 'out')
  with pytest.raises(UserError, match='record . of shard .*00000-of-00005'):
    for k in range(4):
      source.read(k)


def test_other_data_in_the_output_is_refused(tmp_path):
  photos = _photos(tmp_path / 'photos')
  prepare.run(_config(photos, tmp_path / 'out'))
  with pytest.raises(UserError, match='prepared otherwise'):
    prepare.run(_config(photos, tmp_path / 'out', short_side=16))


@pytest.mark.parametrize('options, words', [
    (dict(output=''), 'prepare.output is empty'),
    (dict(output='gs://bucket/x'), 'copy it to the bucket'),
    (dict(output='/proc/x'), '/proc/x'),
])
def test_where_nothing_can_be_written(tmp_path, options, words):
  config = _config(_photos(tmp_path / 'photos'), 'x')
  config.prepare.update(options)
  with pytest.raises(UserError, match=words):
    prepare.run(config)


def test_what_is_in_memory_needs_no_preparation(tmp_path):
  config = _config('', tmp_path / 'out')
  config.data.source = 'fashion_sample'
  with pytest.raises(UserError, match='no preparation'):
    prepare.run(config)


@pytest.mark.parametrize('path, words', [
    ('nowhere', 'no prepared data'), ('photos', 'not complete')])
def test_a_path_that_is_not_prepared(tmp_path, path, words):
  _photos(tmp_path / 'photos')
  with pytest.raises(UserError, match=words):
    _open(tmp_path / path)


def test_a_copy_in_a_bucket_is_read_as_one_on_the_disk(tmp_path, monkeypatch):
  """What is not array_record's own reading goes through epath."""
  prepare.run(_config(_photos(tmp_path / 'photos'), tmp_path / 'out'))
  here = _open(tmp_path / 'out')

  def local(path):
    return str(path).replace('gs://bucket', str(tmp_path))
  path_of, module = prepared.epath.Path, prepared._array_record()
  monkeypatch.setattr(prepared.epath, 'Path', lambda path: path_of(local(path)))
  monkeypatch.setattr(prepared, '_array_record', lambda: types.SimpleNamespace(
      ArrayRecordReader=lambda path, options: module.ArrayRecordReader(
          local(path), options)))
  there = _open('gs://bucket/out')
  assert there.names == here.names
  assert [there.read(k) for k in range(18)] == [here.read(k) for k in range(18)]
