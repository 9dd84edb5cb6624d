"""Takes what a program has of an image: a path, a file, bytes, an array, a picture."""

from __future__ import annotations

from collections.abc import Iterable
import logging
import os
import re
from typing import Any

import numpy as np
from PIL import Image

from byol_jax.data.images import decode
from byol_jax.data.images import pillow

_console = logging.getLogger('byol_jax')

_CHANNELS = (1, 3, 4)
_PATH = 4096  # bytes of the longest path
_NARROW = 32  # pixels; what is narrower than half of it is likely to be channels
_WANTED = ('give the path or the bytes of a file, an image of Pillow, or an array '
           '[H, W] or [H, W, 1, 3 or 4] of uint8, or of floats from 0 to 1')


def items(images: Any) -> tuple[Any, ...] | list[Any] | np.ndarray:
  """Returns what a caller means by images, one by one; a single one counts as one."""
  if isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview, Image.Image)
                ) or _is_file(images) or _of_row(images) is not None:
    return [images]
  if isinstance(images, (list, tuple)):
    return images
  if hasattr(images, '__array__'):
    array = _array(images)
    if array.dtype.kind in 'OSU':  # of paths, as in a column of a table
      return array.ravel().tolist()
    is_one = array.ndim == 2 or (
        array.ndim == 3 and array.shape[-1] in _CHANNELS and min(array.shape[:2]) > 4)
    if not array.ndim:
      raise ValueError(f'images are {array!r}: {_WANTED}, or a list of these')
    if array.ndim == 3 and not is_one and (
        array.shape[0] == 3 or array.shape[2] in (3, 4)
        or 2 * array.shape[2] < min(array.shape[1], _NARROW)):
      raise ValueError(
          f'{array.dtype} {array.shape} may be one picture or several gray ones: give '
          'one as [H, W, 3], channels last, and gray ones as [N, H, W, 1]')
    return [array] if is_one else array
  if isinstance(images, Iterable) and not isinstance(images, dict):
    return list(images)
  raise ValueError(f'images are {type(images).__name__}: {_WANTED}, or a list of these')


def _is_file(item: Any) -> bool:
  """Returns whether an item is an open file, of bytes."""
  return hasattr(item, 'read') and not isinstance(item, (os.PathLike, Image.Image))


def _of_row(item: Any) -> bytes | str | None:
  """Returns the bytes or else the path of a row, as `datasets` gives it undecoded."""
  if not isinstance(item, dict) or 'bytes' not in item:
    return None
  data = item.get('bytes')
  return item.get('path') if data is None else data


def _array(item: Any) -> np.ndarray:
  try:
    return np.asarray(item)
  except (TypeError, ValueError, RuntimeError) as error:  # a tensor elsewhere than here
    raise ValueError(f'{type(item).__name__} that is no array ({error})') from error


def pixels(item: Any, how: decode.Reading, read: Any) -> np.ndarray:
  """Returns the pixels of one image.

  Args:
    item: one of `items`.
    how: see `decode.Reading`.
    read: returns the bytes of a path, or raises BadImage.

  Returns:
    uint8 [height, width, 3].

  Raises:
    BadImage: it cannot be used as a picture.
    ValueError: it is no file, and no array that can be an image.
  """
  if (data := _of_row(item)) is not None:
    item = data
  if item is None:
    raise decode.BadImage('None, no image')
  if isinstance(item, str) and re.match(r'[a-z][a-z0-9]+://|data:', item):
    raise decode.BadImage('an address: download it, and give the path or the bytes')
  if isinstance(item, (str, os.PathLike)):
    return decode.decode(read(os.fspath(item)), how=how)
  if _is_file(item):
    item = item.read()
  if isinstance(item, (bytes, bytearray, memoryview)):
    try:
      return decode.decode(bytes(item), how=how)
    except decode.BadImage:
      if len(item) < _PATH and os.path.exists(bytes(item).partition(b'\0')[0]):
        raise ValueError('the bytes of a path, not of a file: give os.fsdecode of it'
                         ) from None
      raise
  if isinstance(item, Image.Image):
    return pillow.of_image(item, how)
  if hasattr(item, '__array__'):
    array = _array(item)
    if array.ndim not in (2, 3):
      raise ValueError(f'{array.dtype} {array.shape}: {_WANTED}')
    if not array.size:
      raise decode.BadImage(f'empty: {array.shape}')
    return of_array(array, how)
  raise ValueError(f'{type(item).__name__}: {_WANTED}')


def of_array(array: np.ndarray, how: decode.Reading) -> np.ndarray:
  """Returns an array as uint8 [..., height, width, 3]; see `pixels`.

  Args:
    array: [H, W], or [..., H, W, C] with C = 1, 3, or 4 for transparency.
    how: see `decode.Reading`.

  Raises:
    ValueError: its shape, type or range is no image's.
  """
  if array.ndim == 2:
    array = array[..., None]
  if array.ndim < 3 or array.shape[-1] not in _CHANNELS:
    first = ': channels come last: images.transpose(0, 2, 3, 1)' if (
        array.ndim > 2 and array.shape[-3] in _CHANNELS) else f': {_WANTED}'
    raise ValueError(f'{array.dtype} {array.shape}{first}')
  if not array.size:
    raise ValueError(f'empty: {array.shape}')
  if array.dtype == bool:
    array = array * np.uint8(255)
  elif array.dtype.kind == 'f':
    low, high = float(array.min()), float(array.max())
    if not 0 <= low <= high <= 1:  # NaN is not, either
      raise ValueError(f'floats from {low:g} to {high:g}, but 0 is black and 1 white: '
                       'give uint8 where they go to 255, and pixels before they are '
                       'normalized')
    array = np.round(255 * array).astype(np.uint8)
  elif array.dtype.kind in 'iu' and array.dtype != np.uint8:
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 255:
      raise ValueError(f'{array.dtype} from {low} to {high}, but 0 is black and 255 '
                       'white')
    array = array.astype(np.uint8)
  elif array.dtype != np.uint8:
    raise ValueError(f'{array.dtype} {array.shape}: {_WANTED}')
  elif array.max() == 1:
    _console.warning('an image of uint8 has the values 0 and 1 alone, which are both '
                     'black: 255 is white')
  if array.shape[-1] == 4:
    return pillow.without_alpha(array, how)
  return array if array.shape[-1] == 3 else np.repeat(array, 3, -1)
