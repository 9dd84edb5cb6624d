"""Reports once if images are so large that decoding them is most of the work."""

from __future__ import annotations

from collections.abc import Callable
import logging
import statistics
import threading

from byol_jax.data.images import pillow
from byol_jax.data.sources.table import Data
from byol_jax.data.sources.table import Encoded

_console = logging.getLogger('byol_jax')

_PIXELS = 2_000_000
_FIRST = 16  # images that are looked at


def watched(read: Callable[[int], bytes], image_size: int) -> Callable[[int], bytes]:
  """Returns a source's `read` that also looks at the headers of the first images.

  Args:
    read: the function of a source (`table.Encoded`); for many threads, as the result.
    image_size: the size of the views.
  """
  sizes: list[int] = []
  lock = threading.Lock()

  def look(data: bytes) -> None:
    pixels = pillow.promised_pixels(data)
    if not pixels:
      return
    with lock:
      sizes.append(pixels)
      if len(sizes) == _FIRST and statistics.median(sizes) > _PIXELS:
        _console.info(
            'large images (half of the first %d have %.1f megapixels or more): '
            'decoding them costs more than all else that input does; '
            '--config=configs/prepare.py --config.prepare.short_side=%d makes them '
            'smaller, once (docs/input.md)', _FIRST,
            statistics.median(sizes) / 1e6, image_size * 8 // 7)

  def reading(index: int) -> bytes:
    data = read(index)
    if len(sizes) < _FIRST:
      look(data)
    return data

  return reading


def watching(data: Data, image_size: int) -> Data:
  """Returns the data set with a `watched` read."""
  if isinstance(data, Encoded):
    return data._replace(read=watched(data.read, image_size))
  return data
