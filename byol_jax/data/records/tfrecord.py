"""Random access to TFRecord files by an index of where each record starts.

A record is its length (uint64, little-endian), a checksum of that, the data, and a
checksum of the data (https://www.tensorflow.org/tutorials/load_data/tfrecord). The
files have no index of their own. On a disk making one reads 12 bytes a record. In a
bucket a read takes long, so the whole file is read, and the index kept (index.py).
"""

from __future__ import annotations

import struct

import google_crc32c
import numpy as np

from byol_jax.data.records import scan
from byol_jax.storage import paths as paths_lib

_HEADER = struct.Struct('<QI')
_FOOTER = struct.Struct('<I')
_LEAST = _HEADER.size + _FOOTER.size  # bytes of a record


def index(path: str) -> np.ndarray:
  """Finds where the records of a file start: int64 [N + 1], the file's size last.

  Args:
    path: a file, local or in a bucket, not compressed.

  Raises:
    ValueError: the file is no TFRecord file, or is cut short or damaged in one of
      the lengths; names the byte.
    OSError: the file cannot be read.
  """
  starts = [0]
  with scan.reading(path, _HEADER.size) as (read_at, size):
    while starts[-1] < size:
      header = read_at(starts[-1], _HEADER.size)
      length, checksum = _HEADER.unpack(header)
      if _masked_crc(header[:8]) != checksum:
        raise ValueError(f'{path} is damaged at byte {starts[-1]}')
      starts.append(starts[-1] + _LEAST + length)
  if starts[-1] != size:
    raise ValueError(f'{path} is cut short at byte {starts[-2]}')
  return np.array(starts, np.int64)


def read(path: str, start: int, stop: int) -> bytes:
  """Reads one record.

  Args:
    path: the file.
    start: entry i of its index, for record i.
    stop: entry i + 1.

  Returns:
    Its data.

  Raises:
    ValueError: the checksum is wrong; names the byte.
    OSError: the file cannot be read.
  """
  record = paths_lib.read_range(path, start, stop)
  data = record[_HEADER.size:-_FOOTER.size]
  if len(record) != stop - start or len(record) < _LEAST or (
      _masked_crc(data) != _FOOTER.unpack(record[-_FOOTER.size:])[0]):
    raise ValueError(f'{path} is damaged in the record at byte {start}')
  return data


def _masked_crc(data: bytes) -> int:
  """Returns the checksum as TFRecord stores it: rotated, and a constant added."""
  crc = google_crc32c.value(data)
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
