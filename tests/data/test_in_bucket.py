"""Data sets in a bucket, against an emulator of Google Cloud Storage."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

tfds = pytest.importorskip('tensorflow_datasets')
pytest.importorskip('array_record')
pytest.importorskip(
    'importlib_resources', reason='TFDS 4.9.10 needs it to prepare a data set')

_COUNT = 9

# Copies a folder to the bucket, and says what is read here and there. Then it damages
# a shard of the training part.
_READ = '''
import contextlib, hashlib, json, pathlib, sys
from etils import epath
from byol_jax import bucket
from byol_jax.data import fingerprint, sources, storage
from byol_jax.errors import UserError

here, source, shard = sys.argv[1:]
bucket.choose_library()
there = f'gs://bucket/{pathlib.Path(here).name}'
for path in pathlib.Path(here).rglob('*.*'):
  if path.is_file():
    (epath.Path(there) / str(path.relative_to(here))).write_bytes(path.read_bytes())
ranges, opened = [], storage.ranges
@contextlib.contextmanager
def counting(path):
  with opened(path) as read:
    yield lambda *args: ranges.append(args) or read(*args)
storage.ranges = counting

def read(path):
  ranges.clear()
  try:
    found = sources.open_source(source, path=path, tfds_name='tiny')
    at_start = len(ranges)
    return [at_start, found.labels[:].tolist(), fingerprint.fingerprint(found), [
        hashlib.sha256(found.read(k)).hexdigest() for k in range(found.size)]]
  except UserError as error:
    return str(error)

said = [read(here), read(there), read(there)]
shard = epath.Path(there) / shard
data = shard.read_bytes()
middle = len(data) // 2
for damaged in (data[:-1], data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1:],
                None):
  if damaged is None:
    shard.unlink()
  else:
    shard.write_bytes(damaged)
  said.append(read(there))
said += [read(there + '/no'), read('gs://no-such-bucket/x')]
print(json.dumps(said))
'''


@pytest.mark.parametrize('kind', ['array_record', 'tfrecord', 'prepared'])
def test_a_data_set_in_a_bucket_is_what_it_is_here(cloud, tmp_path, kind):
  pixels = np.random.default_rng(0).integers(0, 256, (_COUNT, 40, 50, 3), np.uint8)
  tfds.dataset_builders.store_as_tfds_dataset(
      name='tiny', version='1.0.0', data_dir=str(tmp_path / 'tfds' / kind),
      features=tfds.features.FeaturesDict({
          'image': tfds.features.Image(shape=(None, None, 3), encoding_format='png'),
          'label': tfds.features.ClassLabel(num_classes=3)}),
      split_datasets={'train': [
          (k, {'image': image, 'label': k % 3}) for k, image in enumerate(pixels)]},
      file_format='tfrecord' if kind == 'tfrecord' else 'array_record')
  folder = tmp_path / 'tfds' / kind
  shard = f'tiny/1.0.0/tiny-train.{kind}-00000-of-00001'
  if kind == 'prepared':
    subprocess.run(
        [sys.executable, '-m', 'byol_jax.main', '--config=configs/prepare.py',
         '--config.data.source=tfds', f'--config.data.path={folder}',
         '--config.data.tfds_name=tiny', '--config.data.test_split=',
         f'--config.prepare.output={tmp_path / kind}'], check=True, timeout=120)
    folder, shard = tmp_path / kind, 'train/images-00000-of-00001.array_record'
  done = subprocess.run(
      [sys.executable, '-c', _READ, str(folder),
       'prepared' if kind == 'prepared' else 'tfds', shard],
      env=os.environ | cloud | {'XDG_CACHE_HOME': str(tmp_path / 'cache')},
      capture_output=True, text=True, check=False, timeout=300)
  assert done.returncode == 0, done.stderr[-3000:]
  here, there, again, short, broken, gone, elsewhere, nowhere = json.loads(
      done.stdout.splitlines()[-1])
  assert here[1:] == there[1:] == again[1:]  # labels, fingerprint, images
  assert len(set(here[3])) == _COUNT
  if kind == 'tfrecord':
    assert there[0] == again[0] + 1  # the file was read, and its index kept
    assert any((tmp_path / 'cache/byol_jax/tfrecord').iterdir())
  name = shard.rpartition('/')[2]
  for message in (short, broken, gone):
    assert name in message and 'gs://bucket' in message
  assert 'missing' in gone
  assert 'gs://bucket' in elsewhere and 'gs://no-such-bucket' in nowhere


_UNREACHABLE = '''
import asyncio, logging
sleep = asyncio.sleep
asyncio.sleep = lambda seconds, *rest: sleep(min(seconds, 0.01), *rest)  # gcsfs's retries
from byol_jax import bucket
from byol_jax.data import sources
from byol_jax.errors import TransientError
logging.disable()
bucket.choose_library()
try:
  sources.open_source('prepared', path='gs://bucket/data')
except TransientError as error:
  print(error)
'''


@pytest.mark.parametrize('library', ['gcsfs', 'tensorflow'])
def test_a_bucket_that_cannot_be_reached_is_no_empty_one(cloud, library):
  no_port = {key: 'http://localhost:1' for key in cloud if 'EMULATOR' in key}
  environment = os.environ | cloud | no_port | {
      'EPATH_USE_TF': 'true' if library == 'tensorflow' else 'false'}
  done = subprocess.run([sys.executable, '-c', _UNREACHABLE], env=environment,
                        capture_output=True, text=True, check=False, timeout=300)
  assert done.stdout.startswith('cannot reach gs://bucket/data: '), done.stderr[-3000:]
