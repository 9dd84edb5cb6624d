"""Texts packed into one array: a million names in some twenty megabytes."""

from __future__ import annotations

import array
from collections.abc import Iterator, Mapping, Sequence

import numpy as np


class Texts(Sequence):
  """Some texts, each made when it is needed.

  Attributes:
    blob: uint8 [bytes], the texts as UTF-8, one behind the other.
    ends: int64 [N], where each ends.
  """

  def __init__(self, blob: np.ndarray, ends: np.ndarray):
    self.blob, self.ends = blob, ends

  def __len__(self) -> int:
    return len(self.ends)

  def __getitem__(self, index: int) -> str:
    index = range(len(self.ends))[index]
    start = self.ends[index - 1] if index else 0
    return self.blob[start:self.ends[index]].tobytes().decode(errors='surrogateescape')

  def __iter__(self) -> Iterator[str]:
    return (self[k] for k in range(len(self)))


class Packer:
  """Packs texts one by one."""

  def __init__(self):
    self._blob, self._ends = bytearray(), array.array('q')

  def add(self, text: bytes) -> None:
    """Adds a text as UTF-8."""
    self._blob += text
    self._ends.append(len(self._blob))

  def arrays(self, key: str) -> dict[str, np.ndarray]:
    """Returns what was added, as an index keeps it: see `of`."""
    return {f'{key}_texts': np.array(self._blob, np.uint8),
            f'{key}_ends': np.array(self._ends, np.int64)}


def joined(parts: Sequence[Texts]) -> Texts:
  """Returns the texts of all parts, in order."""
  before = np.cumsum([0, *(len(part.blob) for part in parts)])
  return Texts(np.concatenate([part.blob for part in parts]), np.concatenate(
      [part.ends + start for part, start in zip(parts, before)]))


def of(index: Mapping[str, np.ndarray], key: str) -> Texts:
  """Returns the texts that an index keeps as KEY_texts and KEY_ends."""
  return Texts(index[f'{key}_texts'], index[f'{key}_ends'])
