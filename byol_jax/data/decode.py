"""Encoded bytes to uint8 pixels: two training views, or the centre.

Whatever comes in, what comes out is RGB and upright: gray images are repeated,
CMYK and YCCK converted, palettes looked up, 16 bits become the upper 8, an EXIF
orientation is applied, transparency is dropped without blending, and of several
frames the first counts. Everything else is a `BadImage`.

JPEGs go through libjpeg-turbo (simplejpeg), with the accurate DCT and smooth
upsampling, the rest through Pillow, which is asked for the formats below only:
it knows others that start programs. Both work without Python's lock.
"""

from __future__ import annotations

import io
import math
import struct
import types
import warnings

import numpy as np
from PIL import Image
from PIL import ImageOps
import simplejpeg

from byol_jax.data import crops
from byol_jax.data import resize

_FORMATS = ('JPEG', 'PNG', 'GIF', 'BMP', 'WEBP', 'TIFF')
_EXIF_ORIENTATION = 0x0112

# Pillow warns of oddities once a process; what matters is raised.
warnings.filterwarnings('ignore', module=r'PIL\.')

# A header may promise anything; this many pixels take 0.7 GB on the way.
MAX_PIXELS = 80_000_000


class BadImage(Exception):
  """The bytes are no picture that can be used; the message says why.

  The first word or words are one of: missing, unreadable, empty, not an image,
  truncated, damaged, too large.
  """


def decode(data: bytes) -> np.ndarray:
  """Decodes a whole image in its own size.

  Args:
    data: a JPEG, PNG, GIF, BMP, WebP or TIFF file.

  Returns:
    uint8 [height, width, 3].

  Raises:
    BadImage: the bytes are not such a file, damaged, cut short, or more than
      `MAX_PIXELS`.
  """
  if not data:
    raise BadImage('empty')
  if data[:3] == b'\xff\xd8\xff':
    pixels = _decode_plain_jpeg(data)
    if pixels is not None:
      return pixels
  return _decode_with_pillow(data)


def decode_views(
    data: bytes,
    u: np.ndarray,
    out: np.ndarray,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
) -> None:
  """Decodes random resized crops of one image, two for BYOL.

  The image is decoded once and cut twice (the reference decodes it twice).

  Args:
    data: as for `decode`.
    u: float64 [V, 4], the draws of each view: `crops.crop_box`.
    out: uint8 [V, S, S, 3], written. Bicubic without antialiasing.
    area: range of the crop's share of the image's area.
    aspect: range of width / height.

  Raises:
    BadImage: see `decode`; `out` is as it was.
  """
  image = decode(data)
  height, width, _ = image.shape
  for view in range(len(out)):
    box = crops.crop_box(u[view], height, width, area, aspect, xp=_SCALARS)
    resize.cut(image, box, out[view])


def decode_eval(data: bytes, out: np.ndarray,
                center_share: float = 0.875) -> None:
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


# `crops` on single numbers: arrays of one element cost ten times as much.
_SCALARS = types.SimpleNamespace(
    asarray=lambda x, dtype: int(x) if dtype is int else x, int32=int,
    exp=math.exp, sqrt=math.sqrt, round=round, floor=math.floor, minimum=min,
    maximum=max)


def _decode_plain_jpeg(data: bytes) -> np.ndarray | None:
  """The fast path; None where Pillow must look at the file."""
  try:
    height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
    _check_size(height, width)
    if colors not in ('YCbCr', 'Gray'):
      return None
    pixels = simplejpeg.decode_jpeg(data, 'RGB')
  except ValueError:  # damaged, or something harmless that it warns of
    return None
  orientation = _jpeg_orientation(data)
  if orientation > 1:
    pixels = np.ascontiguousarray(_upright(pixels, orientation))
  return pixels


def _decode_with_pillow(data: bytes) -> np.ndarray:
  """Any format, slower."""
  try:
    image = Image.open(io.BytesIO(data), formats=_FORMATS)
    _check_size(image.height, image.width)
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith('I;16') or image.mode == 'I':
      # 16 bits a pixel, which Pillow would clip
      gray = np.asarray(image)
      if gray.min() < 0 or gray.max() > 65535:
        raise BadImage('not an image of 8 or 16 bits a pixel: its numbers go from '
                       f'{gray.min()} to {gray.max()}')
      return _repeat_gray(gray.astype(np.uint16) >> 8)
    if image.mode == 'F':
      raise BadImage('not an image of whole numbers')
    return np.array(image.convert('RGB'))
  except Image.UnidentifiedImageError:
    raise BadImage(
        'not an image that can be read (JPEG, PNG, GIF, BMP, WebP, TIFF)'
    ) from None
  except Image.DecompressionBombError:
    raise BadImage('too large') from None
  except BadImage:
    raise
  # Its decoders raise whatever comes to them at broken bytes.
  except Exception as error:
    text = str(error) or type(error).__name__
    kind = 'truncated' if 'truncated' in text.lower() else 'damaged'
    raise BadImage(f'{kind} ({text})') from error


def _check_size(height: int, width: int) -> None:
  if height * width > MAX_PIXELS:
    raise BadImage(f'too large: {width} x {height} pixels, at most '
                   f'{MAX_PIXELS:,} are read')


def _repeat_gray(gray: np.ndarray) -> np.ndarray:
  return np.repeat(gray.astype(np.uint8)[..., None], 3, axis=2)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
  """Undoes an EXIF orientation, 2 to 8 (CIPA DC-008, section 4.6.4)."""
  if orientation >= 5:
    pixels = pixels.transpose(1, 0, 2)
  if orientation in (3, 4, 7, 8):
    pixels = pixels[::-1]
  if orientation in (2, 3, 6, 7):
    pixels = pixels[:, ::-1]
  return pixels


def _jpeg_orientation(data: bytes) -> int:
  """The EXIF orientation of a JPEG, 1 (upright) where there is none."""
  position = 2
  while position + 4 <= len(data) and data[position] == 0xFF:
    marker = data[position + 1]
    if marker == 0xFF:  # padding
      position += 1
      continue
    if marker == 0xDA:  # the picture itself
      break
    size = int.from_bytes(data[position + 2:position + 4])
    if marker == 0xE1 and data[position + 4:position + 10] == b'Exif\0\0':
      return _tiff_orientation(data[position + 10:position + 2 + size])
    position += 2 + size
  return 1


def _tiff_orientation(tiff: bytes) -> int:
  """The orientation in the first directory of an EXIF block."""
  order = {b'II*\0': '<', b'MM\0*': '>'}.get(tiff[:4])
  if order is None or len(tiff) < 8:
    return 1
  directory, = struct.unpack_from(order + 'I', tiff, 4)
  if directory + 2 > len(tiff):
    return 1
  count, = struct.unpack_from(order + 'H', tiff, directory)
  for k in range(count):
    entry = directory + 2 + 12 * k
    if entry + 12 > len(tiff):
      break
    tag, kind, _, value = struct.unpack_from(order + 'HHIH', tiff, entry)
    if tag == _EXIF_ORIENTATION and kind == 3:
      return value if 1 <= value <= 8 else 1
  return 1
