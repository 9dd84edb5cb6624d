"""The source 'npz': arrays in a file of numpy."""

from __future__ import annotations

from collections.abc import Sequence
import logging
import lzma
import os
import tokenize
import zipfile
import zlib

import numpy as np

from byol_jax.data.sources import labels as labels_lib
from byol_jax.data.sources import table
from byol_jax.errors import UserError

_console = logging.getLogger('byol_jax')

# Names of arrays, {} for the part; the last are MedMNIST's.
_WHOLE, _BY_LETTER = ('images', 'labels'), ('x_{}', 'y_{}')
_BY_PART = ('{}_images', '{}_labels')
_NPY_HEADER = 1 << 16  # bytes before an array; numpy reads no more


def open_split(request: table.Request, split: str) -> table.Images | None:
  """Reads arrays from an .npz file, without pickle.

  Args:
    request: `path` is a file with `images` and, if there are, `labels`: training
      data; or with x_train, y_train, x_test, y_test, of which only x_train is
      needed; or with MedMNIST's train_images, train_labels, val_images, ... Images
      are uint8 [N, H, W] or [N, H, W, C] with C = 1 or 3. Labels are whole numbers
      [N] or [N, 1], numbered as `labels.number` does, -1 for none, or one-hot
      [N, K]; more labels an image are left out, with a warning. Arrays larger than
      `max_bytes` are refused before they are read.
    split: 'train', 'test', or with MedMNIST's names any part.

  Returns:
    The images, or None for 'test' if the file has no test images.
  """
  path = request.path
  if not os.path.isfile(path):
    raise UserError(f'there is no file {path}: check config.data.path')
  try:
    with np.load(path, allow_pickle=False) as archive:
      keys = archive.files
      names = _names(keys, path)
      if names is not _BY_PART:
        table.check_train_or_test(split, 'npz')
      image_key, label_key = (name.format(split) for name in names)
      if image_key not in keys or split == 'test' and names is _WHOLE:
        if split == 'test':
          return None
        raise UserError(f'{path} has no {image_key}, but {", ".join(keys)}')
      for key in (image_key, label_key):
        if key in keys:
          _check_size(archive.zip, key, request.max_bytes, path)
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
  class_names = None
  if labels is not None:
    labels, class_names = _checked_labels(
        labels, len(images), f'{label_key} in {path}', split, request)
  return table.Images(images, labels, class_names, path)


def _names(keys: Sequence[str], path: str) -> tuple[str, str]:
  """Returns the names of the arrays of images and labels, {} for the part."""
  for names in (_BY_LETTER, _WHOLE, _BY_PART):
    if names[0].format('train') in keys:
      return names
  raise UserError(f'{path} has the arrays {", ".join(keys) or "(none)"}: expected '
                  'images and labels, or x_train, y_train, x_test, y_test, or '
                  'train_images, train_labels, test_images, test_labels')


def _check_size(archive: zipfile.ZipFile, key: str, max_bytes: int | None,
                path: str) -> None:
  """Raises UserError if an array would take more memory than `max_bytes`.

  Never more of an array is read than the archive declares.
  """
  size = archive.getinfo(f'{key}.npy').file_size
  if max_bytes is not None and size > max_bytes + _NPY_HEADER:
    raise UserError(
        f'{key} in {path} takes {size / 2**20:,.0f} MiB: raise config key '
        'data.resident_limit_mib if every device has room for it')


def _checked_images(images: np.ndarray, where: str) -> np.ndarray:
  """Returns images as uint8 [N, H, W, C]; raises UserError if they are no images."""
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


def _checked_labels(
    labels: np.ndarray, size: int, where: str, split: str, request: table.Request,
) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
  """Returns labels int32 [size] and names; raises UserError if they are no labels."""
  if labels.ndim == 2 and len(labels) == size and labels.shape[1] > 1:
    if not (np.isin(labels, (0, 1)).all() and (labels.sum(1) == 1).all()):
      _console.warning('%s has %d labels an image, of which none can be taken: images '
                       'are unlabelled', where, labels.shape[1])
      return None, None
    labels = labels.argmax(1)  # one-hot
  if labels.shape not in ((size,), (size, 1)):
    raise UserError(
        f'{where} has shape {labels.shape}, expected [{size}], one label an '
        'image')
  labels = labels.reshape(size)
  if labels.dtype == bool:
    labels = labels.astype(np.int64)
  if labels.dtype.kind == 'f' and (
      np.where(np.isnan(labels), 0, labels) % 1 == 0).all():  # of infinity it is nan
    labels = np.where(np.isnan(labels), labels_lib.NONE, labels).astype(np.int64)
  if labels.dtype.kind in 'US' and request.rules != '0.1':
    if labels.dtype.kind == 'S':
      labels = np.char.decode(labels, 'utf-8', 'backslashreplace')
    texts, which = np.unique(np.char.strip(labels), return_inverse=True)
    return labels_lib.of_texts(where, labels_lib.Texts(
        dict.fromkeys(texts.tolist(), 0), which.astype(np.int32),
        lambda _: where), request.role(split), request.class_names)
  if not np.issubdtype(labels.dtype, np.integer):
    raise UserError(f'{where} has dtype {labels.dtype}, expected integers or names')
  if labels.min() < labels_lib.NONE or labels.max() >= 2**63:
    raise UserError(
        f'{where} has labels from {labels.min()} to {labels.max()}: they must '
        'count from 0, or be -1 for no label')
  labels = labels.astype(np.int64)
  is_train = request.role(split) == 'train'
  if request.class_names is None and not (is_train and request.rules != '0.1'):
    table.check_largest(int(labels.max()), size if is_train else None, where)
    return labels.astype(np.int32), None
  return labels_lib.number(labels, where, request.class_names)
