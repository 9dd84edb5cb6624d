"""A data set: images in memory, or still encoded, with their labels and names.

A source gives either `Images`, pixels in memory, or `Encoded`, files or records
that are still JPEG, PNG, ... and are decoded when they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple
import zlib

import numpy as np

from byol_jax import wording
from byol_jax.data import bad as bad_lib
from byol_jax.data.images import decode
from byol_jax.data.sources import lazy
from byol_jax.errors import UserError

_CLASSES_SHOWN, _MOST_OF_A_NAME = 3, 30
_MANY_CLASSES = 100_000


class Request(NamedTuple):
  """The data that is wanted; each source reads the fields that it needs."""
  path: str | None = None  # the folder or file, TFDS's data_dir; None for a default
  test_path: str | None = None  # the list of the test part, for 'list'
  # Classes of the training part, for the test part of a 'list'; None where its
  # labels are numbers.
  class_names: tuple[str, ...] | None = None
  list_root: str | None = None  # where relative paths of a 'list' start
  path_column: str | None = None  # title of a list's column; None: a known one
  image_column: str | None = None  # of 'parquet', the ending of names in a 'tar'
  label_column: str | None = None  # also a field of .json in a 'tar'; 'none' for none
  class_folders: str = 'top'  # of a 'folder', 'leaf' or 'none': `folder.list_folder`
  rules: str = '0.2'  # the version by whose rules folders and lists are read
  max_bad: int | None = None  # images that may be bad; None: `bad.default_limit`
  max_bytes: int | None = None  # the most for an array of an 'npz'; None for any size
  tfds_name: str | None = None  # the data set's name, for 'tfds'
  image_size: int = 32  # the side of views; the side of the images, for 'fake'
  num_images: int = 1024  # for 'fake', as are the two below
  num_classes: int = 10  # 0 for no labels
  seed: int = 0
  train_split: str = 'train'  # the name of the part whose labels number the classes
  test_split: str = 'test'  # that of the part to test with

  def role(self, split: str) -> str:
    """Returns 'train' for the part whose labels number the classes, else 'test'."""
    return 'train' if split == self.train_split else 'test'


class Images(NamedTuple):
  """Images in memory, all of one size."""
  images: np.ndarray  # uint8 [N, H, W, C], C = 1 or 3
  labels: np.ndarray | None  # int32 [N]
  class_names: tuple[str, ...] | None
  name: str  # for messages
  # Set where images were decoded: the bad ones, which others replace; all file names.
  bad: bad_lib.BadImages | None = None
  names: Sequence[str] | None = None

  root = None  # no image is a file

  @property
  def size(self) -> int:
    """Returns the number of images."""
    return len(self.images)

  def content(self) -> Iterator[bytes]:
    """Yields the bytes that identify the images: their pixels."""
    yield repr(self.images.shape).encode()
    yield str(zlib.crc32(np.ascontiguousarray(self.images))).encode()


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
  bad: bad_lib.BadImages  # the images that turned out to be bad
  root: str | None = None  # the folder that `names` are files of; None for records
  identity: str = ''  # for records: changes with their number, order and content
  how: decode.Reading = decode.DEFAULT  # how files become pixels

  def content(self) -> Iterator[bytes]:
    """Yields the bytes that identify the images: names of files, or `identity`."""
    if self.identity:
      yield self.identity.encode(errors='surrogateescape')
    else:
      for name in self.names:
        yield str(name).encode(errors='surrogateescape') + b'\0'


Data = Images | Encoded


def largest_label(data: Data) -> int:
  """Returns the largest label; if labels are read with images, the largest possible."""
  if isinstance(data.labels, lazy.Labels):
    return data.labels.num_classes - 1
  return int(data.labels.max())


def num_classes(data: Data) -> int:
  """Returns the number of classes; 0 without labels."""
  if data.labels is None:
    return 0
  named = len(data.class_names) if data.class_names else 0
  return max(named, largest_label(data) + 1)


def described_classes(data: Data) -> str:
  """Returns '3 classes (cat, dog, emu)', so that the user sees which were found."""
  names = [] if data.class_names is None else list(map(str, data.class_names))
  shown = ', '.join(_printable(name[:_MOST_OF_A_NAME])
                    for name in names[:_CLASSES_SHOWN])
  return wording.count(num_classes(data), 'class') + (
      f' ({shown}{", ..." if len(names) > _CLASSES_SHOWN else ""})' if names else '')


def _printable(name: str) -> str:
  """Returns a name with its newlines and escape codes written out."""
  return ''.join(c if c.isprintable() else c.encode(
      'unicode_escape', 'backslashreplace').decode() for c in name)


def names_of(data: Data, rows: Sequence[int], split: str) -> list[str]:
  """Returns the names of some images; 'SPLIT[5]' where they have none."""
  if data.names is None:
    return [f'{split}[{row}]' for row in rows]
  if isinstance(data.names, lazy.FileNames):
    return list(data.names.of(rows))
  return [data.names[row] for row in rows]


def take(data: Data, rows: np.ndarray) -> Data:
  """Returns some of the images as a data set of their own, of the same kind.

  Args:
    data: the whole data set.
    rows: int [n], the images in the new order.
  """
  labels = None if data.labels is None else data.labels[rows]
  if isinstance(data, Images):
    if data.bad is None:  # what images replace those that were bad stays as it is
      return data._replace(images=data.images[rows], labels=labels, names=None)
    names = lazy.Names(lambda index: data.names[int(rows[index])], len(rows))
    bad = bad_lib.BadImages(names, data.name, len(rows))  # all were told before
    why = data.bad.reasons()
    bad.learn({k: why[row] for k, row in enumerate(rows.tolist()) if row in why})
    return data._replace(images=data.images[rows], labels=labels, bad=bad, names=names)
  names = lazy.Names(lambda index: data.names[int(rows[index])], len(rows))
  return data._replace(
      read=lambda index: data.read(int(rows[index])), size=len(rows),
      labels=labels, names=names,
      bad=bad_lib.BadImages(names, data.name, data.bad.limit))


def check_train_or_test(split: str, source: str) -> None:
  """Raises UserError unless the split is 'train' or 'test'."""
  if split not in ('train', 'test'):
    raise UserError(f'{source} has the splits train and test, not {split!r}')


def check_largest(label: int, num_images: int | None, where: str) -> None:
  """Refuses ids in the place of classes counted from 0.

  There cannot be more classes than images, but part of a large data set may lack
  some: a training label is refused from 100,000 on, unless there are more images.

  Args:
    label: the largest label.
    num_images: the size of the training part; None for a test part, whose labels are
      compared with the classes of training elsewhere.
    where: the place of the labels, for the message.

  Raises:
    UserError: the label is too large.
  """
  limit = 2**31 if num_images is None else max(num_images, _MANY_CLASSES)
  if label >= limit:
    count = '' if num_images is None else f' for {num_images} images'
    raise UserError(
        f'{where} has a label {label}{count}: labels count from 0, so number the '
        f'classes, or in a list write names, as id-{label}')
