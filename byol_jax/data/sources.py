"""Where images come from: one small function for each kind of source.

A source is either `Images`, pixels in memory, or `Encoded`, files or records
that are still JPEG, PNG, ... and are decoded when they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import logging
import lzma
import os
import tokenize
from typing import NamedTuple
import zipfile
import zlib

import numpy as np

from byol_jax.data import bad as bad_lib
from byol_jax.data import folder as folder_lib
from byol_jax.data import idx
from byol_jax.data import lists
from byol_jax.data import prepared as prepared_lib
from byol_jax.data import tfds_records
from byol_jax.errors import UserError
from byol_jax.storage import paths as paths_lib

_console = logging.getLogger('byol_jax')

SOURCES = ('fashion_sample', 'fashion_mnist', 'npz', 'folder', 'list', 'prepared',
           'tfds', 'fake')

_OF_FILES = ('folder', 'list', 'npz', 'fashion_mnist')
_SAMPLE = os.path.join(
    os.path.dirname(os.path.abspath(__file__)), 'samples', 'fashion_sample.npz')
_CLASSES_SHOWN, _MOST_OF_A_NAME = 3, 30
_NPY_HEADER = 1 << 16  # bytes before an array; numpy reads no more
_DEBIAN_FASHION_MNIST = '/usr/share/datasets/fashion-mnist'
_FASHION_CLASSES = (
    'T-shirt/top', 'Trouser', 'Pullover', 'Dress', 'Coat', 'Sandal', 'Shirt',
    'Sneaker', 'Bag', 'Ankle boot')


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
  labels: np.ndarray | tfds_records.Labels | None  # int32 [N]
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
  if isinstance(data.names, tfds_records.FileNames):
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


def open_source(
    source: str,
    *,
    path: str | None = None,
    split: str = 'train',
    test_path: str | None = None,
    class_names: tuple[str, ...] | None = None,
    max_bad: int | None = None,
    max_bytes: int | None = None,
    tfds_name: str | None = None,
    image_size: int = 32,
    num_images: int = 1024,
    num_classes: int = 10,
    seed: int = 0,
) -> Images | Encoded | None:
  """Opens one split of a data set.

  Args:
    source: one of `SOURCES`.
    path: the folder ('fashion_mnist', 'folder', 'prepared'), the file ('npz',
      'list') or TFDS's data_dir ('tfds'). None: Debian's folder of
      Fashion-MNIST, TFDS's default.
    split: 'train' or 'test'; for 'folder' also the name of another part, for
      'tfds' any TFDS split.
    test_path: the list of the test part, for 'list'.
    class_names: those of the training part, for the test part of a 'list'; None
      where its labels are numbers.
    max_bad: how many images may be bad; None: `bad.default_limit`.
    max_bytes: how large the arrays of an 'npz' may be; None for any size.
    tfds_name: the data set's name, for 'tfds'.
    image_size: of views; side of the images, for 'fake'.
    num_images: number of images, for 'fake'.
    num_classes: number of classes, for 'fake'; 0 for no labels.
    seed: seed of the images, for 'fake'.

  Returns:
    The images; None where `split` is 'test' and the data ('npz', 'folder',
    'tfds') has no test part.

  Raises:
    UserError: no such source, or the data is missing, damaged or of a form that
      cannot be used. The message names the path.
    TransientError: a bucket cannot be reached, or storage fails for a minute.
  """
  # the shell expands no ~ behind the = of a flag
  path, test_path = (x and os.path.expanduser(x) for x in (path, test_path))
  for key, value in (('path', path), ('test_path', test_path)):
    if value and paths_lib.in_bucket(value) and source in _OF_FILES:
      raise UserError(f'config key data.{key} is {value!r}, but data.source='
                      f"'{source}' reads local files: mount the bucket, or make "
                      'records with configs/prepare.py and copy those there')
  if path and paths_lib.in_bucket(path):
    paths_lib.require(path)
  if source == 'fashion_sample':
    return fashion_sample(split)
  if source == 'fashion_mnist':
    return fashion_mnist(path or _DEBIAN_FASHION_MNIST, split)
  if source == 'npz':
    return npz(_needed(path, source, 'an .npz file'), split, max_bytes)
  if source == 'folder':
    return folder(_needed(path, source, 'a folder of images'), split, max_bad)
  if source == 'list':
    _train_or_test(split, 'list')
    path = _needed(path, source, 'a text or CSV file that lists images')
    if split == 'test':
      path = test_path
    return file_list(path, split, class_names, max_bad) if path else None
  if source == 'prepared':
    path = _needed(path, source, 'a folder that task=prepare wrote')
    return prepared(path, split, max_bad, image_size)
  if source == 'tfds':
    return tfds(tfds_name, split, path, max_bad)
  if source == 'fake':
    return fake(num_images, image_size, num_classes, seed, split)
  raise UserError(
      f'config.data.source={source!r} is not one of {", ".join(SOURCES)}')


def fashion_sample(split: str) -> Images:
  """The embedded data: 10,000 + 2,000 images of Fashion-MNIST, 28x28x1."""
  _train_or_test(split, 'fashion_sample')
  data = npz(_SAMPLE, split)
  return data._replace(class_names=_FASHION_CLASSES, name='fashion_sample')


def fashion_mnist(path: str, split: str) -> Images:
  """Fashion-MNIST, or another relative of MNIST, from its IDX files.

  Args:
    path: folder with {train,t10k}-{images-idx3,labels-idx1}-ubyte, each with or
      without .gz.
    split: 'train' or 'test'.

  Returns:
    Images [60000 or 10000, 28, 28, 1] with their ten class names.
  """
  _train_or_test(split, 'fashion_mnist')
  prefix = {'train': 'train', 'test': 't10k'}[split]
  images = idx.read_idx(idx.find_idx(path, f'{prefix}-images-idx3-ubyte'), 3)
  labels_path = idx.find_idx(path, f'{prefix}-labels-idx1-ubyte')
  labels = idx.read_idx(labels_path, 1)
  if len(images) != len(labels):
    raise UserError(
        f'{path} has {len(images)} {prefix} images and {len(labels)} labels: '
        'the files do not belong together')
  if labels.max() >= len(_FASHION_CLASSES):
    raise UserError(
        f'{labels_path} has a label {labels.max()}, Fashion-MNIST has 0 to 9')
  return Images(
      images[..., None], labels.astype(np.int32), _FASHION_CLASSES,
      f'fashion_mnist in {path}')


def npz(path: str, split: str, max_bytes: int | None = None) -> Images | None:
  """Arrays from an .npz file, without pickle.

  Args:
    path: a file with `images` and, if there are, `labels`: training data; or
      with x_train, y_train, x_test, y_test, of which only x_train is needed.
      Images are uint8 [N, H, W] or [N, H, W, C] with C = 1 or 3, labels
      integers [N] or [N, 1], counted from 0.
    split: 'train' or 'test'.
    max_bytes: larger arrays are refused before they are read; None for none.

  Returns:
    The images, or None for 'test' if the file has no test images.
  """
  _train_or_test(split, 'npz')
  if not os.path.isfile(path):
    raise UserError(f'there is no file {path}: check config.data.path')
  try:
    with np.load(path, allow_pickle=False) as archive:
      keys = archive.files
      by_split = 'x_train' in keys
      if not by_split and 'images' not in keys:
        raise UserError(
            f'{path} has the arrays {", ".join(keys) or "(none)"}: expected '
            'images and labels, or x_train, y_train, x_test, y_test')
      image_key, label_key = (
          (f'x_{split}', f'y_{split}') if by_split else ('images', 'labels'))
      if split == 'test' and (not by_split or image_key not in keys):
        return None
      for key in (image_key, label_key):
        if key in keys:
          _check_size(archive.zip, key, max_bytes, path)
      images = archive[image_key]
      labels = archive[label_key] if label_key in keys else None
  # A bare .npy comes back as an array: AttributeError or TypeError. Encrypted
  # archives are RuntimeErrors, absurd headers MemoryError to TokenError.
  except (OSError, ValueError, EOFError, KeyError, AttributeError, TypeError,
          NotImplementedError, RuntimeError, MemoryError, tokenize.TokenError,
          zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
    raise UserError(
        f'cannot read {path} as an .npz file of plain arrays: '
        f'{str(error)[:200] or type(error).__name__}') from error
  images = _checked_images(images, f'{image_key} in {path}')
  if labels is not None:
    labels = _checked_labels(labels, len(images), f'{label_key} in {path}', split)
  return Images(images, labels, None, path)


def _check_size(archive: zipfile.ZipFile, key: str, max_bytes: int | None,
                path: str) -> None:
  """Raises UserError if an array would take more memory than `max_bytes`.

  What the archive says of its size is more than is ever read of it.
  """
  size = archive.getinfo(f'{key}.npy').file_size
  if max_bytes is not None and size > max_bytes + _NPY_HEADER:
    raise UserError(
        f'{key} in {path} takes {size / 2**20:,.0f} MiB: raise config key '
        'data.resident_limit_mib if every device has room for it')


def folder(path: str, split: str, max_bad: int | None = None) -> Encoded | None:
  """Image files in a folder, flat or one folder a class: `folder.list_folder`.

  A file is looked at when it is read, not before.
  """
  listing = folder_lib.list_folder(path, split)
  if listing is None:
    return None
  return _files(listing.root, listing.files, listing.labels,
                listing.class_names, listing.root, max_bad)


def file_list(path: str, split: str = 'train',
              class_names: tuple[str, ...] | None = None,
              max_bad: int | None = None) -> Encoded:
  """Image files by name, with or without labels: `lists.read_list`."""
  listed = lists.read_list(path, split, class_names)
  return _files(*listed, path, max_bad)


def _files(root: str, files: Sequence[str], labels: np.ndarray | None,
           class_names: tuple[str, ...] | None, name: str,
           max_bad: int | None) -> Encoded:
  """Files below a folder as a source."""
  return Encoded(
      read=lambda index: folder_lib.read_file(os.path.join(root, files[index])),
      size=len(files), labels=labels, names=files, class_names=class_names,
      name=name, bad=bad_lib.BadImages(files, name, max_bad), root=root)


def prepared(path: str, split: str,
             max_bad: int | None = None, image_size: int = 0) -> Encoded | None:
  """What task=prepare has written: `prepared.open_prepared`."""
  opened = prepared_lib.open_prepared(path, split)
  if opened is None:
    return None
  if 0 < opened.short_side < image_size:
    _console.warning(
        'WARNING: %s, %s: images were prepared with a short side of %d pixels, fewer '
        'than config key data.image_size = %d: they will be enlarged; prepare them '
        'anew, or set a smaller size', path, split, opened.short_side, image_size)
  return Encoded(
      read=opened.read, size=len(opened.names), labels=opened.labels,
      names=opened.names, class_names=opened.class_names, name=path,
      bad=bad_lib.BadImages(opened.names, path, max_bad), identity=opened.identity)


def tfds(
    tfds_name: str | None, split: str, data_dir: str | None = None,
    max_bad: int | None = None,
) -> Encoded | None:
  """A prepared TFDS data set: `tfds_records.open_records`."""
  records = tfds_records.open_records(tfds_name, split, data_dir)
  if records is None:
    return None
  name = f'tfds {tfds_name or data_dir}'
  return Encoded(
      read=records.read, size=records.size, labels=records.labels,
      names=records.names, class_names=records.class_names, name=name,
      bad=bad_lib.BadImages(records.names, name, max_bad), identity=records.identity)


def fake(
    num_images: int, image_size: int, num_classes: int = 10, seed: int = 0,
    split: str = 'train',
) -> Images:
  """Random pixels and labels, for speed tests.

  Args:
    num_images: N.
    image_size: side of the images, which have three channels.
    num_classes: labels are 0 .. num_classes - 1; 0 for none.
    seed: seeds both.
    split: every split has images of its own.

  Returns:
    Images [N, image_size, image_size, 3].
  """
  if num_images < 1 or image_size < 1:
    raise UserError(
        f'fake data needs at least one image and pixel, not {num_images} images '
        f'of side {image_size}')
  rng = np.random.default_rng([seed, zlib.crc32(split.encode())])
  shape = (num_images, image_size, image_size, 3)
  images = rng.integers(0, 256, shape, np.uint8)
  labels = None
  if num_classes:
    labels = rng.integers(0, num_classes, num_images, np.int32)
  return Images(images, labels, None, f'fake {split}')


def _needed(path: str | None, source: str, what: str) -> str:
  """Returns the path, UserError if there is none."""
  if not path:
    raise UserError(
        f'config.data.source={source!r} needs config.data.path: {what}')
  return path


def _train_or_test(split: str, source: str) -> None:
  """Raises UserError unless the split is 'train' or 'test'."""
  if split not in ('train', 'test'):
    raise UserError(f'{source} has the splits train and test, not {split!r}')


def _checked_images(images: np.ndarray, where: str) -> np.ndarray:
  """Returns images as uint8 [N, H, W, C], UserError if they are not."""
  if images.dtype != np.uint8:
    raise UserError(
        f'{where} has dtype {images.dtype}, expected uint8 with values 0 to 255')
  if images.ndim == 3:
    images = images[..., None]
  if images.ndim != 4 or images.shape[-1] not in (1, 3):
    raise UserError(
        f'{where} has shape {images.shape}, expected [N, H, W], [N, H, W, 1] or '
        '[N, H, W, 3], channels last')
  if 0 in images.shape:
    raise UserError(f'{where} is empty: shape {images.shape}')
  return np.ascontiguousarray(images)


def _checked_labels(labels: np.ndarray, size: int, where: str,
                    split: str) -> np.ndarray:
  """Returns labels as int32 [size], UserError if they are not."""
  if labels.shape not in ((size,), (size, 1)):
    raise UserError(
        f'{where} has shape {labels.shape}, expected [{size}], one label an '
        'image')
  if not np.issubdtype(labels.dtype, np.integer):
    raise UserError(f'{where} has dtype {labels.dtype}, expected integers')
  if labels.min() < 0:
    raise UserError(
        f'{where} has labels from {labels.min()} to {labels.max()}: they must '
        'count from 0')
  lists.check_largest(int(labels.max()), size if split == 'train' else None, where)
  return labels.reshape(size).astype(np.int32)
