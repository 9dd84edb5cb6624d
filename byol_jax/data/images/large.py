"""Reports once if images are so large that decoding them is most of the work."""

from __future__ import annotations

from collections.abc import Sequence
import logging
import statistics

from byol_jax.data.images import looking
from byol_jax.data.images import pillow
from byol_jax.data.sources.table import Data
from byol_jax.data.sources.table import Encoded

_console = logging.getLogger('byol_jax')

_PIXELS = 2_000_000


def watching(data: Data, image_size: int) -> Data:
  """Returns the data set with a `read` that also looks at the first headers.

  Args:
    data: images in memory stay as they are.
    image_size: the size of the views.
  """
  def tell(pixels: Sequence[int]) -> None:
    if pixels and statistics.median(pixels) > _PIXELS:
      _console.info(
          'large images (half of the first %d have %.1f megapixels or more): '
          'decoding them costs more than all else that input does; '
          '--config=configs/prepare.py --config.prepare.short_side=%d makes them '
          'smaller, once (docs/input.md)', len(pixels),
          statistics.median(pixels) / 1e6, image_size * 8 // 7)

  return looking.watched(data, lambda file: pillow.promised_pixels(file) or None,
                         tell) if isinstance(data, Encoded) else data
