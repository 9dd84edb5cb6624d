"""Pillow's part of decoding.

It is asked for the formats of formats.py only: it knows others that start programs.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import os
import struct
from typing import NamedTuple
import warnings

import numpy as np
from PIL import Image
from PIL import ImageOps

from byol_jax.data.images import formats
from byol_jax.data.images import jpeg
from byol_jax.data.images import reading
from byol_jax.data.images.reading import BadImage
from byol_jax.data.images.reading import Reading

Image.MAX_IMAGE_PIXELS = None  # `reading.check_size` is stricter, and has a key
# Pillow warns of oddities once a process; errors that matter are raised.
warnings.filterwarnings('ignore', module=r'PIL\.')
logging.getLogger('PIL').setLevel(logging.CRITICAL)

# Scans of a JPEG within a TIFF; libtiff's limit is 100. Pillow's widest have 18.
os.environ.setdefault('LIBTIFF_JPEG_MAX_ALLOWED_SCAN_NUMBER', '20')

with contextlib.suppress(AttributeError, OSError):  # another build of Pillow
  # libtiff would write lines of its own to the console; its errors are raised, too
  _linked = ctypes.CDLL(Image.core.__file__)
  _linked.TIFFSetErrorHandler(None)
  _linked.TIFFSetWarningHandler(None)

_JPEG = ('JPEG', 'MPO')  # Pillow's names
_SAMPLES = 277  # TIFF's tag SamplesPerPixel
_MAX_WIDE_PIXELS = 40_000_000
_MAX_RUN_LENGTH_PIXELS = 5_000_000
# raised at an EXIF block that is none; it says nothing: upright
_OF_EXIF = (SyntaxError, ValueError, TypeError, KeyError, OverflowError, struct.error)
_MOST = (0.1, 99.9)      # percent of the pixels
_STRIP = 256             # rows that are converted at a time


class Header(NamedTuple):
  """Holds the promises of a file's header.

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
    with opened(data) as image:
      args = str(image.tile[0][3]) if image.tile else ''
      return Header(
          image.format or '', image.size,
          image.mode.startswith('I') or image.mode == 'F' or ';16' in args,
          image.has_transparency_data,
          max(len(image.getbands()), getattr(image, 'tag_v2', {}).get(_SAMPLES, 0)),
          # phones put a small or a second picture behind a JPEG
          image.format not in _JPEG and getattr(image, 'is_animated', False))
  except Exception:  # decoding says why
    return None


def extremes(data: bytes) -> tuple[float, float]:
  """Returns between which numbers a gray image of more than 8 bits lies.

  All but a few pixels do: single ones are broken in many sensors.
  """
  with opened(data) as image:
    if not (image.mode.startswith('I') or image.mode == 'F'):
      return 0.0, 0.0
    lowest, highest = np.percentile(np.nan_to_num(np.asarray(image)), _MOST,
                                    method='nearest')
    return float(lowest), float(highest)


def _extremes(image: Image.Image) -> tuple[float, float]:
  numbers = np.nan_to_num(np.asarray(image))
  return float(numbers.min()), float(numbers.max())


def promised_pixels(data: bytes) -> int:
  """Returns the number of pixels by the header; 0 where it cannot be read."""
  try:
    with opened(data) as image:
      return image.width * image.height
  except Exception:  # decoding says why
    return 0


def decode(data: bytes, how: Reading) -> np.ndarray:
  """Decodes any format, slower.

  Args:
    data: the bytes of a file.
    how: see `Reading`.

  Returns:
    uint8 [height, width, 3], upright.

  Raises:
    BadImage: the bytes are no picture that can be used.
  """
  try:
    image = opened(data)
    reading.check_size(image.height, image.width, _most_pixels(image, data, how))
    with reading.turn(image.height * image.width):
      image.load()
      is_jpeg = image.format in _JPEG
      if not is_jpeg:
        with contextlib.suppress(*_OF_EXIF):
          ImageOps.exif_transpose(image, in_place=True)
      pixels = _rgb(image, how)
    if is_jpeg:  # the fast path's rule, whatever Pillow reads elsewhere in the file
      pixels = upright(pixels, jpeg.orientation(data))
    return np.ascontiguousarray(pixels)
  except (BadImage, MemoryError):
    raise
  # Its decoders raise whatever comes to them at broken bytes.
  except Exception as error:
    text = str(error).partition('\n')[0] or type(error).__name__
    kind = 'truncated' if 'truncated' in text.lower() else 'damaged'
    raise BadImage(f'{kind} ({text})') from error


