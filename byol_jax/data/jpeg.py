"""What the markers of a JPEG say that its decoders do not tell.

A JPEG is a row of segments, each FF, a marker, and for most its length; behind SOS
come the entropy-coded pixels, in which FF is followed by 00 or a restart marker only
(ITU-T T.81, annex B).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_ORIENTATION = 0x0112  # the tag of EXIF
_SHORT, _LONG = 3, 4   # types of EXIF
_SOF2, _SOS, _APP1 = 0xC2, 0xDA, 0xE1
_SCAN, _END = b'\xff\xda', b'\xff\xd9'


class Header(NamedTuple):
  """What stands before the pixels.

  Attributes:
    orientation: of EXIF, 1 (upright) to 8; 1 where there is none.
    is_progressive: whether several scans draw the picture.
    pixels_at: the byte of the first scan's marker; the file's length if there is
      none.
  """
  orientation: int
  is_progressive: bool
  pixels_at: int


def read_header(data: bytes) -> Header:
  """Walks over the segments; what is damaged ends the walk."""
  orientation, is_progressive, position = 1, False, 2
  while position + 4 <= len(data) and data[position] == 0xFF:
    marker = data[position + 1]
    if marker == 0xFF:  # padding
      position += 1
      continue
    if marker == _SOS:
      return Header(orientation, is_progressive, position)
    is_progressive |= marker == _SOF2
    size = int.from_bytes(data[position + 2:position + 4])
    if (marker == _APP1 and orientation == 1
        and data[position + 4:position + 10] == b'Exif\0\0'):
      orientation = _orientation(data[position + 10:position + 2 + size])
    position += 2 + size
  return Header(orientation, is_progressive, len(data))


def count_scans(data: bytes) -> int:
  """How often a progressive JPEG draws its pixels; 1 of any other."""
  header = read_header(data)
  if not header.is_progressive:
    return 1
  # what follows the end may be anything: a second picture, a film
  end = data.find(_END, header.pixels_at)
  return data.count(_SCAN, header.pixels_at, end if end >= 0 else len(data))


def _orientation(tiff: bytes) -> int:
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
    tag, kind = struct.unpack_from(order + 'HH', tiff, entry)
    if tag == _ORIENTATION and kind in (_SHORT, _LONG):
      value, = struct.unpack_from(order + ('H' if kind == _SHORT else 'I'), tiff,
                                  entry + 8)
      return value if 1 <= value <= 8 else 1
  return 1
