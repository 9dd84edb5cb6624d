"""The source 'npz': arrays in a file of numpy."""

from __future__ import annotations

import lzma
import os
import tokenize
import zipfile
import zlib

import numpy as np

from byol_jax.data.sources import table
from byol_jax.errors import UserError

_NPY_HEADER = 1 << 16  # bytes before an array; numpy reads no more


def open_split(request: table.Request, split: str) -> table.Images | None:
  """Reads arrays from an .npz file, without pickle.

  Args:
    request: `path` is a file with `images` and, if there are, `labels`: training
      data; or with x_train, y_train, x_test, y_test, of which only x_train is
      needed. Images are uint8 [N, H, W] or [N, H, W, C] with C = 1 or 3, labels
      integers [N] or [N, 1], counted from 0. Arrays larger than `max_bytes` are
      refused before they are read.
    split: 'train' or 'test'.

  Returns:
    The images, or None for 'test' if the file has no test images.
  """
  path = request.path
  table.check_train_or_test(split, 'npz')
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
  if labels is not None:
    labels = _checked_labels(labels, len(images), f'{label_key} in {path}', split)
  return table.Images(images, labels, None, path)


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


def _checked_labels(labels: np.ndarray, size: int, where: str,
                    split: str) -> np.ndarray:
  """Returns labels as int32 [size]; raises UserError if they are no labels."""
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
  table.check_largest(int(labels.max()), size if split == 'train' else None, where)
  return labels.reshape(size).astype(np.int32)