def of_image(image: Image.Image, how: Reading) -> np.ndarray:
  """Returns the pixels of an image of Pillow, which stays as it is; see `decode`."""
  reading.check_size(image.height, image.width, how.max_pixels)
  if not image.width * image.height:
    raise BadImage('empty')
  try:
    image.load()
    with contextlib.suppress(*_OF_EXIF):
      image = ImageOps.exif_transpose(image)
    return _rgb(image, how)
  except OSError as error:  # it was only opened before
    raise BadImage(f'damaged ({error})') from error


def without_alpha(rgba: np.ndarray, how: Reading) -> np.ndarray:
  """Returns pixels before `how.background`: uint8 [..., 4] to uint8 [..., 3]."""
  level = reading.BACKGROUNDS[how.background]
  if level is None:
    return rgba[..., :3]
  alpha = rgba[..., 3:].astype(np.uint16)
  return ((rgba[..., :3] * alpha + level * (255 - alpha) + 127) // 255).astype(np.uint8)


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
  """Undoes an EXIF orientation, 2 to 8 (CIPA DC-008, section 4.6.4)."""
  if orientation >= 5:
    pixels = pixels.transpose(1, 0, 2)
  if orientation in (3, 4, 7, 8):
    pixels = pixels[::-1]
  if orientation in (2, 3, 6, 7):
    pixels = pixels[:, ::-1]
  return pixels


def opened(data: bytes) -> Image.Image:
  """Opens a file with Pillow, or says which kind of file it is instead."""
  try:
    return Image.open(io.BytesIO(data), formats=formats.pillow())
  except Image.UnidentifiedImageError:
    raise BadImage(f'not an image {formats.instead(data)}') from None


def _rgb(image: Image.Image, how: Reading) -> np.ndarray:
  """Returns uint8 [height, width, 3], converted in strips to save a whole copy."""
  if image.mode == 'F' and how.gray_range == reading.GRAY_RANGE:
    raise BadImage('not an image of whole numbers: its numbers go from {:g} to {:g}: '
                   'config key data.gray_range says which become black and white'
                   .format(*_extremes(image)))
  blends = how.background != 'drop' and image.has_transparency_data
  pixels = np.empty((image.height, image.width, 3), np.uint8)
  for top in range(0, image.height, _STRIP):
    strip = image.crop((0, top, image.width, min(top + _STRIP, image.height)))
    if image.mode.startswith('I;16') or image.mode in ('I', 'F'):
      # 16 bits a pixel, which Pillow would clip
      pixels[top:top + _STRIP] = _eight_bits(
          np.asarray(strip), how.gray_range)[..., None]
    elif blends:
      pixels[top:top + _STRIP] = without_alpha(np.asarray(strip.convert('RGBA')), how)
    else:
      pixels[top:top + _STRIP] = np.asarray(strip.convert('RGB'))
  return pixels


def _eight_bits(gray: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
  """Returns numbers of more than 8 bits as uint8: see `Reading`."""
  if limits != reading.GRAY_RANGE:
    black, white = limits
    share = (np.nan_to_num(gray.astype(np.float32)) - black) / (white - black)
    return np.round(255 * np.clip(share, 0, 1)).astype(np.uint8)
  if gray.min() < 0 or gray.max() > 65535:
    raise BadImage('not an image of 8 or 16 bits a pixel: its numbers go from '
                   f'{gray.min()} to {gray.max()}: config key data.gray_range says '
                   'which become black and white')
  return (gray.astype(np.uint16) >> 8).astype(np.uint8)


def _most_pixels(image: Image.Image, data: bytes, how: Reading) -> int:
  """Returns how many pixels an image may have that Pillow has opened."""
  codec, args = image.tile[0][::3] if image.tile else ('', '')
  if codec == 'bmp_rle' or codec == 'ppm_plain':  # a loop in Python
    return how.max_pixels * _MAX_RUN_LENGTH_PIXELS // reading.MAX_PIXELS
  raw = args if isinstance(args, str) else str(args[0]) if args else ''
  is_wide = (
      image.format == 'WEBP'  # libwebp composes it as a film
      or image.format in formats.SLOW
      or image.mode == 'LAB'  # slow to convert
      or len(image.getbands()) == 4 and ';16' in raw  # 8 bytes a pixel
      # libjpeg keeps 8 bytes a pixel of several scans
      or image.mode == 'CMYK' and image.format == 'JPEG' and jpeg.drawing(data)[0] > 1)
  most = _MAX_WIDE_PIXELS if is_wide else reading.MAX_PIXELS
  return how.max_pixels * most // reading.MAX_PIXELS
