"""Reads from a JPEG's markers what decoders do not report: scans, orientation.

A JPEG is a row of segments, each FF, a marker, and for most its length; behind SOS
come the entropy-coded pixels, in which FF is followed by 00 or a restart marker only
(ITU-T T.81, annex B).
"""

from __future__ import annotations

from collections.abc import Iterator
import re
import struct

_ORIENTATION = 0x0112  # the tag of EXIF
_SHORT, _LONG = 3, 4   # types of EXIF
_EOI, _SOS, _APP1 = 0xD9, 0xDA, 0xE1
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15
_SEQUENTIAL = {0xC0, 0xC1, 0xC9}  # the usual frames; the rest are progressive, ...
_MARKER = re.compile(rb'\xff[\xc0-\xcf\xd9-\xfe]')  # markers with a length, and EOI


def orientation(data: bytes) -> int:
  """Returns the EXIF orientation, 1 (upright) to 8; 1 where there is none."""
  for marker, start, end in _segments(data):
    if marker == _SOS:
      break
    if marker == _APP1 and data[start:start + 6] == b'Exif\0\0':
      found = _orientation(data[start + 6:end])
      if found > 1:
        return found
  return 1


def drawing(data: bytes) -> tuple[int, int, int]:
  """Returns how often a JPEG draws its pixels, and its height and width.

  Most JPEGs have one scan. A progressive one has about ten, and one that keeps its
  colours apart has one for each. A decoder draws as many as there are.
  """
  scans, height, width, components = 0, 0, 0, None
  for marker, start, _ in _segments(data):
    if marker in _FRAMES and not scans and start + 6 <= len(data):
      height, width, in_frame = struct.unpack_from('>HHB', data, start + 1)
      components = in_frame if marker in _SEQUENTIAL else None
    elif marker == _SOS:
      scans += 1
      if data[start:start + 1] == bytes([components or 0]):
        break  # all of them at once: no decoder reads on
  return scans, height, width


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
  """Yields the markers up to EOI, each with where its content starts and ends.

  Bytes between segments are skipped, as by libjpeg: if they ended the walk, a few
  bytes of garbage would hide the scans behind them.
  """
  position = 2
  while found := _MARKER.search(data, position):
    start, marker = found.end(), data[found.end() - 1]
    if marker == _EOI:
      return
    position = start + max(int.from_bytes(data[start:start + 2], 'big'), 2)
    yield marker, start + 2, position


def _orientation(tiff: bytes) -> int:
  """Returns the orientation in the first directory of an EXIF block."""
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
