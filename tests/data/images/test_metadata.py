"""Sound pictures whose metadata cannot be read: their pixels count."""

import io
import struct
import zlib

import numpy as np
from PIL import Image
from PIL import TiffImagePlugin
import pytest

from byol_jax.data.images import decode
from byol_jax.data.images import metadata

_PIXELS = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)


def _save(kind, mode='RGB', **options):
  file = io.BytesIO()
  Image.fromarray(_PIXELS).convert(mode).save(file, kind, **options)
  return file.getvalue()


def _chunk(kind, data):
  return struct.pack('>I', len(data)) + kind + data + struct.pack(
      '>I', zlib.crc32(kind + data))


_PNG = _save('PNG')


def _png(chunk, at_end=False):
  place = len(_PNG) - 12 if at_end else 33
  return _PNG[:place] + chunk + _PNG[place:]


def _far_exif():
  tags = TiffImagePlugin.ImageFileDirectory_v2()
  tags[34665], tags.tagtype[34665] = 10_000_000, 4
  return _save('TIFF', tiffinfo=tags)


_LARGE = zlib.compress(b'x' * 2_000_000)
_TIME = _chunk(b'tIME', b'\x07\xe6\1\1\1\1\1')


@pytest.mark.parametrize('data', [
    _png(_chunk(b'iCCP', b'p\0\0' + _LARGE)), _png(_chunk(b'iCCP', b'p\0\0garbage')),
    _png(_chunk(b'zTXt', b'workflow\0\0' + _LARGE)),
    _png(_chunk(b'iTXt', b'workflow\0\1\0\0\0' + _LARGE), at_end=True),
    _png(b''.join(_chunk(b'zTXt', b'%d\0\0' % k + zlib.compress(bytes(1_000_000)))
                  for k in range(80))),
    _png(_TIME[:-1] + bytes([_TIME[-1] ^ 1])), _png(_chunk(b'pHYs', b'1')),
    _png(_chunk(b'gAMA', b'1')), _png(_chunk(b'sRGB', b'')), _png(_chunk(b'acTL', b'1')),
    _png(_chunk(b'tRNS', b'\0\1\0\1\0\1')[:-1] + b'x'),
    _png(_chunk(b'tRNS', b'\0')),
    _save('PNG', exif=b'garbage not tiff'),
    _save('PNG', exif=b'Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0'),
    _save('WEBP', lossless=True, exif=b'garbage not tiff'),
    _save('WEBP', lossless=True, xmp=b'\xff\xfegarbage'),
    _far_exif(),
], ids=lambda data: str(len(data)))
def test_the_pixels_are_read(data):
  np.testing.assert_array_equal(decode.decode(data), _PIXELS)


def test_jpeg_and_avif():
  for kind, options in (('JPEG', {}), ('JPEG', {'mode': 'CMYK'})):
    data = _save(kind, **options)
    garbage = b'MPF\0' + b'\xff' * 40
    odd = data[:2] + b'\xff\xe2' + struct.pack('>H', len(garbage) + 2) + garbage + data[2:]
    np.testing.assert_array_equal(decode.decode(odd), decode.decode(data))
  if 'AVIF' in Image.SAVE:
    data = _save('AVIF', exif=b'II*\0\x08\0\0\0\0\0')
    np.testing.assert_array_equal(decode.decode(data.replace(b'II*\0', b'garb')),
                                  decode.decode(data))


def test_an_orientation_that_can_be_read_counts():
  exif = Image.Exif()
  exif[274] = 6
  data = _save('PNG', exif=exif.tobytes())
  assert decode.decode(data).shape == (48, 40, 3)


@pytest.mark.parametrize('data', [
    _PNG[:200], _png(b'')[:-400], b'RIFF\0\0\0\0WEBP', b'II*\0\xff\xff\xff\x7f', b'\xff\xd8'])
def test_what_is_damaged_stays_damaged(data):
  metadata.without(data)  # no error
  with pytest.raises(decode.BadImage):
    decode.decode(data)


def test_nothing_is_taken_from_other_files():
  assert metadata.without(b'hello') == b'hello' and metadata.without(_PNG) == _PNG
