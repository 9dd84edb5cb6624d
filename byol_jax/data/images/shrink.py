"""Makes an encoded image smaller, once, so that reading it later is cheap."""

from __future__ import annotations

import io

from PIL import Image

from byol_jax.data.images import decode
from byol_jax.data.images import pillow
from byol_jax.data.images import reading
from byol_jax.data.images.decode import BadImage

_MAX_JPEG_SIDE = 65_500  # libjpeg's JPEG_MAX_DIMENSION


def smaller(data: bytes, short_side: int, quality: int,
            how: decode.Reading = decode.DEFAULT) -> bytes:
  """Makes an image smaller, never larger.

  Args:
    data: an encoded image.
    short_side: the new length of its shorter side; 0 leaves the image as it is,
      apart from a check that it can be decoded. So does a longer side that would be
      more than a JPEG can have.
    quality: the quality of the new JPEG, 4:2:0. Antialiased bicubic.
    how: see `decode.Reading`.

  Returns:
    The encoded image; `data` itself where nothing changes.

  Raises:
    BadImage: the image cannot be decoded or encoded again.
  """
  with reading.turn(pillow.promised_pixels(data)):  # the copy takes as much again
    image = _shrunk(data, short_side, how)
  if image is None:
    return data
  file = io.BytesIO()
  try:
    image.save(file, 'JPEG', quality=quality)
  except (OSError, ValueError) as error:
    raise BadImage(f'damaged (cannot be made smaller: {error})') from error
  return file.getvalue()


def _shrunk(data: bytes, short_side: int,
            how: decode.Reading) -> Image.Image | None:
  """Returns the image, made smaller; None where it stays as it is."""
  # twice the size is left to antialiasing, as Pillow's thumbnail() does
  pixels = decode.decode(data, at_least=2 * short_side, how=how)
  height, width, _ = pixels.shape
  if not short_side or min(height, width) <= short_side:
    return None
  scale = short_side / min(height, width)
  size = (max(round(width * scale), short_side),
          max(round(height * scale), short_side))
  if max(size) > _MAX_JPEG_SIDE:
    return None
  image = Image.fromarray(pixels)
  del pixels  # up to 240 MB
  return image.resize(size, Image.Resampling.BICUBIC)
