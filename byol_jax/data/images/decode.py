"""Decodes encoded bytes to uint8 pixels: two training views, or the centre.

The pixels are always RGB and upright: gray images are repeated, CMYK and YCCK
converted, palettes looked up, 16 bits become the upper 8, an EXIF orientation is
applied, transparency is dropped without blending, and of several frames the first
counts. Everything else is a `BadImage`.

JPEGs go through libjpeg-turbo (simplejpeg), with the accurate DCT and smooth
upsampling, the rest through Pillow, which is asked for the formats below only:
it knows others that start programs. Both work without Python's lock.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import threading
import types
import warnings

import numpy as np
from PIL import Image
from PIL import ImageOps
import simplejpeg

from byol_jax.data.images import crops
from byol_jax.data.images import jpeg
from byol_jax.data.images import memory
from byol_jax.data.images import resize
from byol_jax.errors import TransientError

FORMATS = ('JPEG', 'PNG', 'GIF', 'BMP', 'WEBP', 'TIFF')
# Pillow warns of oddities once a process; errors that matter are raised.
warnings.filterwarnings('ignore', module=r'PIL\.')

# A header may promise anything. Decoding takes at most 1 GB and about 2 s: formats that
# take more for each pixel may have fewer pixels (`_most_pixels`).
MAX_PIXELS = 80_000_000
_MAX_WIDE_PIXELS = 40_000_000
_MAX_RUN_LENGTH_PIXELS = 5_000_000
_MAX_SIDE = 1_000_000    # each row costs time, however short it is
_LARGE = 16_000_000      # pixels; larger ones are decoded one at a time
_STRIP = 256             # rows that are converted at a time
# A progressive JPEG is drawn in some ten scans, each of all its pixels; one of a few
# bytes may have thousands. These many pixels take two seconds: 12 scans of the largest.
_MAX_DRAWN = 1_000_000_000
# Scans of a JPEG within a TIFF; libtiff's limit is 100. Pillow's widest have 18.
os.environ.setdefault('LIBTIFF_JPEG_MAX_ALLOWED_SCAN_NUMBER', '20')

_large = threading.RLock()


class BadImage(Exception):
  """The bytes are no picture that can be used; the message says why.

  The first word or words are one of: missing, unreadable, empty, not an image,
  truncated, damaged, too large.
  """


def decode(data: bytes, at_least: int = 0) -> np.ndarray:
  """Decodes a whole image.

  Args:
    data: a JPEG, PNG, GIF, BMP, WebP or TIFF file.
    at_least: 0 for its own size; else a JPEG may come at a half, a quarter or an
      eighth of it, as long as both sides have so many pixels. This takes less than
      half the time (a part of its discrete cosine transform does), and averages as
      antialiasing does.

  Returns:
    uint8 [height, width, 3].

  Raises:
    BadImage: the bytes are not such a file, damaged, cut short, more than
      `MAX_PIXELS`, or would take seconds.
    TransientError: there is not enough memory.
  """
  if not data:
    raise BadImage('empty')
  try:
    if data[:3] == b'\xff\xd8\xff':
      _check_scans(data)
      pixels = _decode_plain_jpeg(data, at_least)
      if pixels is not None:
        return pixels
    return _decode_with_pillow(data)
  except MemoryError as error:
    raise TransientError('not enough memory to decode images: lower config key '
                         'data.threads, data.prefetch or train.batch_size') from error


def decode_views(
    data: bytes,
    u: np.ndarray,
    out: np.ndarray,
    crop: crops.CropSpec,
    jigsaw: np.ndarray | None = None,
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

  Raises:
    BadImage: see `decode`; `out` is as it was.
  """
  image = decode(data)
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
                center_share: float = crops.CENTER_SHARE) -> None:
  """Decodes the central square of one image, for evaluation.

  Args:
    data: as for `decode`.
    out: uint8 [S, S, 3], written: `crops.center_box`, bicubic.
    center_share: the square's share of the shorter side.

  Raises:
    BadImage: see `decode`; `out` is as it was.
  """
  image = decode(data)
  box = crops.center_box(*image.shape[:2], center_share)
  resize.cut(image, tuple(int(side) for side in box), out)


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


def promised_pixels(data: bytes) -> int:
  """Returns the number of pixels by the header; 0 where it cannot be read."""
  try:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
      return image.width * image.height
  except Exception:  # `decode` says why
    return 0


# `crops` on single numbers: arrays of one element cost ten times as much.
_SCALARS = types.SimpleNamespace(
    asarray=lambda x, dtype: int(x) if dtype is int else x, int32=int,
    exp=math.exp, sqrt=math.sqrt, round=round, floor=math.floor, minimum=min,
    maximum=max)


