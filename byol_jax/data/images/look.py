"""Looks at an encoded image: format, size, and what may be odd about it.

A picture can be read without an error and still be black: 12 bits in a file of 16 use
16 of 256 levels, and a drawing may lie in the transparency alone.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from byol_jax.data.images import decode
from byol_jax.data.images import pillow

_DARK, _BRIGHT = 16, 240    # mean of the pixels
_CONSTANT = 2.0             # deviation of the pixels
_LONG = 5                   # longer side / shorter side
_AT_LEAST = 128             # pixels of a side are enough to judge by
FEW = 32                    # levels, of 256
_OF_LEVELS = 8              # pixels a level that are needed to speak of few levels


class Look(NamedTuple):
  """Holds the findings about one image.

  Attributes:
    format: 'JPEG', 'PNG', ...; 'pixels' for an image in memory; '' for none.
    size: (width, height), pixels, as the file says; (0, 0) for no image.
    odd: reasons to look at it; a file that cannot be used has 'bad: ...' alone.
    digest: equal for two files with the same bytes.
    has_few: whether it uses fewer than `FEW` levels.
    lowest, highest: see `pillow.extremes`; 0 where it is not gray of more than 8 bits.
    is_hidden: whether its transparency, which is dropped, shows more than its colours.
    header: what the file's header says; None for pixels.
  """
  format: str
  size: tuple[int, int]
  odd: tuple[str, ...]
  digest: str
  has_few: bool = False
  lowest: float = 0.0
  highest: float = 0.0
  is_hidden: bool = False
  header: pillow.Header | None = None


def at_file(data: bytes, how: decode.Reading = decode.DEFAULT) -> Look:
  """Looks at the bytes of an image file; for `how` see `decode.Reading`."""
  digest = hashlib.sha256(data).hexdigest()[:16]
  try:
    pixels = decode.decode(data, at_least=_AT_LEAST, how=how)
  except decode.BadImage as error:
    return Look('', (0, 0), (f'bad: {error}',), digest)
  facts = pillow.header(data)
  odd, few = [], has_few(pixels)
  lowest, highest = pillow.extremes(data) if facts.is_deep else (0.0, 0.0)
  hidden = few and facts.has_alpha and how.background == 'drop' and _differ(data, how)
  if facts.has_alpha and how.background == 'drop':
    odd.append('transparent: its colours count as if it were not')
  if few and facts.is_deep:
    odd.append(f'few of its levels are used; its numbers go to {highest:g}')
  if facts.bands > 4:
    odd.append(f'{facts.bands} channels, of which three are read')
  if facts.is_film:
    odd.append('several pictures, of which the first is read')
  return Look(facts.format, facts.size, (*odd, *_of_pixels(pixels, facts.size)),
              digest, few, lowest, highest, hidden, facts)


def at_pixels(pixels: np.ndarray) -> Look:
  """Looks at an image in memory, uint8 [height, width, C]."""
  size = pixels.shape[1], pixels.shape[0]
  return Look('pixels', size, tuple(_of_pixels(pixels, size)),
              hashlib.sha256(np.ascontiguousarray(pixels)).hexdigest()[:16],
              has_few(pixels))


def has_few(pixels: np.ndarray) -> bool:
  """Returns whether an image, uint8 [height, width, C], uses few levels for its size.

  Channels that are equal count once.
  """
  few = min(FEW, pixels[..., 0].size // _OF_LEVELS)
  return len(np.unique(pixels)) < few


def _differ(data: bytes, how: decode.Reading) -> bool:
  """Returns whether a background would show something."""
  white, black = (decode.decode(data, how=how._replace(background=colour))
                  for colour in ('white', 'black'))
  return bool((white != black).any())


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
