"""Looks at the first images of a data set, and warns if they come to nearly nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import logging
import threading
from typing import Any

import numpy as np

from byol_jax.data.images import decode
from byol_jax.data.images import look
from byol_jax.data.images import pillow
from byol_jax.data.images import reading

_console = logging.getLogger('byol_jax')

FIRST = 16  # images that are looked at
_DARK = 2**15  # a number that images of 16 bits are expected to reach
_MOST_PIXELS = 4_000_000  # larger ones are not decoded once more, unless they are JPEGs


def watching(data):
  """Returns a data set (`table.Encoded`) that warns of what its first images are."""
  return watched(data, lambda file: _look(file, data.how),
                 lambda looks: _tell(looks, data.name, data.how))


def at_pixels(images: np.ndarray, name: str) -> None:
  """Looks at the first images in memory, uint8 [N, height, width, C]."""
  _tell(list(map(look.at_pixels, images[:FIRST])), name)


def watched(data, look_at: Callable[[bytes], Any], tell: Callable[[list[Any]], None]):
  """Returns a data set (`table.Encoded`) whose `read` looks at the first images.

  Args:
    data: the data set.
    look_at: a file's bytes -> what is seen, None for nothing; for many threads.
    tell: is called once, with all that was seen.
  """
  looks: dict[int, Any] = {}
  lock, first = threading.Lock(), min(FIRST, data.size)

  def reading(index: int) -> bytes:
    file = data.read(index)
    if len(looks) < first and index not in looks:
      seen = look_at(file)
      with lock:
        if len(looks) < first and index not in looks:
          looks[index] = seen
          if len(looks) == first:
            tell([x for x in looks.values() if x is not None])
    return file

  return data._replace(read=reading)


def _look(data: bytes, how: decode.Reading) -> look.Look | None:
  """Looks at one image; returns None where it is bad or too large for a second look."""
  facts = pillow.header(data)
  if facts is None or not facts.is_jpeg and facts.pixels > _MOST_PIXELS:
    return None
  seen = look.at_file(data, how)
  return seen if seen.header else None


def _tell(looks: Sequence[look.Look], name: str,
          how: decode.Reading = decode.DEFAULT) -> None:
  """Warns of what half of the images have in common."""
  most = f'half of the first {len(looks)} images of {name} or more'
  heads = [x.header for x in looks if x.header]
  def is_half(those: Sequence[bool]) -> bool:
    return bool(looks) and 2 * sum(those) >= len(looks)
  is_gray = is_half([x.highest > 0 for x in looks])
  highest = max((x.highest for x in looks), default=0)
  lowest = min((x.lowest for x in looks if x.highest), default=0)
  white = next((2**k - 1 for k in range(1, 17) if highest < 2**k), highest)
  limits = (lowest, highest) if 2 * lowest > highest else (0, white)
  why_deep = (f'they have more than 8 bits, nearly all numbers go from {lowest:g} to '
              f"{highest:g}: set config key data.gray_range='({limits[0]:.9g}, "
              f"{limits[1]:.9g})'")
  digests = [x.digest for x in looks]
  same = max(digests, key=digests.count, default='')
  if is_half([x.has_few for x in looks]):
    why = 'if they are no drawings or masks, look at what they are'
    if is_half([x.is_hidden for x in looks]):
      why = ('their shapes lie in the transparency, which is dropped: set config key '
             'data.background=white (or gray, black)')
    elif is_gray and (highest < _DARK or limits[0]):
      why = why_deep
    elif is_half([x.is_deep for x in heads]) and not is_gray:
      why = 'they have more than 8 bits a colour: make them 8 bits before'
    _console.warning('%s use fewer than %d of 256 levels: %s', most, look.FEW, why)
  elif is_gray and how.gray_range == reading.GRAY_RANGE and highest < _DARK:
    _console.warning('%s are dark: %s', most, why_deep)
  elif is_half([x.digest == same for x in looks]) and len(looks) > 1:
    _console.warning('%s are one and the same picture: is it in the place of others?',
                     most)
  if is_half([x.bands > 4 for x in heads]):
    _console.warning('%s have %d channels, of which only red, green and blue (the '
                     'first three) are read', most, max(x.bands for x in heads))
  if is_half([x.is_film for x in heads]):
    _console.warning('%s have several pictures (pages, slices or frames), of which '
                     'only the first is read', most)
