"""Writes the same images as a folder, tars, Parquet files and TFRecords."""

from __future__ import annotations

from collections.abc import Sequence
import io
import os
import tarfile

from byol_jax.data.records import parquet as records
from byol_jax.data.sources import open as open_lib
from byol_jax.data.sources import table

_SHARD = 500  # images a file


def _write_folder(files: list[bytes], folder: str) -> table.Encoded:
  for k, data in enumerate(files):
    with open(f'{folder}/{k:08d}.jpg', 'wb') as f:
      f.write(data)
  return open_lib.open_part('folder', path=folder)


def _write_tars(files: list[bytes], folder: str) -> table.Encoded:
  for first in range(0, len(files), _SHARD):
    with tarfile.open(f'{folder}/{first:08d}.tar', 'w') as tar:
      for k, data in enumerate(files[first:first + _SHARD], first):
        info = tarfile.TarInfo(f'{k:08d}.jpg')
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
  return open_lib.open_part('tar', path=folder)


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
  return open_lib.open_part('parquet', path=folder)


def _write_tfrecord(files: list[bytes], folder: str) -> table.Encoded:
  import tensorflow_datasets as tfds
  tfds.dataset_builders.store_as_tfds_dataset(
      name='jpegs', version='1.0.0', data_dir=folder,
      features=tfds.features.FeaturesDict({
          'image': tfds.features.Image(shape=(None, None, 3), encoding_format='jpeg')}),
      split_datasets={'train': [(k, {'image': data}) for k, data in enumerate(files)]},
      file_format='tfrecord')
  return open_lib.open_part('tfds', path=folder, tfds_name='jpegs')


# Parquet as `datasets` writes it today, and as it did before, in row groups of 100
WRITERS = {
    'folder': _write_folder, 'tar': _write_tars,
    'parquet': lambda files, folder: _write_parquet(files, folder, 'none'),
    'snappy': lambda files, folder: _write_parquet(files, folder, 'snappy'),
    'tfrecord': _write_tfrecord}


def written(files: list[bytes], kinds: Sequence[str],
            root: str) -> dict[str, table.Encoded]:
  """Writes encoded images in each of `WRITERS` that is asked for, below `root`.

  Returns:
    The data sets, opened; their indexes are kept below `root`, too.
  """
  os.environ['XDG_CACHE_HOME'] = f'{root}/cache'
  found = {}
  for kind in kinds:
    os.makedirs(f'{root}/{kind}')
    found[kind] = WRITERS[kind](files, f'{root}/{kind}')
  return found
