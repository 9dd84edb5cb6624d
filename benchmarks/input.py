"""How fast is the input, beside others, on the same JPEGs?

  python benchmarks/input.py --images=FOLDER [--threads=N] [--short-side=256]
  python benchmarks/input.py --images=FOLDER --source=tar,parquet [--copies=50]

Reads two random crops of 224 pixels an image, uint8, as a training step takes
them, and compares in one run, taking turns, because machines drift:

  byol_jax     the training input itself (data/feed/stream.py), folder to batches
  tf.data      the reference's way (deepmind-research/byol/utils/dataset.py): each
               view decodes its own crop and resizes it in float32, bicubic
  PIL          decode once, cut and resize twice (bicubic) with Pillow, in a
               pool of processes: the crops of torchvision and nothing else
  lightly      its whole BYOLTransform, which does the colour work on the CPU
               too, in the same pool; where lightly is installed
  decoding     JPEG to pixels and nothing else: the floor of whatever decodes
               whole images

Prints a table and, as its last line, one JSON object, whose ratio_to_pil is the
ratio to lightly where there is one, and otherwise to PIL. What is not installed
is left out. The files are read once before, so they come from memory. With
--short-side the images are made smaller first (task=prepare): byol_jax reads them
from the prepared records, the others the same JPEGs from files.

With --source the training input alone is measured, on the same images written as tars,
Parquet files (parquet: not compressed, snappy: compressed, more than fit into memory)
or TFRecords, beside a folder. The JSON object has the ratios to the folder: of images a
second, and of processor time, which other work on the machine changes less.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import concurrent.futures.process
import importlib.util
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time

import numpy as np
from PIL import Image
import shards

from byol_jax import errors
from byol_jax.config import keys as keys_lib
from byol_jax.data import workers
from byol_jax.data.feed import stream
from byol_jax.data.images import crops
from byol_jax.data.images import decode
from byol_jax.data.images.crops import CropSpec
from byol_jax.data.sources import open as open_lib
from byol_jax.errors import UserError
from byol_jax.tasks import prepare

_SIZE = 224
_BATCH = 64


def _cpu_seconds() -> float:
  """Processor time of this process and of its children that have ended."""
  return sum(usage.ru_utime + usage.ru_stime for usage in map(
      resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def ours(source, threads: int, steps: int) -> None:
  for _ in stream.train_batches(
      source, CropSpec(_SIZE), seed=0, start_step=0, num_steps=steps,
      batch_size=_BATCH, examples_of_host=np.arange(_BATCH), threads=threads):
    pass


def decoding(source, threads: int, steps: int) -> None:
  def one(k: int) -> None:
    decode.decode(source.read(k % source.size))
  with concurrent.futures.ThreadPoolExecutor(threads) as pool:
    for _ in pool.map(one, range(steps * _BATCH)):
      pass


def tf_data(source, threads: int, steps: int) -> None:
  """Written after the reference's _preprocess_image, for two views."""
  from byol_jax.data.records.tf_cpu import import_tf
  tf = import_tf()

  def crop(data):
    shape = tf.image.extract_jpeg_shape(data)
    height, width = (tf.cast(shape[k], tf.float32) for k in (0, 1))
    ratio = tf.exp(tf.random.uniform(
        [], np.log(3 / 4).astype(np.float32), np.log(4 / 3).astype(np.float32)))
    area = tf.random.uniform([], 0.08, 1.0) * height * width
    w = tf.minimum(tf.round(tf.sqrt(area * ratio)), width)
    h = tf.minimum(tf.round(tf.sqrt(area / ratio)), height)
    h, w = tf.cast(h, tf.int32), tf.cast(w, tf.int32)
    top = tf.random.uniform([], 0, shape[0] - h + 1, tf.int32)
    left = tf.random.uniform([], 0, shape[1] - w + 1, tf.int32)
    image = tf.image.decode_and_crop_jpeg(
        data, tf.stack([top, left, h, w]), channels=3)
    image = tf.image.resize(image, [_SIZE, _SIZE], 'bicubic')
    return tf.clip_by_value(image / 255.0, 0.0, 1.0)

  def views(path):
    data = tf.io.read_file(path)
    return crop(data), crop(data)

  # Twice as many as cores keeps the cores busy here; as many leaves a third idle,
  # and so do AUTOTUNE and the 16 of a larger machine.
  threads *= 2
  paths = [os.path.join(source.name, name) for name in source.names]
  dataset = tf.data.Dataset.from_tensor_slices(paths).repeat()
  dataset = dataset.shuffle(len(paths)).map(
      views, num_parallel_calls=threads, deterministic=False)
  options = tf.data.Options()
  options.threading.private_threadpool_size = threads
  options.threading.max_intra_op_parallelism = 1
  dataset = dataset.batch(_BATCH).prefetch(2).with_options(options)
  for _ in dataset.take(steps).as_numpy_iterator():
    pass


