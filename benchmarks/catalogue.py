"""What an index of many files costs: made, killed and gone on with, brought up to date.

  pip install '.[index]'
  python benchmarks/catalogue.py [--images=200000] [--kills=5] [--changed=1000]
      [--approximate_from=50000]

Images are JPEG files of 16 x 16 pixels, the encoder is a small untrained one with 512
features: what is measured is the index, not the encoder. The index is made whole, with
exact search. Then a second one is made, killed (-9) at random times, and gone on with
by the same command until it is done, with approximate search. Both must hold the same.
At the end some files change, as many others go, and the command is given twice more.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import lancedb
import numpy as np
from PIL import Image

from byol_jax.errors import UserError
from byol_jax.retrieval import store as store_lib

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_IN_A_FOLDER = 1000
_COUNTS = re.compile(r'([\d,]+) (encoded|removed|left out)')


def _name(shop, k):
  return f'{shop}/{k // _IN_A_FOLDER:04d}/{k:07d}.jpg'


def draw(shop, images, seed):
  """Writes images, a smooth picture with noise each, the same for a seed."""
  rng = np.random.default_rng(seed)
  for k in images:
    corners = rng.integers(0, 256, (2, 2, 3)).astype(np.uint8)
    smooth = Image.fromarray(corners).resize((16, 16), Image.Resampling.BILINEAR)
    noisy = np.asarray(smooth, int) + rng.integers(-20, 21, (16, 16, 3))
    data = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(data, 'JPEG')
    os.makedirs(os.path.dirname(_name(shop, k)), exist_ok=True)
    with open(_name(shop, k), 'wb') as f:
      f.write(data.getvalue())


def start(config, *arguments):
  """Starts a task; its output goes to a file."""
  output = tempfile.TemporaryFile('w+')
  return subprocess.Popen(
      [sys.executable, '-m', 'byol_jax.main', f'--config={_ROOT}/configs/{config}.py',
       *arguments], stdout=output, stderr=subprocess.STDOUT,
      env=os.environ | {'PYTHONPATH': _ROOT}), output


def finish(process, output):
  """Waits for a task; returns what it cost and counted."""
  began = time.perf_counter()
  _, status, used = os.wait4(process.pid, 0)
  process.returncode = os.waitstatus_to_exitcode(status)
  output.seek(0)
  said = output.read()
  if process.returncode:
    raise RuntimeError(f'exit code {process.returncode}: {said}')
  return {'seconds': round(time.perf_counter() - began, 1),
          'cpu_seconds': round(used.ru_utime + used.ru_stime, 1),
          'peak_mb': round(used.ru_maxrss / 1024)} | {
              what: int(number.replace(',', '')) for number, what in
              _COUNTS.findall(said)}


def there(place):
  """Returns how many images an index holds; 0 where there is none yet."""
  with contextlib.suppress(UserError):
    return store_lib.open_table(os.path.join(place, 'table')).size
  return 0


def content(place):
  """Returns the digest of each row of an index: vector, thumbnail, columns, stamps."""
  table = lancedb.connect(os.path.join(place, 'table')).open_table('images')
  found = {}
  for batch in table.search().to_batches(8192):
    vectors = np.asarray(batch[store_lib.VECTOR].flatten()).reshape(len(batch), -1)
    others = batch.drop_columns([store_lib.VECTOR]).to_pylist()
    for vector, row in zip(vectors, others):
      found[row[store_lib.NAME]] = hashlib.blake2b(
          vector.tobytes() + repr(sorted(row.items())).encode()).digest()
  return found


def encoder(folder):
  """Trains a network for a moment; returns its workdir."""
  run = os.path.join(folder, 'run')
  finish(*start(
      'fake_data', f'--workdir={run}', '--config.network.name=resnet8',
      '--config.network.stem=small', '--config.network.embedding=512',
      '--config.data.image_size=16', '--config.data.eval_image_size=16',
      '--config.data.fake_images=32', '--config.data.fake_classes=2',
      '--config.train.batch_size=16',
      '--config.train.epochs=1', '--config.train.warmup_epochs=0',
      '--config.network.projector_hidden_size=16', '--config.network.projection_size=8',
      '--config.network.predictor_hidden_size=16', '--config.log.tensorboard=False'))
  return run


def measure(folder, images, kills, changed, approximate_from):
  """Yields (what, its figures)."""
  shop, rng = os.path.join(folder, 'shop'), np.random.default_rng(0)
  draw(shop, range(images), 0)
  index = ['index', f'--config.weights={encoder(folder)}', f'--config.data.path={shop}',
           '--config.data.source=folder', '--config.data.class_folders=none',
           '--config.evaluation.batch_size=512']
  whole, killed = (f'--workdir={folder}/{name}' for name in ('whole', 'killed'))
  made = finish(*start(*index, whole, f'--config.index.approximate_from={images + 1}'))
  yield 'made', made
  approximate = f'--config.index.approximate_from={approximate_from}'
  for _ in range(kills):
    until = there(f'{folder}/killed') + rng.uniform(0.05, 0.9 / kills) * images
    process, _ = start(*index, killed, approximate)
    while process.poll() is None and there(f'{folder}/killed') < until:
      time.sleep(0.1)
    time.sleep(rng.uniform(0, 1))  # anywhere between two batches, or in one
    process.kill()
    if process.wait() != -signal.SIGKILL:
      raise RuntimeError('it was done before it was killed: take more images')
    yield 'killed', {'images_in_the_index': there(f'{folder}/killed')}
  yield 'gone on with', finish(*start(*index, killed, approximate))
  assert content(f'{folder}/whole') == content(f'{folder}/killed')
  shutil.rmtree(f'{folder}/whole')
  draw(shop, range(changed), 1)
  for k in range(changed, 2 * changed):
    os.remove(_name(shop, k))
  for what in ('changed and removed', 'nothing to do'):
    yield what, finish(*start(*index, killed, approximate))
  with open(f'{folder}/killed/index.json', encoding='utf-8') as f:
    about = json.load(f)
  size = sum(os.path.getsize(os.path.join(at, file))
             for at, _, files in os.walk(f'{folder}/killed') for file in files)
  yield 'in the end', {'images': about['images'], 'disk_mb': round(size / 2**20),
                       'recall_at_10': about.get('recall_at_10')}


def main():
  parser = argparse.ArgumentParser()
  parser.add_argument('--images', type=int, default=200_000)
  parser.add_argument('--kills', type=int, default=5)
  parser.add_argument('--changed', type=int, default=1000)
  parser.add_argument('--approximate_from', type=int, default=50_000)
  parser.add_argument('--folder', help='where to work; a temporary one')
  arguments = parser.parse_args()
  folder = tempfile.mkdtemp(dir=arguments.folder)
  figures = []
  try:
    for what, said in measure(folder, arguments.images, arguments.kills,
                              arguments.changed, arguments.approximate_from):
      print(f'{what:<22}' + ', '.join(f'{key} {value}' for key, value in said.items()),
            flush=True)
      figures.append({'what': what} | said)
    print(json.dumps(figures))
  finally:
    shutil.rmtree(folder)


if __name__ == '__main__':
  main()
