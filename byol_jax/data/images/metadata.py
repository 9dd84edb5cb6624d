"""Takes out of an image file what stands beside the pixels, where it cannot be read.

Decoders refuse a whole file for a text, a colour profile or an EXIF block that is too
large or damaged. The pixels do not need them. Nothing here changes a file that can be
read as it is: `decode` asks only after a failure.
"""

from __future__ import annotations

from collections.abc import Iterator
import re
import struct
import zlib

_PNG = b'\x89PNG\r\n\x1a\n'
# Chunks that say what the pixels are; acTL, fcTL and fdAT of animations go, too: the
# first picture remains.
_OF_PNG = (b'IHDR', b'PLTE', b'tRNS', b'IDAT', b'IEND')
_OF_TRANSPARENCY = {0: 2, 2: 6}  # bytes of tRNS, by the kind of colours
_OF_WEBP = (b'VP8 ', b'VP8L', b'VP8X', b'ALPH', b'ANIM', b'ANMF')
_NO_FLAGS = 0xFF ^ (0x20 | 0x08 | 0x04)  # VP8X: no colour profile, EXIF, XMP
# Tags of TIFF that say what the pixels are: size, bits, compression, strips, tiles,
# predictor, palette, samples, JPEG tables, YCbCr; and the orientation.
_OF_TIFF = frozenset((
    254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 274, 277, 278, 279, 280, 281, 284,
    292, 293, 317, 318, 319, 320, 322, 323, 324, 325, 332, 334, 338, 339, 340, 341, 347,
    512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532))
_SAMPLES = 277
_EXIF_ITEM = re.compile(rb'(infe\x02\0\0.{5})Exif', re.DOTALL)  # version 2: short ids
_SOS = 0xDA


def without(data: bytes) -> bytes:
  """Returns the file with the pixels alone; the same bytes where there is no more.

  Args:
    data: an image file of any kind, damaged or not.
  """
  try:
    if data[:8] == _PNG:
      return _PNG + b''.join(_png(data))
    if data[:4] == b'RIFF' and data[8:12] == b'WEBP':
      kept = b'WEBP' + b''.join(_webp(data))
      return b'RIFF' + struct.pack('<I', len(kept)) + kept
    if data[:4] in (b'II*\0', b'MM\0*'):
      return _tiff(data)
    if data[:2] == b'\xff\xd8':
      return _jpeg(data)
    if data[4:8] == b'ftyp':  # AVIF, HEIC
      return _EXIF_ITEM.sub(rb'\1free', data)
  except (struct.error, IndexError):  # cut short
    pass
  return data


def tiff_bands(data: bytes) -> int:
  """Returns the number of channels that a TIFF's first directory says; 1 without."""
  try:
    order = '<' if data[:2] == b'II' else '>'
    start, = struct.unpack_from(order + 'I', data, 4)
    count, = struct.unpack_from(order + 'H', data, start)
    for k in range(count):
      tag, _, _, bands = struct.unpack_from(order + 'HHIH', data, start + 2 + 12 * k)
      if tag == _SAMPLES:
        return bands
  except struct.error:  # cut short
    pass
  return 1


def _png(data: bytes) -> Iterator[bytes]:
  """Yields the chunks that say what the pixels are.

  A transparency that is damaged, or has not the length that these colours need, goes,
  too: the picture is read without it.
  """
  position, colours = len(_PNG), data[25]
  while position + 12 <= len(data):
    length, = struct.unpack_from('>I', data, position)
    end = position + 12 + length
    chunk, kind = data[position:end], data[position + 4:position + 8]
    is_whole = len(chunk) == 12 + length and zlib.crc32(chunk[4:-4]) == int.from_bytes(
        chunk[-4:], 'big')
    is_right = is_whole and length == _OF_TRANSPARENCY.get(colours, length)
    if kind in _OF_PNG and (is_right or kind != b'tRNS'):
      yield chunk
    position = end


def _webp(data: bytes) -> Iterator[bytes]:
  """Yields the chunks that say what the pixels are."""
  position = 12
  while position + 8 <= len(data):
    kind, length = struct.unpack_from('<4sI', data, position)
    end = position + 8 + length + length % 2
    chunk = data[position:end]
    if kind == b'VP8X':
      chunk = chunk[:8] + bytes([chunk[8] & _NO_FLAGS]) + chunk[9:]
    if kind in _OF_WEBP:
      yield chunk
    position = end


def _tiff(data: bytes) -> bytes:
  """Returns the file with the tags of the first directory that the pixels need."""
  order = '<' if data[:2] == b'II' else '>'
  start, = struct.unpack_from(order + 'I', data, 4)
  count, = struct.unpack_from(order + 'H', data, start)
  end = start + 2 + 12 * count
  entries = [data[k:k + 12] for k in range(start + 2, end, 12)]
  kept = [entry for entry in entries
          if struct.unpack_from(order + 'H', entry)[0] in _OF_TIFF]
  directory = struct.pack(order + 'H', len(kept)) + b''.join(kept) + bytes(4)
  return data[:start] + directory.ljust(end - start, b'\0') + data[end:]


def _jpeg(data: bytes) -> bytes:
  """Returns the file without APP1 to APP13, APP15 and comments."""
  kept, position = [data[:2]], 2
  while data[position] == 0xFF and data[position + 1] != _SOS:
    marker = data[position + 1]
    end = position + 2 + struct.unpack_from('>H', data, position + 2)[0]
    # APP0 (JFIF) and APP14 (Adobe) say which colours there are
    if not (0xE1 <= marker <= 0xED or marker in (0xEF, 0xFE)):
      kept.append(data[position:end])
    position = end
  return b''.join(kept) + data[position:]
