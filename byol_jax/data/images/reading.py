"""How a file becomes pixels where there is a choice, what is bad, what is too large."""

from __future__ import annotations

import contextlib
import threading
from typing import NamedTuple

from byol_jax.data.images import memory

GRAY_RANGE = (0, 65_535)
BACKGROUNDS = {'drop': None, 'white': 255, 'gray': 128, 'black': 0}
# A header may promise anything. Decoding takes at most 1 GB and about 2 s: formats that
# take more for each pixel may have fewer pixels.
MAX_PIXELS = 80_000_000
_MAX_SIDE = 1_000_000    # each row costs time, however short it is
_LARGE = 16_000_000      # pixels; larger ones are decoded one at a time

_large = threading.RLock()


class Reading(NamedTuple):
  """Says how a file becomes pixels, where there is a choice.

  Attributes:
    max_pixels: images of more are bad. Formats that take more memory or time for each
      pixel may have fewer, in proportion.
    gray_range: the values of a gray image of 16 bits or more that become black and
      white, with all between them in proportion. The default takes the upper 8 of 16
      bits, and no image of other numbers.
    background: the colour behind what is transparent; 'drop': transparency is dropped.
  """
  max_pixels: int = MAX_PIXELS
  gray_range: tuple[float, float] = GRAY_RANGE
  background: str = 'drop'


DEFAULT = Reading()


class BadImage(Exception):
  """The bytes are no picture that can be used; the message says why.

  The first word or words are one of: missing, unreadable, empty, not an image,
  truncated, damaged, too large.
  """


class TooLarge(BadImage):
  """The picture has more pixels than are read, whatever stands beside them."""


def turn(pixels: int) -> contextlib.AbstractContextManager:
  """Makes large images wait for one another, so that only one takes memory at a time.

  A thread may take its turn again: `decode` does so itself.

  Args:
    pixels: the number of the image's pixels.
  """
  if pixels <= _LARGE:
    return contextlib.nullcontext()
  memory.give_back()  # or each thread's heap would keep what one has taken
  return _large


def check_size(height: int, width: int, most: int) -> None:
  """Raises TooLarge if an image has more than `most` pixels, or an endless side."""
  if height * width > most:
    raise TooLarge(f'too large: {width} x {height} pixels, at most {most:,} are read '
                   '(config key data.max_pixels)')
  if max(height, width) > _MAX_SIDE:
    raise TooLarge(f'too large: {width} x {height} pixels, at most {_MAX_SIDE:,} a '
                   'side are read')
