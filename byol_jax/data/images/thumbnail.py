"""Makes small pictures of images, for pages."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

_QUALITY = 80


def jpeg(pixels: np.ndarray, side: int) -> bytes:
  """Returns a picture as a JPEG file, its longer side of at most `side` pixels.

  Args:
    pixels: uint8 [height, width, 1 or 3]. Smaller ones keep their size.
    side: pixels.
  """
  image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
  image.thumbnail((side, side), Image.Resampling.BOX)
  file = io.BytesIO()
  image.save(file, 'JPEG', quality=_QUALITY)
  return file.getvalue()


def sheet(pictures: list[np.ndarray | None], side: int, columns: int) -> bytes:
  """Returns pictures as one JPEG file, in rows of `columns` squares of `side` pixels.

  Args:
    pictures: uint8 [height, width, 1 or 3] each, at most side pixels a side after they
      were made smaller; None leaves a gray square.
    side: pixels of a square.
    columns: squares in a row.
  """
  lines = -(-len(pictures) // columns)
  whole = Image.new('RGB', (side * columns, side * max(lines, 1)), (128, 128, 128))
  for i, pixels in enumerate(pictures):
    if pixels is not None:
      image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
      image = image.resize((side, side), Image.Resampling.BOX)
      whole.paste(image, (i % columns * side, i // columns * side))
  file = io.BytesIO()
  whole.save(file, 'JPEG', quality=_QUALITY)
  return file.getvalue()
