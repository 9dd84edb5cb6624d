"""Looks at an encoded image: format, size, and what may be odd about it."""

from __future__ import annotations

import hashlib
import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from byol_jax.data.images import decode

_DARK, _BRIGHT = 16, 240    # mean of the pixels
_CONSTANT = 2.0             # deviation of the pixels
_LONG = 5                   # longer side / shorter side
_AT_LEAST = 64              # pixels of a side are enough to judge by


class Look(NamedTuple):
  """What was found.

  Attributes:
    format: 'JPEG', 'PNG', ...; 'pixels' for an image in memory; '' for none.
    size: (width, height), pixels, as the file says; (0, 0) for no image.
    odd: reasons to look at it; a file that cannot be used has 'bad: ...' alone.
    digest: equal for two files with the same bytes.
  """
  format: str
  size: tuple[int, int]
  odd: tuple[str, ...]
  digest: str


def at_file(data: bytes) -> Look:
  """Looks at the bytes of an image file."""
  digest = hashlib.sha256(data).hexdigest()[:16]
  try:
    pixels = decode.decode(data, at_least=_AT_LEAST)
  except decode.BadImage as error:
    return Look('', (0, 0), (f'bad: {error}',), digest)
  odd = []
  with Image.open(io.BytesIO(data), formats=decode.FORMATS) as image:
    kind, size = image.format or '', image.size
    if 'transparency' in image.info or image.mode in ('RGBA', 'LA', 'PA'):
      odd.append('transparent: its colours count as if it were not')
  return Look(kind, size, (*odd, *_of_pixels(pixels, size)), digest)


def at_pixels(pixels: np.ndarray) -> Look:
  """Looks at an image in memory, uint8 [height, width, C]."""
  size = pixels.shape[1], pixels.shape[0]
  return Look('pixels', size, tuple(_of_pixels(pixels, size)),
              hashlib.sha256(np.ascontiguousarray(pixels)).hexdigest()[:16])


def _of_pixels(pixels: np.ndarray, size: tuple[int, int]) -> list[str]:
  """Returns what is odd about pixels, uint8 [height, width, C], and a size."""
  odd = []
  if float(np.std(pixels)) < _CONSTANT:
    odd.append('constant: hardly any difference between its pixels')
  elif (mean := float(np.mean(pixels))) < _DARK:
    odd.append('dark')
  elif mean > _BRIGHT:
    odd.append('nearly white')
  if max(size) > _LONG * min(size):
    odd.append(f'one side is more than {_LONG} times the other')
  return odd
