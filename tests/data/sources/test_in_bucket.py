"""Data sets in a bucket, against an emulator of Google Cloud Storage."""

import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tiny_shards

tfds = pytest.importorskip('tensorflow_datasets')
pytest.importorskip('array_record')
pytest.importorskip(
    'importlib_resources', reason='TFDS 4.9.10 needs it to prepare a data set')

_COUNT = 9
_NO_CHECKSUMS = ('tar', 'parquet', 'snappy')

# Copies a folder to the bucket, and says what is read here and there, also while some
# requests fail. Then it damages a shard of the training part.
_READ = '''
import asyncio, contextlib, hashlib, json, pathlib, re, sys
from etils import epath
import gcsfs.core
from byol_jax.data import fingerprint
from byol_jax.data.sources import open as sources, table
from byol_jax.storage import bucket, paths, retry
from byol_jax.errors import TransientError, UserError

here, source, shard = sys.argv[1:]
bucket.choose_library()
there = f'gs://bucket/{pathlib.Path(here).name}'
for path in pathlib.Path(here).rglob('*.*'):
  if path.is_file():
    (epath.Path(there) / str(path.relative_to(here))).write_bytes(path.read_bytes())
ranges, opened = [], paths.ranges
@contextlib.contextmanager
def counting(path):
  with opened(path) as read:
    yield lambda *args: ranges.append(args) or read(*args)
paths.ranges = counting

sleep, retry.READ = asyncio.sleep, retry.READ._replace(waits=(0,) * 8)
asyncio.sleep = lambda seconds, *rest: sleep(min(seconds, 0.001), *rest)  # gcsfs's tries
failing, answer = ('(?!)', 0, 0), gcsfs.core.validate_response  # but the first ones
def answer_with_failures(status, content, path, args=None):
  global failing
  pattern, failure, but = failing
  if re.search(pattern, ' '.join(map(str, (path, *(args or ()))))):
    failing = pattern, failure, but - 1
    if but <= 0:
      status, content = failure, b'{"error": {"code": %d}}' % failure
  answer(status, content, path, args)
gcsfs.core.validate_response = answer_with_failures

def read(path, split='train'):
  ranges.clear()
  try:
    found = sources.open_part(source, path=path, tfds_name='tiny', split=split)
    if found is None:
      return 'no such part'
    at_start = len(ranges)
    return [at_start, found.labels[:].tolist(), fingerprint.fingerprint(found), [
        hashlib.sha256(found.read(k)).hexdigest() for k in range(found.size)]]
  except UserError as error:
    return str(error)
  except TransientError as error:
    return f'for now: {error}'

said = [read(here), read(there), read(there)]
faults = []
name = shard.rpartition('/')[2]
described = {'prepared': ['metadata.json', r'images-.*\\.json'],
             'tfds': ['dataset_info.json', 'features.json']}.get(source, [])
for pattern, but in (('bucket', 0), ('/o bucket$', 1), *((x, 0) for x in described),
                     (name, 0)):
  for status in (502, 503, 403, 400):
    failing = pattern, status, but
    faults.append([pattern, status, read(there)])
if source == 'prepared':
  failing = 'test$', 503, 0
  faults.append(['test', 503, read(there, 'test')])
failing = '(?!)', 0, 0
said += [read(there, 'test'), faults]
shard = epath.Path(there) / shard
data = shard.read_bytes()
middle = len(data) // 2
# behind a tar's end mark are zeros
cut = data[:middle if source == 'tar' else -1]
for damaged in (cut, data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1:],
                None):
  if damaged is None:
    shard.unlink()
  else:
    shard.write_bytes(damaged)
  said.append(read(there))
said += [read(there + '/no'), read('gs://no-such-bucket/x')]
print(json.dumps(said))
'''


def _tfds(folder, kind):
  pixels = np.random.default_rng(0).integers(0, 256, (_COUNT, 40, 50, 3), np.uint8)
  tfds.dataset_builders.store_as_tfds_dataset(
      name='tiny', version='1.0.0', data_dir=str(folder),
      features=tfds.features.FeaturesDict({
          'image': tfds.features.Image(shape=(None, None, 3), encoding_format='png'),
          'label': tfds.features.ClassLabel(num_classes=3)}),
      split_datasets={'train': [
          (k, {'image': image, 'label': k % 3}) for k, image in enumerate(pixels)]},
      file_format='tfrecord' if kind == 'tfrecord' else 'array_record')


def _shards(kind, folder):
  """Writes the images as tars or Parquet files; returns the file to damage."""
  made = tiny_shards.images(_COUNT)
  ending = 'tar' if kind == 'tar' else 'parquet'
  for k, some in enumerate((made[:6], made[6:])):
    path = folder / f'data/train-0000{k}-of-00002.{ending}'
    if kind == 'tar':
      tiny_shards.write_tar(path, some)
    else:
      tiny_shards.write_parquet(path, some, row_group_size=4,
                                compression='none' if kind == 'parquet' else 'snappy')
  return f'data/train-00000-of-00002.{ending}'


