"""How fast are tars, Parquet files and TFRecords, beside the same JPEGs in a folder?

  python benchmarks/sources.py --images=FOLDER [--threads=N] [--copies=50]

Writes the images as tars, as Parquet files (not compressed, as Hugging Face's
`datasets` writes them today, and by snappy in row groups of 100, as it did before) and,
where TFDS is installed, as TFRecords. Then reads two random crops of 224 pixels an
image from each with the training input itself, in one run, taking turns. Prints a table
and, as its last line, one JSON object with the ratios to the folder: of images a
second, and of processor time, which other work on the machine changes less. The files
come from memory; of decoded row groups no more than two are kept.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import sys
import tarfile
import tempfile
import time

import numpy as np

from byol_jax.data import workers
from byol_jax.data.feed import stream
from byol_jax.data.images.crops import CropSpec
from byol_jax.data.records import parquet as records
from byol_jax.data.sources import open as open_lib
from byol_jax.data.sources import table
from byol_jax.errors import UserError

_SIZE, _BATCH, _SHARD = 224, 64, 500


def _write_tars(files: list[bytes], folder: str) -> table.Encoded:
  for first in range(0, len(files), _SHARD):
    with tarfile.open(f'{folder}/{first:08d}.tar', 'w') as tar:
      for k, data in enumerate(files[first:first + _SHARD], first):
        info = tarfile.TarInfo(f'{k:08d}.jpg')
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
  return open_lib.open_source('tar', path=folder)


def _write_parquet(files: list[bytes], folder: str, compression: str) -> table.Encoded:
  import pyarrow
  from pyarrow import parquet
  kind = pyarrow.struct([('bytes', pyarrow.binary()), ('path', pyarrow.string())])
  for first in range(0, len(files), _SHARD):
    column = pyarrow.array([{'bytes': data, 'path': None}
                            for data in files[first:first + _SHARD]], kind)
    parquet.write_table(
        pyarrow.table({'image': column}), f'{folder}/{first:08d}.parquet',
        compression=compression, row_group_size=100, use_dictionary=False)
  records.KEPT = 20 << 20  # as if there were more than fit
  return open_lib.open_source('parquet', path=folder)


def _write_tfrecord(files: list[bytes], folder: str) -> table.Encoded:
  import tensorflow_datasets as tfds
  tfds.dataset_builders.store_as_tfds_dataset(
      name='jpegs', version='1.0.0', data_dir=folder,
      features=tfds.features.FeaturesDict({
          'image': tfds.features.Image(shape=(None, None, 3), encoding_format='jpeg')}),
      split_datasets={'train': [(k, {'image': data}) for k, data in enumerate(files)]},
      file_format='tfrecord')
  return open_lib.open_source('tfds', path=folder, tfds_name='jpegs')


_WRITERS = {
    'tar': _write_tars,
    'parquet': lambda files, folder: _write_parquet(files, folder, 'none'),
    'parquet, snappy': lambda files, folder: _write_parquet(files, folder, 'snappy'),
    'TFRecord': _write_tfrecord}


def _timed(source: table.Encoded, threads: int, steps: int) -> tuple[float, float]:
  """Returns (images a second, processor milliseconds an image)."""
  start, cpu = time.perf_counter(), time.process_time()
  for _ in stream.train_batches(
      source, CropSpec(_SIZE), seed=0, start_step=0, num_steps=steps,
      batch_size=_BATCH, rows_of_host=np.arange(_BATCH), threads=threads):
    pass
  count = steps * _BATCH
  return (count / (time.perf_counter() - start),
          1e3 * (time.process_time() - cpu) / count)


def main() -> int:
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--images', required=True, help='a folder of JPEG files')
  parser.add_argument('--threads', type=int, default=0, help='0: one a core')
  parser.add_argument('--copies', type=int, default=1, help='of each image, in shards')
  parser.add_argument('--seconds', type=float, default=5, help='of each turn')
  parser.add_argument('--rounds', type=int, default=5)
  arguments = parser.parse_args()
  try:
    folder = open_lib.open_source('folder', path=arguments.images)
  except UserError as error:
    print(f'benchmarks/sources.py: {error}', file=sys.stderr)
    return 2
  threads = arguments.threads or workers.cores()
  files = [folder.read(k) for k in range(folder.size)] * arguments.copies
  with tempfile.TemporaryDirectory() as root:
    os.environ['XDG_CACHE_HOME'] = f'{root}/cache'
    sources = {}
    os.makedirs(f'{root}/folder')
    for k, data in enumerate(files):
      with open(f'{root}/folder/{k:08d}.jpg', 'wb') as f:
        f.write(data)
    sources['folder'] = open_lib.open_source('folder', path=f'{root}/folder')
    for name, write in _WRITERS.items():
      if name == 'TFRecord' and not importlib.util.find_spec('tensorflow_datasets'):
        continue
      os.makedirs(f'{root}/{name}')
      sources[name] = write(files, f'{root}/{name}')
    rate, _ = _timed(sources['folder'], threads, 4)
    steps = max(2, round(rate * arguments.seconds / _BATCH))
    figures = {name: [] for name in sources}
    for _ in range(arguments.rounds):
      for name, source in sources.items():
        figures[name].append(_timed(source, threads, steps))
  rates, cpu = ({name: float(np.median(x, axis=0)[k]) for name, x in figures.items()}
                for k in (0, 1))
  ratios = {name: rate / rates['folder'] for name, rate in rates.items()}
  of_cpu = {name: cpu['folder'] / x for name, x in cpu.items()}
  print(f'{len(files)} images, two views of {_SIZE} px, {threads} threads')
  print(f'{"":<18}{"images/s":>10}{"to folder":>11}{"CPU ms/image":>14}{"by CPU":>8}')
  for name, rate in rates.items():
    print(f'{name:<18}{rate:>10.0f}{ratios[name]:>11.2f}{cpu[name]:>14.2f}'
          f'{of_cpu[name]:>8.2f}')
  print(json.dumps({'images_per_second': rates, 'ratio_to_folder': ratios,
                    'cpu_ms_per_image': cpu, 'ratio_by_cpu': of_cpu,
                    'threads': threads, 'images': len(files)}))
  return 0


if __name__ == '__main__':
  sys.exit(main())
