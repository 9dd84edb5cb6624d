"""Decodes encoded bytes to uint8 pixels: two training views, or the centre.

The pixels are always RGB and upright: gray images are repeated, CMYK and YCCK
converted, palettes looked up, 16 bits become the upper 8, an EXIF orientation is
applied, transparency is dropped without blending, and of several frames the first
counts (`Reading` has other ways). What stands beside the pixels and cannot be read is
dropped (metadata.py). Everything else is a `BadImage`.

JPEGs go through libjpeg-turbo (simplejpeg), with the accurate DCT and smooth
upsampling, the rest through Pillow, which is asked for the formats below only:
it knows others that start programs. Both work without Python's lock.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import struct
import threading
import types
from typing import NamedTuple
import warnings

import numpy as np
from PIL import Image
from PIL import ImageOps
import simplejpeg

from byol_jax.data.images import crops
from byol_jax.data.images import formats
from byol_jax.data.images import jpeg
from byol_jax.data.images import memory
from byol_jax.data.images import metadata
from byol_jax.data.images import resize
from byol_jax.errors import TransientError

GRAY_RANGE = (0, 65_535)
BACKGROUNDS = {'drop': None, 'white': 255, 'gray': 128, 'black': 0}
Image.MAX_IMAGE_PIXELS = None  # `_check_size` is stricter, and has a key
# Pillow warns of oddities once a process; errors that matter are raised.
warnings.filterwarnings('ignore', module=r'PIL\.')

# A header may promise anything. Decoding takes at most 1 GB and about 2 s: formats that
# take more for each pixel may have fewer pixels (`_most_pixels`).
MAX_PIXELS = 80_000_000
_JPEG = ('JPEG', 'MPO')  # Pillow's names
_SAMPLES = 277  # TIFF's tag SamplesPerPixel
_MAX_SHRUNK = 4  # times as many, where a JPEG is decoded at a half or less
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
      return _decode_with_pillow(data, how)
    except BadImage as error:
      if str(error).startswith('too large'):
        raise
      pixels_alone = metadata.without(data)
      if pixels_alone == data:
        raise
      return _decode_with_pillow(pixels_alone, how)
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
  image = decode(data, how=how)
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
    with _opened(data) as image:
      return image.width * image.height
  except Exception:  # `decode` says why
    return 0


class Header(NamedTuple):
  """What the header of a file promises.

  Attributes:
    format: 'JPEG', 'PNG', ...
    size: (width, height), pixels.
    is_deep: whether a pixel has more than 8 bits a colour.
    has_alpha: whether there is transparency.
    bands: the number of channels.
    is_film: whether there are more pictures than one.
  """
  format: str
  size: tuple[int, int]
  is_deep: bool
  has_alpha: bool
  bands: int
  is_film: bool

  @property
  def pixels(self) -> int:
    """Returns their number."""
    return self.size[0] * self.size[1]

  @property
  def is_jpeg(self) -> bool:
    """Returns whether it may be decoded at a part of its size."""
    return self.format in _JPEG


def header(data: bytes) -> Header | None:
  """Reads a file's header; None where it cannot be read."""
  try:
    with _opened(data) as image:
      args = str(image.tile[0][3]) if image.tile else ''
      return Header(
          image.format or '', image.size,
          image.mode.startswith('I') or image.mode == 'F' or ';16' in args,
          image.has_transparency_data,
          max(len(image.getbands()), getattr(image, 'tag_v2', {}).get(_SAMPLES, 0)),
          # phones put a small or a second picture behind a JPEG
          image.format not in _JPEG and getattr(image, 'is_animated', False))
  except Exception:  # `decode` says why
    return None


