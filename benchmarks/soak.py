"""Does the input grow? Reads a folder for a long time and watches itself.

  python benchmarks/soak.py --images=FOLDER [--minutes=30] [--short-side=256]

Feeds batches as a training run does, some of them through evaluation and some
through an input that is closed early, and notes resident memory, open files and
threads every half minute. Its last line is one JSON object with the first figure
after two minutes (a tenth of a shorter run), the last one and the largest, and which
of them grew; with one that did, the exit code is 1. With --short-side the images are
made smaller first (task=prepare) and read from these records, in shards of 16 images,
so that many files are open. Linux only (it reads /proc).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time

import input as input_benchmark
import numpy as np

from byol_jax.data.feed import stream
from byol_jax.data.images.crops import CropSpec
from byol_jax.data.sources import open as open_lib
from byol_jax.devices import prefetch as prefetch_lib
from byol_jax.errors import UserError

_BATCH = 64
# of the first figure: the allocator's, and what a batch under way has open
_CHANCE = {'memory_mib': 0.05, 'files': 0.2, 'threads': 0.2}


def _now() -> dict[str, float]:
  with open('/proc/self/statm', encoding='ascii') as f:
    pages = int(f.read().split()[1])
  return {'memory_mib': pages * os.sysconf('SC_PAGE_SIZE') / 2**20,
          'files': len(os.listdir('/proc/self/fd')),
          'threads': threading.active_count()}


def soak(source, minutes: float, threads: int) -> dict[str, object]:
  """Reads for so long; returns the figures of the last line."""
  start, images, step, notes = time.time(), 0, 0, []
  next_note = start + min(120, 6 * minutes)
  while time.time() < start + 60 * minutes:
    stop = threading.Event()
    host = stream.train_batches(
        source, CropSpec(224), seed=0, start_step=step, num_steps=10**6,
        batch_size=_BATCH, examples_of_host=np.arange(_BATCH), threads=threads,
        stop=stop)
    batches = prefetch_lib.prefetch(
        ({key: x[None] for key, x in batch.items()} for batch in host), stop=stop)
    for _ in range(100):  # then it is closed, and opened at its step
      next(batches)['views'].block_until_ready()
      step, images = step + 1, images + _BATCH
    batches.close()
    host.close()
    for batch in stream.eval_batches(
        source, batch_size=_BATCH, image_size=224, threads=threads,
        rows=np.arange(min(source.size, 2 * _BATCH))):
      images += int(batch['mask'].sum())
    if time.time() > next_note:
      notes.append(_now())
      next_note += 30
      print(f'{(time.time() - start) / 60:5.1f} min  {images:,} images  ' + '  '
            .join(f'{key} {value:.0f}' for key, value in notes[-1].items()),
            flush=True)
  notes.append(_now())
  return {'minutes': minutes, 'images': images} | judged(notes)


def judged(notes: list[dict[str, float]]) -> dict[str, object]:
  """First, last and largest of each figure, and which grew by more than chance."""
  figures = {key: {'first': notes[0][key], 'last': notes[-1][key],
                   'largest': max(note[key] for note in notes)} for key in notes[0]}
  return figures | {'grew': [
      key for key, figure in figures.items()
      if figure['last'] > (1 + _CHANCE[key]) * figure['first']]}


def main() -> int:
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--images', required=True, help='a folder of images')
  parser.add_argument('--minutes', type=float, default=30)
  parser.add_argument('--threads', type=int, default=0, help='0: one a core')
  parser.add_argument('--short-side', type=int, default=0,
                      help='prepare the images first; 0: as they are')
  arguments = parser.parse_args()
  try:
    source = open_lib.open_part('folder', path=arguments.images)
  except UserError as error:
    print(f'benchmarks/soak.py: {error}', file=sys.stderr)
    return 2
  with tempfile.TemporaryDirectory() as folder:
    if arguments.short_side:
      source, _ = input_benchmark.make_smaller(
          arguments.images, arguments.short_side, folder, images_per_shard=16)
    found = soak(source, arguments.minutes, arguments.threads)
  print(json.dumps(found | {'short_side': arguments.short_side}))
  return 1 if found['grew'] else 0


if __name__ == '__main__':
  sys.exit(main())
