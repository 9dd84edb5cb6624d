"""Labels and names that are stored in the records, read when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
import itertools
from typing import Any, TypeVar

import numpy as np

from byol_jax.data import workers

T = TypeVar('T')
_PART = 64  # records that a thread reads at a time: handing each over takes long


class Labels:
  """The labels int32 [N], each read with its image or when it is needed.

  Reading all of them at the start means reading all images, too.

  Attributes:
    num_classes: how many classes there can be; fewer may occur.
  """
  dtype = np.dtype(np.int32)

  def __init__(self, read: Callable[[int], int], size: int, num_classes: int):
    self._read = read
    self._rows = np.arange(size)  # turns any way to index into numbers
    self._known = np.full(size, -1, np.int32)
    self.num_classes = num_classes

  def put(self, index: int, label: int) -> None:
    """Notes a label that was read."""
    self._known[index] = label

  def __len__(self) -> int:
    return len(self._known)

  def __getitem__(self, rows: Any) -> np.ndarray:
    wanted = self._rows[rows]
    unknown = np.atleast_1d(wanted)[np.atleast_1d(self._known[wanted]) < 0]
    for index, label in zip(unknown, _read_all(self._read, unknown.tolist(),
                                                 'labels')):
      self._known[index] = label
    return self._known[wanted]

  def __array__(self, dtype=None, copy=None) -> np.ndarray:
    del copy
    return self[:].astype(dtype or self.dtype)


class Names(Sequence):
  """Names, each made when it is needed."""

  def __init__(self, read: Callable[[int], str], size: int):
    self._read = read
    self._size = size

  def __len__(self) -> int:
    return self._size

  def __getitem__(self, index: int) -> str:
    return self._read(range(self._size)[index])


class FileNames(Names):
  """Names that are stored in the records."""

  def __iter__(self) -> Iterator[str]:
    return self.of(range(self._size))

  def of(self, rows: Iterable[int]) -> Iterator[str]:
    """Yields the names of some records."""
    return _read_all(self._read, rows, 'file names')


def _read_all(read: Callable[[int], T], rows: Iterable[int], what: str) -> Iterator[T]:
  """Yields read(row) of many rows, read by several threads; logs the progress."""
  rows = list(rows)
  parts = workers.each(lambda part: list(map(read, part)),
                       (rows[k:k + _PART] for k in range(0, len(rows), _PART)))
  return workers.told(itertools.chain.from_iterable(parts), len(rows),
                      f'reading {what}: %d of %d')