def highest(data: bytes) -> float:
  """Returns the largest number of a gray image of more than 8 bits, else 0."""
  with _opened(data) as image:
    is_gray = image.mode.startswith('I') or image.mode == 'F'
    return float(np.asarray(image).max()) if is_gray else 0.0


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
    with turn(height * width):
      pixels = simplejpeg.decode_jpeg(data, 'RGB', min_height=-(-height // shrink),
                                      min_width=-(-width // shrink))
  except ValueError:  # damaged, or something harmless that it warns of
    return None
  return np.ascontiguousarray(_upright(pixels, jpeg.orientation(data)))


def _shrink(height: int, width: int, at_least: int) -> int:
  """Returns by how much a JPEG is made smaller while it is decoded: see `decode`."""
  if not at_least:
    return 1
  return next((k for k in (8, 4, 2) if min(height, width) >= k * at_least), 1)


def _opened(data: bytes) -> Image.Image:
  """Opens a file with Pillow, or says which kind of file it is instead."""
  try:
    return Image.open(io.BytesIO(data), formats=formats.pillow())
  except Image.UnidentifiedImageError:
    raise BadImage(f'not an image {formats.instead(data)}') from None


def _decode_with_pillow(data: bytes, how: Reading) -> np.ndarray:
  """Decodes any format, slower."""
  try:
    image = _opened(data)
    _check_size(image.height, image.width, _most_pixels(image, data, how))
    with turn(image.height * image.width):
      image.load()
      is_jpeg = image.format in _JPEG
      if not is_jpeg:
        # an EXIF block that is none says nothing: upright
        with contextlib.suppress(SyntaxError, ValueError, TypeError, KeyError,
                                 OverflowError, struct.error):
          ImageOps.exif_transpose(image, in_place=True)
      pixels = _rgb(image, how)
    if is_jpeg:  # the fast path's rule, whatever Pillow reads elsewhere in the file
      pixels = _upright(pixels, jpeg.orientation(data))
    return np.ascontiguousarray(pixels)
  except (BadImage, MemoryError):
    raise
  # Its decoders raise whatever comes to them at broken bytes.
  except Exception as error:
    text = str(error) or type(error).__name__
    kind = 'truncated' if 'truncated' in text.lower() else 'damaged'
    raise BadImage(f'{kind} ({text})') from error


def _rgb(image: Image.Image, how: Reading) -> np.ndarray:
  """Returns uint8 [height, width, 3], converted in strips to save a whole copy."""
  if image.mode == 'F' and how.gray_range == GRAY_RANGE:
    raise BadImage('not an image of whole numbers: config key data.gray_range says '
                   'which become black and white')
  level = BACKGROUNDS[how.background]
  blends = level is not None and image.has_transparency_data
  pixels = np.empty((image.height, image.width, 3), np.uint8)
  for top in range(0, image.height, _STRIP):
    strip = image.crop((0, top, image.width, min(top + _STRIP, image.height)))
    if image.mode.startswith('I;16') or image.mode in ('I', 'F'):
      # 16 bits a pixel, which Pillow would clip
      pixels[top:top + _STRIP] = _eight_bits(
          np.asarray(strip), how.gray_range)[..., None]
    elif blends:
      pixels[top:top + _STRIP] = _blended(np.asarray(strip.convert('RGBA')), level)
    else:
      pixels[top:top + _STRIP] = np.asarray(strip.convert('RGB'))
  return pixels


def _eight_bits(gray: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
  """Returns numbers of more than 8 bits as uint8: see `Reading`."""
  if limits != GRAY_RANGE:
    black, white = limits
    share = (np.nan_to_num(gray.astype(np.float32)) - black) / (white - black)
    return np.round(255 * np.clip(share, 0, 1)).astype(np.uint8)
  if gray.min() < 0 or gray.max() > 65535:
    raise BadImage('not an image of 8 or 16 bits a pixel: its numbers go from '
                   f'{gray.min()} to {gray.max()}: config key data.gray_range says '
                   'which become black and white')
  return (gray.astype(np.uint16) >> 8).astype(np.uint8)


def _blended(rgba: np.ndarray, level: int) -> np.ndarray:
  """Returns a picture before a gray background: uint8 [h, w, 3]."""
  alpha = rgba[..., 3:].astype(np.uint16)
  return ((rgba[..., :3] * alpha + level * (255 - alpha) + 127) // 255).astype(np.uint8)


def _most_pixels(image: Image.Image, data: bytes, how: Reading) -> int:
  """Returns how many pixels an image may have that Pillow has opened."""
  codec, args = image.tile[0][::3] if image.tile else ('', '')
  if codec == 'bmp_rle' or codec == 'ppm_plain':  # a loop in Python
    return how.max_pixels * _MAX_RUN_LENGTH_PIXELS // MAX_PIXELS
  raw = args if isinstance(args, str) else str(args[0]) if args else ''
  is_wide = (
      image.format == 'WEBP'  # libwebp composes it as a film
      or image.format in formats.SLOW
      or image.mode == 'LAB'  # slow to convert
      or len(image.getbands()) == 4 and ';16' in raw  # 8 bytes a pixel
      # libjpeg keeps 8 bytes a pixel of several scans
      or image.mode == 'CMYK' and image.format == 'JPEG' and jpeg.drawing(data)[0] > 1)
  return how.max_pixels * _MAX_WIDE_PIXELS // MAX_PIXELS if is_wide else how.max_pixels


def _check_size(height: int, width: int, most: int) -> None:
  if height * width > most:
    raise BadImage(f'too large: {width} x {height} pixels, at most {most:,} are read '
                   '(config key data.max_pixels)')
  if max(height, width) > _MAX_SIDE:
    raise BadImage(f'too large: {width} x {height} pixels, at most {_MAX_SIDE:,} a '
                   'side are read')


def _check_scans(data: bytes, at_least: int, how: Reading) -> None:
  """Raises BadImage if a JPEG is too large, or drawn so often that it takes seconds."""
  scans, height, width = jpeg.drawing(data)
  shrink = _shrink(height, width, at_least)
  _check_size(height, width, how.max_pixels * (_MAX_SHRUNK if shrink > 1 else 1))
  most = _MAX_DRAWN * how.max_pixels // MAX_PIXELS
  if scans * height * width > most:
    raise BadImage(f'too large: {scans} scans of {width} x {height} pixels, at most '
                   f'{most:,} pixels are drawn (config key data.max_pixels)')


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
  """Undoes an EXIF orientation, 2 to 8 (CIPA DC-008, section 4.6.4)."""
  if orientation >= 5:
    pixels = pixels.transpose(1, 0, 2)
  if orientation in (3, 4, 7, 8):
    pixels = pixels[::-1]
  if orientation in (2, 3, 6, 7):
    pixels = pixels[:, ::-1]
  return pixels
