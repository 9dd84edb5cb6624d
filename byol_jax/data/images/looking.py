"""Looks at the first images of a data set, and warns if they come to nearly nothing.

A picture can be read without an error and still be black: 12 bits in a file of 16 use
16 of 256 levels, and a drawing may lie in the transparency alone.
"""

from __future__ import annotations

from collections.abc import Callable
import logging
import threading
from typing import NamedTuple

import numpy as np

from byol_jax.data.images import decode
from byol_jax.data.images.decode import BadImage

_console = logging.getLogger('byol_jax')

_FIRST = 16  # images that are looked at
_MOST_PIXELS = 4_000_000  # larger ones are not decoded once more, unless they are JPEGs
_SIDE = 128  # enough of a JPEG to count levels
_FEW = 32  # levels, of 256
_OF_LEVELS = 8  # pixels a level that are needed to speak of few levels


class Look(NamedTuple):
  """What one image shows.

  Attributes:
    has_few: whether it uses few levels.
    highest: its largest number where it has more than 8 bits, else 0.
    is_deep: whether it has more than 8 bits a colour.
    is_hidden: whether its transparency shows more than its colours, which alone count.
    bands: the number of its channels.
  """
  has_few: bool
  highest: float
  is_deep: bool
  is_hidden: bool
  bands: int


def look(data: bytes, how: decode.Reading) -> Look | None:
  """Looks at one image; returns None where it is bad or too large for a second look."""
  facts = decode.header(data)
  if facts is None or not facts.is_jpeg and facts.pixels > _MOST_PIXELS:
    return None
  try:
    pixels = decode.decode(data, at_least=_SIDE, how=how)
  except BadImage:
    return None
  few = min(_FEW, pixels[..., 0].size // _OF_LEVELS)
  # three channels that are equal count once
  has_few = len(np.unique(pixels)) < few
  hidden = False
  if has_few and facts.has_alpha and how.background == 'drop':
    shown = decode.decode(data, how=how._replace(background='white'))
    other = decode.decode(data, how=how._replace(background='black'))
    hidden = bool((shown != other).any())
  highest = decode.highest(data) if has_few and facts.is_deep else 0
  return Look(has_few, highest, facts.is_deep, hidden, facts.bands)


def watching(data):
  """Returns a data set (`table.Encoded`) whose `read` looks at the first images."""
  return data._replace(read=_watched(data.read, min(_FIRST, data.size), data.how,
                                     data.name))


def _watched(read: Callable[[int], bytes], first: int, how: decode.Reading,
             name: str) -> Callable[[int], bytes]:
  """Returns `read` that looks at the first images, and then warns if need be."""
  looks: dict[int, Look | None] = {}
  lock = threading.Lock()

  def reading(index: int) -> bytes:
    data = read(index)
    if len(looks) < first and index not in looks:
      seen = look(data, how)
      with lock:
        if len(looks) < first and index not in looks:
          looks[index] = seen
          if len(looks) == first:
            _tell([x for x in looks.values() if x is not None], name)
    return data

  return reading


def _tell(looks: list[Look], name: str) -> None:
  """Warns of what half of the images have in common."""
  of = f'half of the first {len(looks)} images of {name} or more'
  def is_half(which: Callable[[Look], bool]) -> bool:
    return bool(looks) and 2 * sum(map(which, looks)) >= len(looks)
  if is_half(lambda x: x.has_few):
    why = 'if they are no drawings or masks, look at what they are'
    if is_half(lambda x: x.is_hidden):
      why = ('their shapes lie in the transparency, which is dropped: set config key '
             'data.background=white (or gray, black)')
    elif is_half(lambda x: x.is_deep and x.highest > 0):
      highest = max(x.highest for x in looks)
      white = next((2**k - 1 for k in range(1, 33) if highest < 2**k), highest)
      why = (f'they have more than 8 bits, the largest number is {highest:g}: set '
             f"config key data.gray_range='(0, {white})'")
    elif is_half(lambda x: x.is_deep):
      why = 'they have more than 8 bits a colour: make them 8 bits before'
    _console.warning('%s use fewer than %d of 256 levels: %s', of, _FEW, why)
  if is_half(lambda x: x.bands > 4):
    _console.warning('%s have %d channels, of which only red, green and blue (the '
                     'first three) are read', of, max(x.bands for x in looks))
