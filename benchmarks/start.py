"""How long until the first batch of a very large data set, and with how much memory?

  python benchmarks/start.py [--folder=1000000] [--tar=1000000] [--list=5000000]

Makes as many small files, members of tars (an image and its label each) and lines of a
list as are asked for; 0 leaves a kind out. A process of its own then opens each data
set as a run does, takes its fingerprint and the first batch of 256 images. Prints a
table and, as its last line, one JSON object: seconds by the clock, of the processor and
of waiting for one that others used, and MiB of memory at most, and before the data set
was opened. Tars are opened twice: to make their index, and with the one that is kept.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time

import numpy as np
from PIL import Image

from byol_jax.data import fingerprint
from byol_jax.data.feed import stream
from byol_jax.data.images.crops import CropSpec
from byol_jax.data.sources import open as open_lib

_BATCH = 256
_CLASS, _SHARD = 1000, 5000  # images in a folder, in a tar


def _image() -> bytes:
  file = io.BytesIO()
  pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
  Image.fromarray(pixels).resize((32, 32)).save(file, 'JPEG')
  return file.getvalue()


def _name(k: int) -> str:
  return f'class_{k // _CLASS % _CLASS:04d}/image_{k:08d}.jpg'


def _make_folder(count: int, root: str) -> str:
  data = _image()
  for k in range(count):
    if k % _CLASS == 0:
      os.makedirs(f'{root}/{os.path.dirname(_name(k))}', exist_ok=True)
    with open(f'{root}/{_name(k)}', 'wb') as f:
      f.write(data)
  return root


def _make_tar(members: int, root: str) -> str:
  data = _image()
  for first in range(0, members // 2, _SHARD):
    with tarfile.open(f'{root}/{first:09d}.tar', 'w') as tar:
      for k in range(first, min(first + _SHARD, members // 2)):
        for ending, content in (('jpg', data), ('cls', b'%d' % (k // _CLASS))):
          info = tarfile.TarInfo(f'{k:09d}.{ending}')
          info.size = len(content)
          tar.addfile(info, io.BytesIO(content))
  return root


def _make_list(lines: int, root: str) -> str:
  """Lists files of which as many are there as a first batch needs: all are one."""
  with open(f'{root}/image.jpg', 'wb') as f:
    f.write(_image())
  for k in range(1000):
    os.symlink(root, f'{root}/class_{k:04d}')
  with open(f'{root}/list.csv', 'w', encoding='utf-8') as f:
    f.write('path,label\n')
    for k in range(lines):
      name = f'class_{k // _CLASS % _CLASS:04d}'
      f.write(f'{name}/./././././image.jpg,{name}\n')
  return f'{root}/list.csv'


_MAKE = {'folder': _make_folder, 'tar': _make_tar, 'list': _make_list}


def _peak() -> int:
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def _waited() -> float:
  """Seconds in which this thread could have run, but others had the processors."""
  with open('/proc/thread-self/schedstat', encoding='utf-8') as f:
    return int(f.read().split()[1]) / 1e9


def _read(path: str) -> None:
  """Opens a data set, takes a batch and prints what that took as JSON."""
  warm = np.zeros((1, 1, 64, 64, 3), np.uint8)  # numba compiles, or loads, the resize
  from byol_jax.data.images import decode
  decode.decode_views(_image(), np.full((1, 4), .5), warm[0], CropSpec(64))
  before, start, cpu = _peak(), time.perf_counter(), time.process_time()
  waited = _waited()
  data = open_lib.open_part('auto', path=path)
  fingerprint.fingerprint(data)
  opened = time.perf_counter()
  batches = stream.train_batches(
      data, CropSpec(64), seed=0, start_step=0, num_steps=1, batch_size=_BATCH,
      examples_of_host=np.arange(_BATCH))
  next(batches)
  print(json.dumps({
      'images': data.size, 'opened_s': round(opened - start, 1),
      'first_batch_s': round(time.perf_counter() - start, 1),
      'cpu_s': round(time.process_time() - cpu, 1),
      'waited_s': round(_waited() - waited, 1), 'mib': _peak(),
      'mib_before': before}))


def main() -> int:
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--folder', type=int, default=1_000_000, help='files')
  parser.add_argument('--tar', type=int, default=1_000_000, help='members')
  parser.add_argument('--list', type=int, default=5_000_000, help='lines')
  parser.add_argument('--read', help='a data set to open, in place of made ones')
  arguments = parser.parse_args()
  if arguments.read:
    _read(arguments.read)
    return 0
  found = {}
  for kind, make in _MAKE.items():
    count = getattr(arguments, kind)
    if not count:
      continue
    with tempfile.TemporaryDirectory() as root, tempfile.TemporaryDirectory() as cache:
      path = make(count, root)
      for name in (kind, 'tar again') if kind == 'tar' else (kind,):
        done = subprocess.run(
            [sys.executable, __file__, f'--read={path}'], check=True, text=True,
            stdout=subprocess.PIPE, env=os.environ | {'XDG_CACHE_HOME': cache})
        found[name] = json.loads(done.stdout.splitlines()[-1]) | {'made': count}
  print(f'{"":<10}{"made":>11}{"first batch s":>15}{"CPU s":>7}{"waited":>8}{"MiB":>6}'
        f'{"before":>8}')
  for name, x in found.items():
    print(f'{name:<10}{x["made"]:>11,}{x["first_batch_s"]:>15}{x["cpu_s"]:>7}'
          f'{x["waited_s"]:>8}{x["mib"]:>6}{x["mib_before"]:>8}')
  print(json.dumps(found))
  return 0


if __name__ == '__main__':
  sys.exit(main())
