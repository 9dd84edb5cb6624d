"""Random access to TFRecord files: an index of where each record starts.

A record is its length (uint64, little-endian), a checksum of that, the data, and a
checksum of the data (https://www.tensorflow.org/tutorials/load_data/tfrecord). The
files have no index of their own. On a disk making one reads 12 bytes a record; in a
bucket, where each read takes its time, it reads all, and is kept on this machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent import futures
import contextlib
import hashlib
import io
import logging
import os
import struct
import time

import google_crc32c
import numpy as np

from byol_jax.storage import files as files_lib
from byol_jax.storage import paths as paths_lib
from byol_jax.storage import retry

_console = logging.getLogger('byol_jax')

_HEADER = struct.Struct('<QI')
_FOOTER = struct.Struct('<I')
_LEAST = _HEADER.size + _FOOTER.size  # bytes of a record
_THREADS = 16
_BUCKET_BLOCK = 8 << 20  # bytes that a thread reads from a bucket at a time
_REPORT_SECONDS = 30.0


def indexes(paths: Sequence[str]) -> list[np.ndarray]:
  """`index` of many files; those in a bucket are kept in ~/.cache/byol_jax.

  Args:
    paths: local or in a bucket, not compressed.

  Raises:
    ValueError, OSError: as `index`; TransientError: as `storage.insist`.
  """
  reported, found = time.monotonic(), []
  with futures.ThreadPoolExecutor(_THREADS) as pool:  # storage takes its time
    try:
      kept = list(pool.map(_kept_at, paths))
      missing = sum(bool(file) and not os.path.exists(file) for file in kept)
      if missing:
        _console.info(
            'finding the records of %d TFRecord files in a bucket: they are read once '
            'on this machine (files of the array_record format need not be)', missing)
      for starts in pool.map(_kept_index, paths, kept):
        found.append(starts)
        if missing and time.monotonic() > reported + _REPORT_SECONDS:
          reported = time.monotonic()
          _console.info('%d of %d files', len(found), len(paths))
    except BaseException:
      pool.shutdown(cancel_futures=True)
      raise
  return found


def index(path: str) -> np.ndarray:
  """Where the records of a file start: int64 [N + 1], its size at the end.

  Args:
    path: a file, local or in a bucket, not compressed.

  Raises:
    ValueError: the file is no TFRecord file, or is cut short or damaged in one of
      the lengths; names the byte.
    OSError: it cannot be read.
  """
  size, _ = paths_lib.stat(path)
  block_size = _BUCKET_BLOCK if paths_lib.in_bucket(path) else _HEADER.size
  starts, block, block_start = [0], b'', 0
  with paths_lib.ranges(path) as read_range:
    while starts[-1] < size:
      at = starts[-1] - block_start
      if at + _HEADER.size > len(block):
        block_start, at = starts[-1], 0
        block = read_range(block_start, min(block_start + block_size, size))
        if len(block) < _HEADER.size:
          raise ValueError(f'{path} is cut short at byte {starts[-1]}')
      length, checksum = _HEADER.unpack_from(block, at)
      if _masked_crc(block[at:at + 8]) != checksum:
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


def _kept_index(path: str, file: str | None) -> np.ndarray:
  """`index`, from the file where an earlier run has left it."""
  if file is not None:
    with contextlib.suppress(Exception):  # none, or damaged, of which numpy says much
      with np.load(file, allow_pickle=False) as kept:
        starts = kept['starts']
        if kept['digest'] == _digest(file, starts):
          return starts
  starts = retry.insist(lambda: index(path), repr(path))
  if file is not None:
    data = io.BytesIO()
    np.savez(data, starts=starts, digest=_digest(file, starts))
    with contextlib.suppress(OSError):  # no home, or a full one: find them again
      os.makedirs(os.path.dirname(file), exist_ok=True)
      files_lib.write_bytes(file, data.getvalue())
  return starts


def _digest(file: str, starts: np.ndarray) -> str:
  """Returns the SHA-256 of an index and of the name of the file that keeps it.

  It tells an index that a disk has changed, or that was copied to another name.
  """
  return hashlib.sha256(os.path.basename(file).encode() + starts.tobytes()).hexdigest()


def _kept_at(path: str) -> str | None:
  """Where the index of a file in a bucket is kept; None for a local one.

  A file that has changed has another place.
  """
  if not paths_lib.in_bucket(path):
    return None
  version = retry.insist(lambda: paths_lib.version(path), repr(path))
  name = hashlib.sha256(f'{path}\0{version}'.encode()).hexdigest()
  cache = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  return os.path.join(cache, 'byol_jax', 'tfrecord', name + '.npz')


def _masked_crc(data: bytes) -> int:
  """The checksum as TFRecord stores it: rotated, and a constant added."""
  crc = google_crc32c.value(data)
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