_transform = None  # of each process of the pool


def _pil_crops(image) -> None:
  """torchvision's RandomResizedCrop for two views."""
  rng = np.random.default_rng()
  for _ in range(2):
    top, left, h, w = crops.crop_box(rng.random(4), image.height, image.width)
    np.asarray(image.resize((_SIZE, _SIZE), Image.Resampling.BICUBIC,
                            (left, top, left + w, top + h)))


def _start_process(with_lightly: bool) -> None:
  global _transform
  _transform = _pil_crops
  if with_lightly:
    from lightly.transforms import BYOLTransform
    import torch
    torch.set_num_threads(1)
    _transform = BYOLTransform()


def _has_lightly() -> bool:
  """Returns whether lightly is installed; says why it cannot be used, if it is."""
  if not importlib.util.find_spec('lightly'):
    return False
  try:
    with concurrent.futures.ProcessPoolExecutor(
        1, multiprocessing.get_context('spawn')) as pool:
      pool.submit(_start_process, True).result()
  except Exception as error:  # half installed: a part of it, torch, or a system library
    print(f'lightly is left out: it cannot be imported ({errors.one_line(error)})',
          file=sys.stderr)
    return False
  return True


def _one_in_process(path: str) -> None:
  with Image.open(path) as image:
    _transform(image.convert('RGB'))


def pool_rate(source, threads: int, steps: int, with_lightly: bool) -> float:
  """Images a second in a pool of processes, without their start."""
  paths = [os.path.join(source.name, source.names[k % source.size])
           for k in range(steps * _BATCH)]
  # not multiprocessing.Pool: it starts processes that die again, for ever
  with concurrent.futures.ProcessPoolExecutor(
      threads, multiprocessing.get_context('spawn'), _start_process,
      (with_lightly,)) as pool:
    # all are there
    list(pool.map(_one_in_process, paths[:threads * 8]))
    start = time.perf_counter()
    list(pool.map(_one_in_process, paths, chunksize=8))
    return len(paths) / (time.perf_counter() - start)


def _timed(run, source, threads: int, steps: int) -> tuple[float, float]:
  """(images a second, processor milliseconds an image)."""
  cpu, start = _cpu_seconds(), time.perf_counter()
  run(source, threads, steps)
  seconds, cpu = time.perf_counter() - start, _cpu_seconds() - cpu
  return steps * _BATCH / seconds, 1e3 * cpu / (steps * _BATCH)


def make_smaller(path: str, short_side: int, folder: str, **how):
  """(prepared records, the same images as files), both below `folder`.

  `how`: more config keys of prepare.
  """
  config = keys_lib.base().unlock()
  config.data.source, config.data.path, config.data.test_split = 'folder', path, ''
  config.prepare.update(output=folder, short_side=short_side, **how)
  prepare.run(config)
  records = open_lib.open_part('prepared', path=folder, split='train')
  files = os.path.join(folder, 'files')
  os.makedirs(files)
  for k in range(records.size):
    with open(os.path.join(files, f'{k:08d}.jpg'), 'wb') as f:
      f.write(records.read(k))
  return records, open_lib.open_part('folder', path=files)


