"""Embeds many small images in shards, kills a worker twice, and compares with one pass.

  python benchmarks/embed_shards.py [--images=20000] [--shards=8] [--processes=2]
      [--folder=DIR]

The images are made up, 16 x 16 pixels, in tars; the network is a tiny one with random
weights. So what is measured is the reading, the memory and the files, not the network.
Its last line is one JSON object.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile

import jax
import numpy as np
from PIL import Image

from byol_jax.config import keys as keys_lib
from byol_jax.training import build
from byol_jax.weights import load as weights_lib

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_TARS = 8
_SIDE = 16
_KILLS = 2


def _make_weights(path: pathlib.Path) -> None:
  """Writes a tiny encoder with random arrays."""
  config = keys_lib.base().unlock()
  config.network.update(name='resnet8', width=0.25, precision='float32')
  config.data.update(image_size=_SIDE, center_share=1.0)
  rng = np.random.default_rng(0)
  params, state = jax.tree.map(
      lambda x: rng.uniform(0.1, 1, x.shape).astype(x.dtype),
      build.encoder_shapes(config))
  weights_lib.save(weights_lib._checked(  # which makes their digest
      config.to_dict(), {'params': params, 'state': state}, 'online', 0, 'tiny'),
      str(path))


def _make_tars(folder: pathlib.Path, images: int) -> None:
  """Writes noise as PNG files in tars."""
  folder.mkdir(parents=True)
  rng = np.random.default_rng(0)
  for k in range(_TARS):
    with tarfile.open(folder / f'x-{k:03d}.tar', 'w') as tar:
      for row in range(k * images // _TARS, (k + 1) * images // _TARS):
        pixels = rng.integers(0, 256, (_SIDE, _SIDE, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, 'png', compress_level=0)
        member = tarfile.TarInfo(f'{row:09d}.png')
        member.size = file.tell()
        file.seek(0)
        tar.addfile(member, file)


class _Workers:
  """Processes of task=embed, and the most memory that each kind of them took."""

  def __init__(self, folder: pathlib.Path):
    self._folder, self.mib = folder, {}

  def start(self, out: str, shard: str) -> subprocess.Popen:
    """Starts a process."""
    with open(self._folder / 'workers.log', 'ab') as log:
      return subprocess.Popen([
          sys.executable, '-m', 'byol_jax.main', f'--config={_ROOT}/configs/embed.py',
          f'--config.weights={self._folder}/encoder.safetensors',
          '--config.data.source=tar', f'--config.data.path={self._folder}/tars/*.tar',
          '--config.data.resident=no', '--config.data.threads=1',
          '--config.evaluation.batch_size=256', f'--config.shard={shard}',
          f'--workdir={self._folder}/{out}'],
          stdout=log, stderr=log, cwd=self._folder,
          env=os.environ | {'PYTHONPATH': str(_ROOT)})

  def wait(self, process: subprocess.Popen, kind: str) -> int:
    """Waits for the end of a process; returns its exit code."""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    self.mib[kind] = max(self.mib.get(kind, 0), used.ru_maxrss // 1024)
    return process.returncode

  def kill(self, process: subprocess.Popen, parts: pathlib.Path) -> None:
    """Kills a process once it has kept one more part of its features."""
    before = len(list(parts.rglob('*.npz')))
    while len(list(parts.rglob('*.npz'))) <= before and not os.waitid(
        os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
      time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    self.wait(process, 'killed')


def _in_shards(workers: _Workers, out: pathlib.Path, shards: int,
               processes: int) -> int:
  """Works on all shards, some at a time; kills a worker twice; returns how often."""
  todo, running, kills = list(range(1, shards + 1)), [], 0
  while todo or running:
    while todo and len(running) < processes:
      number = todo.pop(0)
      process = workers.start(out.name, f'{number}/{shards}')
      if number == 1 and kills < _KILLS:
        workers.kill(process, out / f'shards/00001-of-{shards:05d}/parts')
        kills += process.returncode == -signal.SIGKILL
        todo.insert(0, number)
      else:
        running.append(process)
    if workers.wait(running.pop(0), 'shard'):
      raise SystemExit('a worker failed: see workers.log')
  return kills


def measure(folder: pathlib.Path, images: int, shards: int,
            processes: int) -> dict[str, object]:
  """Does all of it; returns the figures."""
  if not (folder / 'encoder.safetensors').exists():
    _make_tars(folder / 'tars', images)
    _make_weights(folder / 'encoder.safetensors')
  workers, seconds = _Workers(folder), {}
  def timed(kind, act):
    began = time.monotonic()
    result = act()
    seconds[kind] = round(time.monotonic() - began, 1)
    return result
  if timed('whole', lambda: workers.wait(workers.start('whole', ''), 'whole')):
    raise SystemExit('the pass over all images failed: see workers.log')
  kills = timed('shards', lambda: _in_shards(
      workers, folder / 'out', shards, processes))
  if timed('merge', lambda: workers.wait(workers.start('out', 'merge'), 'merge')):
    raise SystemExit('the merge failed: see workers.log')
  said = []
  for name in ('whole', 'out'):
    with zipfile.ZipFile(folder / name / 'embeddings.npz') as archive:
      said.append({x.filename: (x.CRC, x.file_size) for x in archive.infolist()})
  return {'images': images, 'shards': shards, 'processes': processes, 'kills': kills,
          'same': said[0] == said[1], 'seconds': seconds, 'mib': workers.mib,
          'bytes': said[0]['features.npy'][1]}


def main() -> int:
  """Prints a table, and the figures as JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  for name, default in (('images', 20_000), ('shards', 8), ('processes', 2)):
    parser.add_argument(f'--{name}', type=int, default=default)
  parser.add_argument('--folder', help='for the files, which stay; images that are '
                      'there are taken')
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as scratch:
    said = measure(pathlib.Path(options.folder or scratch).resolve(), options.images,
                   options.shards, options.processes)
  for kind, seconds in said['seconds'].items():
    mib = said['mib']['shard' if kind == 'shards' else kind]
    print(f'{kind:>8} {seconds:>9.1f} s {mib:>7} MiB a process at most')
  print(f'{said["kills"]} kills; the union is '
        f'{"" if said["same"] else "NOT "}one pass, to the bit')
  print(json.dumps(said))
  return 0 if said['same'] else 1


if __name__ == '__main__':
  sys.exit(main())
