"""A data set: images in memory, or still encoded, with what belongs to each.

A source is either `Images`, pixels in memory, or `Encoded`, files or records
that are still JPEG, PNG, ... and are decoded when they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from byol_jax.data import bad as bad_lib
from byol_jax.data.sources import lazy


class Images(NamedTuple):
  """Images in memory, all of one size."""
  images: np.ndarray  # uint8 [N, H, W, C], C = 1 or 3
  labels: np.ndarray | None  # int32 [N]
  class_names: tuple[str, ...] | None
  name: str  # for messages
  # Of what was decoded: those that others stand in for, and the files or records.
  bad: bad_lib.BadImages | None = None
  names: Sequence[str] | None = None


class Encoded(NamedTuple):
  """Images still encoded, of any size, with random access."""
  # The bytes of one image, unchecked; `decode.BadImage` if it cannot be read,
  # UserError if the data set is damaged. Called from several threads at a time.
  read: Callable[[int], bytes]
  size: int
  labels: np.ndarray | lazy.Labels | None  # int32 [N]
  names: Sequence[str]  # file names or record ids
  class_names: tuple[str, ...] | None
  name: str  # for messages
  bad: bad_lib.BadImages  # the images that turned out to be of no use
  root: str | None = None  # the folder that `names` are files of; None of records
  identity: str = ''  # of records: changes with their number, order and content


def size(data: Images | Encoded) -> int:
  """Number of images."""
  return len(data.images) if isinstance(data, Images) else data.size


def num_classes(data: Images | Encoded) -> int:
  """Classes of a labelled data set; 0 without labels."""
  if data.labels is None:
    return 0
  named = len(data.class_names) if data.class_names else 0
  return max(named, int(data.labels.max()) + 1)
_CLASSES_SHOWN, _MOST_OF_A_NAME = 3, 30


def described_classes(data: Images | Encoded) -> str:
  """'3 classes (cat, dog, emu)', for the user to see what was taken for one."""
  names = [] if data.class_names is None else list(map(str, data.class_names))
  shown = ', '.join(name[:_MOST_OF_A_NAME] for name in names[:_CLASSES_SHOWN])
  return f'{num_classes(data)} classes' + (
      f' ({shown}{", ..." if len(names) > _CLASSES_SHOWN else ""})' if names else '')


def names_of(data: Images | Encoded, rows: Sequence[int], split: str) -> list[str]:
  """The names of some images; 'SPLIT[5]' where they have none."""
  if data.names is None:
    return [f'{split}[{row}]' for row in rows]
  if isinstance(data.names, lazy.FileNames):
    return list(data.names.of(rows))
  return [data.names[row] for row in rows]


class _Some(Sequence):
  """Some of the names, none of which is looked up before it is asked for."""

  def __init__(self, names: Sequence[str], rows: np.ndarray):
    self._names, self._rows = names, rows

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, index: int) -> str:
    return self._names[int(self._rows[index])]


def take(data: Images | Encoded, rows: np.ndarray) -> Images | Encoded:
  """Some of the images, as a data set of their own.

  Args:
    data: the whole.
    rows: int [n], which ones, in the new order.

  Returns:
    Of the same kind.
  """
  labels = None if data.labels is None else data.labels[rows]
  if isinstance(data, Images):
    # those that others stand in for stay so
    return data._replace(images=data.images[rows], labels=labels, bad=None, names=None)
  names = _Some(data.names, rows)
  return data._replace(
      read=lambda index: data.read(int(rows[index])), size=len(rows),
      labels=labels, names=names,
      bad=bad_lib.BadImages(names, data.name, data.bad.limit))


Data = Images | Encoded
