"""Random access to the images in a column of Parquet files.

Where a column is not compressed, as Hugging Face's `datasets` writes it since 2026,
each image lies in the file as it is: its place is found once, and it is read alone. In
other files an image comes out of its row group, which pyarrow decodes whole; the last
ones are kept, so that reading in order decodes each once.
"""

from __future__ import annotations

import array
import collections
from collections.abc import Callable, Iterator, Sequence
import contextlib
import hashlib
import io
import struct
import threading
from typing import Any, NamedTuple
import zlib

import numpy as np

from byol_jax.data.records import scan
from byol_jax.data.records import texts
from byol_jax.data.records.index import Index
from byol_jax.storage import paths as paths_lib

_LENGTH = struct.Struct('<I')  # before each value that is not compressed
_BLOCK = 1 << 20  # bytes of a local file that are read at a time
_BETWEEN = 1 << 18  # bytes between two values: a page's header, with its statistics
_VALUES = 32  # that are in memory while places are found
KEPT = 512 << 20  # bytes of row groups in memory, or else a single row group


class Wanted(NamedTuple):
  """The columns of a file that are read, each as 'image.bytes' where it is nested."""
  image: str
  name: str = ''  # '' for none
  label: str = ''


def opened(path: str) -> Any:
  """Opens a file as pyarrow's ParquetFile.

  Raises:
    OSError: the file cannot be read.
    ValueError: it is no Parquet file, or is cut short.
  """
  from pyarrow import parquet  # slow
  size, _ = paths_lib.stat(path)
  with _as_ours(f'{path} is no Parquet file, or is cut short'):
    return parquet.ParquetFile(_File(path, size) if paths_lib.in_bucket(path) else path,
                               buffer_size=_BLOCK, pre_buffer=False)


def index(path: str, wanted: Wanted) -> Index:
  """Finds the images of a file, with names and labels.

  Args:
    path: the file, local or in a bucket.
    wanted: its columns.

  Returns:
    start: int64 [N], the byte where each image starts, size: int64 [N], -1 for null,
    and check: uint32 [N], its CRC-32; all three [0] where images do not lie in the file
    as they are. group_ends: int64 [G], the number of images up to the end of each row
    group. name_texts, name_ends: `texts.Texts` of their names, '' for null; label:
    int32 [N], the number of each image's label in the `Texts` label_texts, label_ends,
    or -1; footer: uint8 [32], the SHA-256 of the file's own description.

  Raises:
    ValueError: the file is damaged or no Parquet file.
    OSError: it cannot be read.
  """
  with _as_ours(f'{path} is damaged'):
    file = opened(path)
    meta = file.metadata
    groups = map(meta.row_group, range(meta.num_row_groups))
    result = {'group_ends': np.cumsum([x.num_rows for x in groups], dtype=np.int64)}
    names, labels, known = texts.Packer(), texts.Packer(), {}
    which = array.array('i')
    for name in _column(file, wanted.name):
      names.add((name or '').encode())
    for label in _column(file, wanted.label):
      label = label.strip() if isinstance(label, str) else label
      if label is not None and label not in known:
        known[label] = len(known)
        labels.add(str(label).encode())
      which.append(-1 if label is None else known[label])
    result['label'] = np.array(which, np.int32) if wanted.label else (
        np.full(meta.num_rows, -1, np.int32))
    return (result | names.arrays('name') | labels.arrays('label')
            | _places(path, file, wanted.image) | {'footer': _footer(path)})


def read(path: str, start: int, size: int, check: int) -> bytes:
  """Reads one image that lies in a file as it is.

  Args:
    path: the file.
    start, size, check: as in its index.

  Raises:
    ValueError: the file has other bytes there than when the index was made.
    OSError: it cannot be read.
  """
  data = paths_lib.read_range(path, start, start + size)
  if len(data) != size or zlib.crc32(data) != check:
    raise ValueError(f'{path} is damaged or has changed at byte {start}')
  return data