@pytest.mark.parametrize('kind', ['array_record', 'tfrecord', 'prepared', 'tar', 'parquet',
                                  'snappy'])
def test_a_data_set_in_a_bucket_is_what_it_is_here(cloud, tmp_path, kind):
  folder, source = tmp_path / 'tfds' / kind, 'tfds'
  if kind in _NO_CHECKSUMS:
    source = 'tar' if kind == 'tar' else 'parquet'
    shard = _shards(kind, folder)
  else:
    _tfds(folder, kind)
    shard = f'tiny/1.0.0/tiny-train.{kind}-00000-of-00001'
  if kind == 'prepared':
    subprocess.run(
        [sys.executable, '-m', 'byol_jax.main', '--config=configs/prepare.py',
         '--config.data.source=tfds', f'--config.data.path={folder}',
         '--config.data.tfds_name=tiny', '--config.data.test_split=',
         f'--config.prepare.output={tmp_path / kind}'], check=True, timeout=120)
    folder, shard = tmp_path / kind, 'train/images-00000-of-00001.array_record'
    source = 'prepared'
  done = subprocess.run(
      [sys.executable, '-c', _READ, str(folder), source, shard],
      env=os.environ | cloud | {'XDG_CACHE_HOME': str(tmp_path / 'cache')},
      capture_output=True, text=True, check=False, timeout=300)
  assert done.returncode == 0, done.stderr[-3000:]
  here, there, again, no_test, faults, short, broken, gone, elsewhere, nowhere = (
      json.loads(done.stdout.splitlines()[-1]))
  assert here[1:] == there[1:] == again[1:]  # labels, fingerprint, images
  assert len(set(here[3])) == _COUNT
  if kind == 'tfrecord':
    assert there[0] == again[0] + 1  # the file was read, and its index kept
    assert any((tmp_path / 'cache/byol_jax/tfrecord').iterdir())
  assert no_test == 'no such part'
  for what, status, said in faults:
    if what in shard and status == 403:
      continue  # gcsfs finds it in a list; what reads it has requests of its own
    assert isinstance(said, str), (what, status)
    assert said.startswith('for now') == (status > 500), (what, status, said)
    assert ('log in' in said) == (status == 403), (what, status, said)
    assert 'prepare it again' not in said, (what, status, said)
  name = shard.rpartition('/')[2]
  # a tar or a Parquet file has no checksums: it is another one now
  for message in (short, gone) if kind in _NO_CHECKSUMS else (short, broken, gone):
    assert name in message and 'gs://bucket' in message
  assert 'missing' in gone
  assert 'gs://bucket' in elsewhere and 'gs://no-such-bucket' in nowhere


_UNREACHABLE = '''
import asyncio, logging
sleep = asyncio.sleep
asyncio.sleep = lambda seconds, *rest: sleep(min(seconds, 0.01), *rest)  # gcsfs's retries
from byol_jax.data.sources import open as sources
from byol_jax.storage import bucket
from byol_jax.errors import TransientError
logging.disable()
bucket.choose_library()
try:
  sources.open_part('prepared', path='gs://bucket/data')
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


_ANSWERS = {'fine': [200], 'tired': [503, 'never', 200], 'secret': [403], 'gone': [404],
            'wrong': [400]}


class _Moody(http.server.BaseHTTPRequestHandler):
  """Answers requests for a range of an object as its name says."""

  def do_GET(self):
    name = re.search(r'o/(\w+)', self.path)[1]
    self.server.asked.append(name)
    status = _ANSWERS[name][min(self.server.asked.count(name), len(_ANSWERS[name])) - 1]
    if status == 'never':
      time.sleep(60)
      return
    self.send_response(206 if status == 200 else status)
    if status == 200:
      self.send_header('Content-Range', 'bytes 2-5/9')
    self.send_header('Content-Length', '4')
    self.end_headers()
    self.wfile.write(b'data')

  def log_message(self, *args):
    del args


_READ_RANGES = '''
import sys
from byol_jax.storage import bucket, paths
bucket.choose_library()
for name in sys.argv[1:]:
  try:
    print(paths.read_range(f'gs://bucket/{name}', 2, 6))
  except OSError as error:
    print(type(error).__name__)
'''


def test_ranges_of_a_bucket_that_has_its_moods():
  server = http.server.ThreadingHTTPServer(('localhost', 0), _Moody)
  server.asked, server.daemon_threads = [], True
  threading.Thread(target=server.serve_forever, daemon=True).start()
  done = subprocess.run(
      [sys.executable, '-c', _READ_RANGES, *_ANSWERS], env=os.environ | {
          'TENSORSTORE_GCS_HTTP_URL': f'http://localhost:{server.server_port}',
          'TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS': '2', 'EPATH_USE_TF': 'false'},
      capture_output=True, text=True, check=False, timeout=120)
  server.shutdown()
  assert done.stdout.split() == [
      "b'data'", "b'data'", 'PermissionError', 'FileNotFoundError', 'OSError'], done.stderr[-3000:]
  assert server.asked.count('tired') == 3
