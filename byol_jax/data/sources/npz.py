"""Sources that are arrays in memory: .npz, MNIST's family, the sample, fake."""

from __future__ import annotations

import lzma
import os
import tokenize
import zipfile
import zlib

import numpy as np

from byol_jax.data.sources import idx
from byol_jax.data.sources import lists
from byol_jax.data.sources import table
from byol_jax.errors import UserError

_SAMPLE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                       'samples', 'fashion_sample.npz')
_NPY_HEADER = 1 << 16  # bytes before an array; numpy reads no more
DEBIAN_FASHION_MNIST = '/usr/share/datasets/fashion-mnist'
_FASHION_CLASSES = (
    'T-shirt/top', 'Trouser', 'Pullover', 'Dress', 'Coat', 'Sandal', 'Shirt',
    'Sneaker', 'Bag', 'Ankle boot')


def fashion_sample(split: str) -> table.Images:
  """The embedded data: 10,000 + 2,000 images of Fashion-MNIST, 28x28x1."""
  train_or_test(split, 'fashion_sample')
  data = npz(_SAMPLE, split)
  return data._replace(class_names=_FASHION_CLASSES, name='fashion_sample')


def fashion_mnist(path: str, split: str) -> table.Images:
  """Fashion-MNIST, or another relative of MNIST, from its IDX files.

  Args:
    path: folder with {train,t10k}-{images-idx3,labels-idx1}-ubyte, each with or
      without .gz.
    split: 'train' or 'test'.

  Returns:
    Images [60000 or 10000, 28, 28, 1] with their ten class names.
  """
  train_or_test(split, 'fashion_mnist')
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
  return table.Images(
      images[..., None], labels.astype(np.int32), _FASHION_CLASSES,
      f'fashion_mnist in {path}')


def npz(path: str, split: str, max_bytes: int | None = None) -> table.Images | None:
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
  train_or_test(split, 'npz')
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
  return table.Images(images, labels, None, path)


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


def fake(
    num_images: int, image_size: int, num_classes: int = 10, seed: int = 0,
    split: str = 'train',
) -> table.Images:
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
  return table.Images(images, labels, None, f'fake {split}')


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


def train_or_test(split: str, source: str) -> None:
  """Raises UserError unless the split is 'train' or 'test'."""
  if split not in ('train', 'test'):
    raise UserError(f'{source} has the splits train and test, not {split!r}')