class RowGroups:
  """Reads images out of row groups, for many threads.

  Attributes:
    largest: the bytes of the largest row group's images, decoded.
  """

  def __init__(self, files: Sequence[str], found: Sequence[Index], image: str):
    """Opens the files whose images do not lie there as they are.

    Args:
      files: the files.
      found: their indexes.
      image: the column with the images.
    """
    self._files, self._image = files, image
    self._ends = [one['group_ends'] for one in found]
    self._meta = {k: opened(path).metadata for k, path in enumerate(files)
                  if not len(found[k]['start'])}
    sizes = [chunk.total_uncompressed_size for meta in self._meta.values()
             for chunk in _chunks(meta, image)]
    self.largest = max(sizes, default=0)
    self._most = max(1, KEPT // max(self.largest, 1))
    self._kept = collections.OrderedDict()  # by file and row group
    self._lock = threading.Lock()
    self._busy: dict[tuple[int, int], threading.Lock] = {}
    self._room = threading.Semaphore(self._most)

  def read(self, file: int, k: int) -> bytes | None:
    """Reads image k of a file; None for null.

    Raises:
      ValueError: the file is damaged.
      OSError: it cannot be read.
    """
    group = int(np.searchsorted(self._ends[file], k, 'right'))
    first = int(self._ends[file][group - 1]) if group else 0
    key = file, group
    with self._lock:
      values, busy = self._get(key), self._busy.setdefault(key, threading.Lock())
    if values is None:
      with busy:  # who wants the same one waits for it
        with self._lock:
          values = self._get(key)
        if values is None:
          with self._room:
            values = self._decoded(*key)
            with self._lock:
              self._kept[key] = values
              self._busy.pop(key, None)
              while len(self._kept) > self._most:
                self._kept.popitem(last=False)
    return values[k - first].as_py()

  def _get(self, key: tuple[int, int]) -> Any:
    """Returns a row group that is kept, as the newest; None without."""
    if key in self._kept:
      self._kept.move_to_end(key)
    return self._kept.get(key)

  def _decoded(self, file: int, group: int) -> Any:
    from pyarrow import parquet
    path = self._files[file]
    with _as_ours(f'{path} is damaged in row group {group}'):
      size, _ = paths_lib.stat(path)
      with parquet.ParquetFile(
          _File(path, size) if paths_lib.in_bucket(path) else path,
          metadata=self._meta[file]) as reader:
        found = reader.read_row_group(group, columns=[self._image], use_threads=False)
    return _leaf(found.combine_chunks().column(0))


class _File(io.RawIOBase):
  """A file in a bucket, as pyarrow reads one."""

  def __init__(self, path: str, size: int):
    super().__init__()
    self._path, self._size, self._at = path, size, 0

  def readable(self) -> bool:
    return True

  def seekable(self) -> bool:
    return True

  def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
    self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at,
                         io.SEEK_END: self._size}[whence]
    return self._at

  def tell(self) -> int:
    return self._at

  def readinto(self, buffer: Any) -> int:
    stop = min(self._at + len(buffer), self._size)
    data = paths_lib.read_range(self._path, self._at, stop) if stop > self._at else b''
    buffer[:len(data)] = data
    self._at += len(data)
    return len(data)


@contextlib.contextmanager
def _as_ours(what: str) -> Iterator[None]:
  """Turns pyarrow's errors about a file's content into ValueErrors."""
  import pyarrow
  try:
    yield
  except (pyarrow.ArrowException, OSError) as error:
    if isinstance(error, OSError) and error.errno is not None:
      raise
    # from None: an OSError as the cause would be taken for the storage's failure
    raise ValueError(f'{what} ({str(error).splitlines()[0][:100]})') from None


def is_null(meta: Any, leaf: str) -> bool:
  """Returns whether a file says that a column has nothing but nulls."""
  found = [chunk.statistics for chunk in _chunks(meta, leaf)]
  return bool(found) and all(x is not None and x.has_null_count and x.num_values == 0
                             for x in found)


def _chunks(meta: Any, leaf: str) -> list[Any]:
  """Returns the description of a column in each row group."""
  column = next(k for k in range(meta.num_columns)
                if meta.schema.column(k).path == leaf)
  return [meta.row_group(k).column(column) for k in range(meta.num_row_groups)]


def _leaf(column: Any) -> Any:
  """Returns the values of 'image.bytes' from those of 'image'; null where that is.

  Of a struct nothing but the one field was read. A dot may also be of a column's name.
  """
  while str(column.type).startswith('struct<'):
    column = column.flatten()[0]
  return column


def _column(file: Any, leaf: str, groups: Sequence[int] | None = None,
            rows: int = 4096) -> Iterator[Any]:
  """Yields the values of a column, None for null."""
  if leaf:
    for batch in file.iter_batches(rows, groups, columns=[leaf], use_threads=False):
      yield from _leaf(batch.column(0)).to_pylist()


def _places(path: str, file: Any, leaf: str) -> Index:
  """Returns where the values of a column lie in a file as they are: `index`.

  A value that is not compressed lies behind its length. What lies between two values is
  searched, not understood: the bytes that are found are those that pyarrow read.
  """
  chunks = _chunks(file.metadata, leaf)
  result = [np.zeros(0, dtype) for dtype in (np.int64, np.int64, np.uint32)]
  if all(chunk.compression == 'UNCOMPRESSED' for chunk in chunks):
    with scan.reading(path, _BLOCK) as (read_at, _):
      columns = [array.array(kind) for kind in 'qqI']
      if all(_find(chunk, _column(file, leaf, [k], _VALUES), read_at, *columns)
             for k, chunk in enumerate(chunks)):
        result = [np.array(column, x.dtype) for column, x in zip(columns, result)]
  return dict(zip(('start', 'size', 'check'), result))


def _find(chunk: Any, values: Iterator[bytes | None], read_at: Callable,
          starts: array.array, sizes: array.array, checks: array.array) -> bool:
  """Adds the places of a chunk's values; returns whether all were found."""
  at = chunk.data_page_offset
  if chunk.has_dictionary_page:
    at = min(at, chunk.dictionary_page_offset)
  stop = at + chunk.total_compressed_size
  for value in values:
    if value is None:
      place = (0, -1, 0)
    else:
      wanted = _LENGTH.pack(len(value)) + value
      held = read_at(at, min(len(wanted) + _BETWEEN, stop - at))
      before = held.find(wanted)
      if before < 0:
        return False
      at += before + len(wanted)
      place = at - len(value), len(value), zlib.crc32(value)
    for column, number in zip((starts, sizes, checks), place):
      column.append(number)
  return True


def _footer(path: str) -> np.ndarray:
  """Returns the SHA-256 of the footer, which has the numbers and sizes of all."""
  size, _ = paths_lib.stat(path)
  length, = _LENGTH.unpack(paths_lib.read_range(path, size - 8, size - 4))
  footer = paths_lib.read_range(path, size - 8 - length, size)
  return np.frombuffer(hashlib.sha256(footer).digest(), np.uint8)