def measure(own, source, threads: int, seconds: float,
            rounds: int) -> dict[str, tuple[float, float | None]]:
  """The median over the rounds of (images a second, CPU ms an image).

  Args:
    own: what byol_jax reads.
    source: the same images as files, for the others.
    threads: of each.
    seconds: of each turn.
    rounds: how many turns.
  """
  kinds = {'byol_jax': lambda _, *arguments: ours(own, *arguments),
           'decoding': decoding}
  if importlib.util.find_spec('tensorflow'):
    kinds['tf.data'] = tf_data
  steps = {}
  for name, run in kinds.items():  # compile and start; then choose the length
    run(source, threads, 2)
    rate, _ = _timed(run, source, threads, 4)
    steps[name] = max(4, round(rate * seconds / _BATCH))
  figures = {name: [] for name in kinds}
  pools = {'PIL': [], 'lightly': []}
  if not _has_lightly():
    del pools['lightly']
  for _ in range(rounds):
    for name, run in kinds.items():
      figures[name].append(_timed(run, source, threads, steps[name]))
    for name, rates in pools.items():
      rates.append(pool_rate(source, threads, max(2, steps['byol_jax'] // 6),
                             name == 'lightly'))
  result = {name: tuple(np.median(values, axis=0).tolist())
            for name, values in figures.items()}
  return result | {name: (float(np.median(rates)), None)
                   for name, rates in pools.items()}


def _compare_sources(source, threads: int, arguments: argparse.Namespace) -> int:
  """Measures the training input on several sources; returns the exit code."""
  kinds = ['folder', *arguments.source.split(',')]
  if unknown := set(kinds) - shards.WRITERS.keys():
    print(f'benchmarks/input.py: no --source={unknown.pop()}', file=sys.stderr)
    return 2
  files = [source.read(k) for k in range(source.size)] * arguments.copies
  figures = {kind: [] for kind in kinds}
  with tempfile.TemporaryDirectory() as root:
    opened = shards.written(files, kinds, root)
    rate, _ = _timed(ours, opened['folder'], threads, 4)
    steps = max(2, round(rate * arguments.seconds / _BATCH))
    for _ in range(arguments.rounds):
      for kind, data in opened.items():
        figures[kind].append(_timed(ours, data, threads, steps))
  rates, cpu = ({kind: float(np.median(x, axis=0)[k]) for kind, x in figures.items()}
                for k in (0, 1))
  ratios = {kind: rate / rates['folder'] for kind, rate in rates.items()}
  by_cpu = {kind: cpu['folder'] / x for kind, x in cpu.items()}
  print(f'{len(files)} images, two views of {_SIZE} px, {threads} threads')
  print(f'{"":<12}{"images/s":>10}{"to folder":>11}{"CPU ms/image":>14}{"by CPU":>8}')
  for kind, rate in rates.items():
    print(f'{kind:<12}{rate:>10.0f}{ratios[kind]:>11.2f}{cpu[kind]:>14.2f}'
          f'{by_cpu[kind]:>8.2f}')
  print(json.dumps({'images_per_second': rates, 'ratio_to_folder': ratios,
                    'cpu_ms_per_image': cpu, 'ratio_by_cpu': by_cpu,
                    'threads': threads, 'images': len(files)}))
  return 0


def main() -> int:
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--images', required=True, help='a folder of JPEG files')
  parser.add_argument('--threads', type=int, default=0, help='0: one a core')
  parser.add_argument('--seconds', type=float, default=5, help='of each turn')
  parser.add_argument('--rounds', type=int, default=3)
  parser.add_argument('--source', default='', help=f'of {", ".join(shards.WRITERS)}')
  parser.add_argument('--copies', type=int, default=1,
                      help='of each image, with --source')
  parser.add_argument('--short-side', type=int, default=0,
                      help='prepare the images first; 0: as they are')
  arguments = parser.parse_args()
  try:
    source = open_lib.open_part('folder', path=arguments.images)
  except UserError as error:
    print(f'benchmarks/input.py: {error}', file=sys.stderr)
    return 2
  threads = arguments.threads or workers.cores()
  if arguments.source:
    return _compare_sources(source, threads, arguments)
  try:
    return _compare(source, threads, arguments)
  except concurrent.futures.process.BrokenProcessPool as error:
    print(f'benchmarks/input.py: a process of the pool died ({error}): what it printed '
          'stands above', file=sys.stderr)
    return 1


def _compare(source, threads: int, arguments: argparse.Namespace) -> int:
  """Measures, and prints the table; returns the exit code."""
  with tempfile.TemporaryDirectory() as folder:
    own = source
    if arguments.short_side:
      own, source = make_smaller(arguments.images, arguments.short_side, folder)
    for k in range(source.size):
      source.read(k)
    rates = measure(own, source, threads, arguments.seconds, arguments.rounds)
  print(f'{source.size} images, two views of {_SIZE} px, {threads} threads')
  print(f'{"":<12}{"images/s":>10}{"CPU ms/image":>14}')
  for name, (rate, cpu) in rates.items():
    print(f'{name:<12}{rate:>10.0f}{"" if cpu is None else f"{cpu:.2f}":>14}')
  rate, cpu = rates['byol_jax']
  def ratio(name):
    return rate / rates[name][0] if name in rates else None
  print(json.dumps({
      'images_per_second': rate,
      'ratio_to_tfdata': ratio('tf.data'),
      'ratio_to_pil': ratio('lightly') or ratio('PIL'),
      'share_of_decode_limit': ratio('decoding'),
      'cpu_ms_per_image': cpu,
      'pil': 'lightly' if 'lightly' in rates else 'PIL',
      'threads': threads,
      'images': source.size,
      'short_side': arguments.short_side,
  }))
  return 0


if __name__ == '__main__':
  sys.exit(main())
