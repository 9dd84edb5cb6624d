"""Decodes encoded bytes to uint8 pixels: two training views, or the centre.

The pixels are always RGB and upright: gray images are repeated, CMYK and YCCK
converted, palettes looked up, 16 bits become the upper 8, an EXIF orientation is
applied, transparency is dropped without blending, and of several frames the first
counts (`Reading` has other ways). What stands beside the pixels and cannot be read is
dropped (metadata.py). Everything else is a `BadImage`.

JPEGs go through libjpeg-turbo (simplejpeg), with the accurate DCT and smooth
upsampling, the rest through Pillow (pillow.py). Both work without Python's lock.
"""

from __future__ import annotations

import math
import types

import numpy as np
import simplejpeg

from byol_jax.data.images import crops
from byol_jax.data.images import jpeg
from byol_jax.data.images import metadata
from byol_jax.data.images import pillow
from byol_jax.data.images import reading
from byol_jax.data.images import resize
from byol_jax.data.images.reading import BadImage
from byol_jax.data.images.reading import DEFAULT
from byol_jax.data.images.reading import Reading
from byol_jax.errors import TransientError

_MAX_SHRUNK = 4  # times as many pixels, where a JPEG is decoded at a half or less
# A progressive JPEG is drawn in some ten scans, each of all its pixels; one of a few
# bytes may have thousands. These many pixels take two seconds: 12 scans of the largest.
_MAX_DRAWN = 1_000_000_000


def decode(data: bytes, at_least: int = 0, how: Reading = DEFAULT) -> np.ndarray:
  """Decodes a whole image.

  Args:
    data: a JPEG, PNG, GIF, BMP, WebP, TIFF, PPM, JPEG 2000 or AVIF file; with their
      plug-ins HEIC and JPEG XL.
    at_least: 0 for its own size; else a JPEG may come at a half, a quarter or an
      eighth of it, as long as both sides have so many pixels. This takes less than
      half the time (a part of its discrete cosine transform does), and averages as
      antialiasing does.
    how: see `Reading`.

  Returns:
    uint8 [height, width, 3].

  Raises:
    BadImage: the bytes are not such a file, damaged, cut short, more than
      `how.max_pixels`, or would take seconds.
    TransientError: there is not enough memory.
  """
  if not data:
    raise BadImage('empty')
  try:
    if data[:3] == b'\xff\xd8\xff':
      _check_scans(data, at_least, how)
      pixels = _decode_plain_jpeg(data, at_least, how)
      if pixels is not None:
        return pixels
    try:
      return pillow.decode(data, how)
    except reading.TooLarge:
      raise
    except BadImage:
      pixels_alone = metadata.without(data)
      if pixels_alone == data:
        raise
      return pillow.decode(pixels_alone, how)
  except MemoryError as error:
    raise TransientError('not enough memory to decode images: lower config key '
                         'data.threads, data.prefetch or train.batch_size') from error


def decode_views(
    data: bytes,
    u: np.ndarray,
    out: np.ndarray,
    crop: crops.CropSpec,
    jigsaw: np.ndarray | None = None,
    how: Reading = DEFAULT,
) -> None:
  """Decodes random resized crops of one image, two for BYOL.

  The image is decoded once and cut for each view (the reference decodes it twice).

  Args:
    data: as for `decode`.
    u: float64 [V, crop.draws], the draws of each view: `crops.crop_box`. One row more
      with a jigsaw.
    out: uint8 [V, S, S, 3], written. Bicubic without antialiasing.
    crop: says how large the crops are; V and S are those of `out`.
    jigsaw: uint8 [size, size, 3], written: the crop of crop.jigsaw. None without one.
    how: see `Reading`.

  Raises:
    BadImage: see `decode`; `out` is as it was.
  """
  image = decode(data, how=how)
  height, width, _ = image.shape
  def cut(u: np.ndarray, area: tuple[float, float], out: np.ndarray) -> None:
    box = crops.crop_box(u, height, width, area, crop.aspect, crop.sampler,
                         xp=_SCALARS if crop.sampler == 'byol' else np)
    resize.cut(image, tuple(int(side) for side in box), out)
  for view in range(len(out)):
    cut(u[view], crop.area, out[view])
  if jigsaw is not None:
    cut(u[len(out)], crop.jigsaw.area, jigsaw)


def decode_eval(data: bytes, out: np.ndarray,
                center_share: float = crops.CENTER_SHARE,
                how: Reading = DEFAULT) -> None:
  """Decodes the central square of one image, for evaluation.

  Args:
    data: as for `decode`.
    out: uint8 [S, S, 3], written: `crops.center_box`, bicubic.
    center_share: the square's share of the shorter side.
    how: see `Reading`.

  Raises:
    BadImage: see `decode`; `out` is as it was.
  """
  center(decode(data, how=how), out, center_share)


def center(image: np.ndarray, out: np.ndarray, center_share: float) -> None:
  """Cuts out the central square of pixels, uint8 [height, width, 3]: `decode_eval`."""
  box = crops.center_box(*image.shape[:2], center_share)
  resize.cut(image, tuple(int(side) for side in box), out)


# `crops` on single numbers: arrays of one element cost ten times as much.
_SCALARS = types.SimpleNamespace(
    asarray=lambda x, dtype: int(x) if dtype is int else x, int32=int,
    exp=math.exp, sqrt=math.sqrt, round=round, floor=math.floor, minimum=min,
    maximum=max)


def _decode_plain_jpeg(data: bytes, at_least: int,
                       how: Reading) -> np.ndarray | None:
  """Decodes a plain JPEG fast; returns None where Pillow must look at the file."""
  try:
    height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
    if colors not in ('YCbCr', 'Gray'):
      return None
    shrink = _shrink(height, width, at_least)
    with reading.turn(height * width):
      pixels = simplejpeg.decode_jpeg(data, 'RGB', min_height=-(-height // shrink),
                                      min_width=-(-width // shrink))
  except ValueError:  # damaged, or something harmless that it warns of
    return None
  return np.ascontiguousarray(pillow.upright(pixels, jpeg.orientation(data)))


def _shrink(height: int, width: int, at_least: int) -> int:
  """Returns by how much a JPEG is made smaller while it is decoded: see `decode`."""
  if not at_least:
    return 1
  return next((k for k in (8, 4, 2) if min(height, width) >= k * at_least), 1)


def _check_scans(data: bytes, at_least: int, how: Reading) -> None:
  """Raises TooLarge if a JPEG is, or is drawn so often that it takes seconds."""
  scans, height, width = jpeg.drawing(data)
  shrink = _shrink(height, width, at_least)
  reading.check_size(height, width, how.max_pixels * (_MAX_SHRUNK if shrink > 1 else 1))
  most = _MAX_DRAWN * how.max_pixels // reading.MAX_PIXELS
  if scans * height * width > most:
    raise reading.TooLarge(
        f'too large: {scans} scans of {width} x {height} pixels, at most {most:,} '
        'pixels are drawn (config key data.max_pixels)')


