"""Is this an image that the decoder can take? A look at the first bytes."""

from __future__ import annotations

import struct

_JPEG = b'\xff\xd8\xff'
_PNG = b'\x89PNG\r\n\x1a\n'
_GIF = (b'GIF87a', b'GIF89a')
_ANIMATED = 0x02  # a flag of WebP's extended header


def problem(data: bytes) -> str | None:
  """Says why the bytes must not reach the decoder.

  Catches what no decoder would accept, and three things that TensorFlow's
  (2.21) takes wrongly: an animated WebP overwrites memory and kills the
  process, a BMP with a colour palette comes out as its palette's indices, and
  a compressed BMP as noise. Damage behind the header shows on decoding only.

  Args:
    data: a whole file.

  Returns:
    None for a JPEG, PNG, GIF, BMP or WebP file that can be decoded, otherwise
    the end of a sentence that starts with the file's name.
  """
  if not data:
    return 'is empty'
  if data.startswith((_JPEG, _PNG, *_GIF)):
    return None
  if data[:4] == b'RIFF' and data[8:12] == b'WEBP':
    if data[12:16] == b'VP8X' and (len(data) < 21 or data[20] & _ANIMATED):
      return 'is an animated WebP, which is not supported: save one frame'
    return None
  if data[:2] == b'BM':
    return _problem_of_bmp(data)
  return 'is not a JPEG, PNG, GIF, BMP or WebP image'


def _problem_of_bmp(data: bytes) -> str | None:
  """As `problem`, for a file that starts like a BMP."""
  if len(data) < 54:
    return 'is damaged: a BMP without its header'
  # https://learn.microsoft.com/windows/win32/api/wingdi/ns-wingdi-bitmapinfoheader
  header_size, = struct.unpack_from('<I', data, 14)
  bits, compression = struct.unpack_from('<HI', data, 28)
  unsupported = 'is a BMP with {}, which is not supported: save it as PNG'
  if compression not in (0, 3):  # 3: bit masks, in 32-bit files
    return unsupported.format('compression')
  if bits == 8:
    palette = data[14 + header_size:14 + header_size + 4 * 256]
    ramp = all(palette[k:k + 3] == bytes([k // 4] * 3)
               for k in range(0, len(palette), 4))
    return None if ramp else unsupported.format('a colour palette')
  if bits not in (24, 32):
    return unsupported.format(f'{bits} bits a pixel')
  return None