def _decode_plain_jpeg(data: bytes, at_least: int) -> np.ndarray | None:
  """Decodes a plain JPEG fast; returns None where Pillow must look at the file."""
  try:
    height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
    _check_size(height, width)
    if colors not in ('YCbCr', 'Gray'):
      return None
    shrink = 1
    if at_least:
      shrink = next((k for k in (8, 4, 2) if min(height, width) >= k * at_least), 1)
    with turn(height * width):
      pixels = simplejpeg.decode_jpeg(data, 'RGB', min_height=-(-height // shrink),
                                      min_width=-(-width // shrink))
  except ValueError:  # damaged, or something harmless that it warns of
    return None
  return np.ascontiguousarray(_upright(pixels, jpeg.orientation(data)))


def _decode_with_pillow(data: bytes) -> np.ndarray:
  """Decodes any format, slower."""
  try:
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    _check_size(image.height, image.width, _most_pixels(image, data))
    with turn(image.height * image.width):
      image.load()
      is_jpeg = image.format in ('JPEG', 'MPO')
      if not is_jpeg:
        ImageOps.exif_transpose(image, in_place=True)
      pixels = _rgb(image)
    if is_jpeg:  # the fast path's rule, whatever Pillow reads elsewhere in the file
      pixels = _upright(pixels, jpeg.orientation(data))
    return np.ascontiguousarray(pixels)
  except Image.UnidentifiedImageError:
    raise BadImage(
        'not an image that can be read (JPEG, PNG, GIF, BMP, WebP, TIFF)'
    ) from None
  except Image.DecompressionBombError:
    raise BadImage('too large') from None
  except (BadImage, MemoryError):
    raise
  # Its decoders raise whatever comes to them at broken bytes.
  except Exception as error:
    text = str(error) or type(error).__name__
    kind = 'truncated' if 'truncated' in text.lower() else 'damaged'
    raise BadImage(f'{kind} ({text})') from error


def _rgb(image: Image.Image) -> np.ndarray:
  """Returns uint8 [height, width, 3], converted in strips to save a whole copy."""
  if image.mode == 'F':
    raise BadImage('not an image of whole numbers')
  pixels = np.empty((image.height, image.width, 3), np.uint8)
  for top in range(0, image.height, _STRIP):
    strip = image.crop((0, top, image.width, min(top + _STRIP, image.height)))
    if image.mode.startswith('I;16') or image.mode == 'I':
      # 16 bits a pixel, which Pillow would clip
      gray = np.asarray(strip)
      if gray.min() < 0 or gray.max() > 65535:
        raise BadImage('not an image of 8 or 16 bits a pixel: its numbers go from '
                       f'{gray.min()} to {gray.max()}')
      pixels[top:top + _STRIP] = (gray.astype(np.uint16) >> 8)[..., None]
    else:
      pixels[top:top + _STRIP] = np.asarray(strip.convert('RGB'))
  return pixels


def _most_pixels(image: Image.Image, data: bytes) -> int:
  """Returns how many pixels an image may have that Pillow has opened."""
  codec, args = image.tile[0][::3] if image.tile else ('', '')
  if codec == 'bmp_rle':  # a loop in Python
    return _MAX_RUN_LENGTH_PIXELS
  raw = args if isinstance(args, str) else str(args[0])
  is_wide = (
      image.format == 'WEBP'  # libwebp composes it as a film
      or image.mode == 'LAB'  # slow to convert
      or len(image.getbands()) == 4 and ';16' in raw  # 8 bytes a pixel
      # libjpeg keeps 8 bytes a pixel of several scans
      or image.mode == 'CMYK' and image.format == 'JPEG' and jpeg.drawing(data)[0] > 1)
  return _MAX_WIDE_PIXELS if is_wide else MAX_PIXELS


def _check_size(height: int, width: int, most: int = MAX_PIXELS) -> None:
  if height * width > most:
    raise BadImage(f'too large: {width} x {height} pixels, at most {most:,} are read')
  if max(height, width) > _MAX_SIDE:
    raise BadImage(f'too large: {width} x {height} pixels, at most {_MAX_SIDE:,} a '
                   'side are read')


def _check_scans(data: bytes) -> None:
  """Raises BadImage if a JPEG is drawn so often that it takes seconds."""
  scans, height, width = jpeg.drawing(data)
  _check_size(height, width)
  if scans * height * width > _MAX_DRAWN:
    raise BadImage(f'too large: {scans} scans of {width} x {height} pixels, at most '
                   f'{_MAX_DRAWN:,} pixels are drawn')


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
  """Undoes an EXIF orientation, 2 to 8 (CIPA DC-008, section 4.6.4)."""
  if orientation >= 5:
    pixels = pixels.transpose(1, 0, 2)
  if orientation in (3, 4, 7, 8):
    pixels = pixels[::-1]
  if orientation in (2, 3, 6, 7):
    pixels = pixels[:, ::-1]
  return pixels
