"""Random access to TFRecord files: an index of where each record starts.

A record is its length (uint64, little-endian), a checksum of that, the data, and a
checksum of the data (https://www.tensorflow.org/tutorials/load_data/tfrecord). The
files have no index of their own; making one reads 12 bytes a record.
"""

from __future__ import annotations

import os
import struct

import google_crc32c
import numpy as np

_HEADER = struct.Struct('<QI')
_FOOTER = struct.Struct('<I')


def index(path: str) -> np.ndarray:
  """Where the records of a file start: int64 [N + 1], its size at the end.

  Args:
    path: a local file, not compressed.

  Raises:
    ValueError: the file is no TFRecord file, or is cut short or damaged in one of
      the lengths; names the byte.
    OSError: it cannot be read.
  """
  starts = [0]
  with open(path, 'rb', buffering=0) as f:
    size = os.fstat(f.fileno()).st_size
    while starts[-1] < size:
      header = os.pread(f.fileno(), _HEADER.size, starts[-1])
      if len(header) < _HEADER.size:
        raise ValueError(f'{path} is cut short at byte {starts[-1]}')
      length, checksum = _HEADER.unpack(header)
      if _masked_crc(header[:8]) != checksum:
        raise ValueError(f'{path} is damaged at byte {starts[-1]}')
      starts.append(starts[-1] + _HEADER.size + length + _FOOTER.size)
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
  with open(path, 'rb', buffering=0) as f:
    record = os.pread(f.fileno(), stop - start, start)
  data = record[_HEADER.size:-_FOOTER.size]
  if len(record) != stop - start or _masked_crc(data) != _FOOTER.unpack(
      record[-_FOOTER.size:])[0]:
    raise ValueError(f'{path} is damaged in the record at byte {start}')
  return data


def _masked_crc(data: bytes) -> int:
  """The checksum as TFRecord stores it: rotated, and a constant added."""
  crc = google_crc32c.value(data)
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
