"""The largest image of each kind, and scans without end: what they may cost."""

import json
import os
import struct
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest
from zoo import bmp_rle8
from zoo import GOOD
from zoo import GRAY
from zoo import HEIGHT
from zoo import png
from zoo import RGB
from zoo import save
from zoo import WIDTH

from byol_jax.data.images import decode
from byol_jax.data.images import jpeg


def _large(mode, kind, pixels, **options):
  side = int(pixels ** .5)
  image = Image.new(mode, (side, side), {'RGBA': (1, 200, 3, 40), 'I;16': 40_000,
                                         'CMYK': (9, 99, 30, 40)}.get(mode, 7))
  return save(image, kind, **options)


def _rgba16(side):
  row = b'\4' + b'\x11\x22' * (4 * side)
  return png(16, 6, row * side, width=side, height=side)


def _drawn_often(times):
  """A progressive JPEG whose last scan stands there many times."""
  data = _large('RGB', 'JPEG', 16e6, progressive=True)
  last = data.rfind(b'\xff\xda')
  return data[:last] + data[last:-2] * times + data[-2:]


_LARGEST = {
    'png.rgba': lambda: _large('RGBA', 'PNG', 80e6, compress_level=1),
    'png.16': lambda: _large('I;16', 'PNG', 80e6, compress_level=1),
    'gif': lambda: _large('P', 'GIF', 80e6),
    'jpeg.progressive': lambda: _large('RGB', 'JPEG', 80e6, progressive=True),
    'jpeg.cmyk': lambda: _large('CMYK', 'JPEG', 80e6),
    'tiff': lambda: _large('RGB', 'TIFF', 80e6, compression='tiff_lzw'),
    'bmp': lambda: _large('L', 'BMP', 80e6),
    'webp': lambda: _large('RGB', 'WEBP', 40e6, method=0),
    'bad.webp': lambda: _large('RGB', 'WEBP', 41e6, method=0),
    'bad.scans': lambda: _drawn_often(100),
}
_OTHERS = {  # that take as much, or whose makers take long
    'jpeg.444': lambda: _large('RGB', 'JPEG', 80e6, progressive=True, subsampling=0),
    'jpeg.cmyk.progressive': lambda: _large('CMYK', 'JPEG', 40e6, progressive=True),
    'png.tall': lambda: save(Image.new('RGB', (80, 1_000_000)), 'PNG'),
    'png.rgba16': lambda: _rgba16(6300),
    'bmp.runs': lambda: bmp_rle8(np.tile(RGB, (55, 40, 1))),
}
_DECODE_ALL = r"""
import json, os, re, sys, time
from byol_jax.data.images import decode
figures = {{}}
for name in sorted(os.listdir({folder!r})):
  with open(os.path.join({folder!r}, name), 'rb') as f:
    data = f.read()
  start, why = time.process_time(), ''
  try:
    decode.decode(data)
  except decode.BadImage as error:
    why = str(error)
  figures[name] = time.process_time() - start, why
status = open('/proc/self/status').read()
figures['mib'] = int(re.search(r'VmHWM:\s+(\d+)', status).group(1)) / 1024
print(json.dumps(figures))
"""


@pytest.mark.skipif(not os.path.exists('/proc/self/status'),
                    reason='reads the memory from /proc')
@pytest.mark.parametrize('kinds', [
    pytest.param(_LARGEST, id='usual'),
    pytest.param(_OTHERS, id='others', marks=pytest.mark.skipif(
        'BYOL_TEST_LONG' not in os.environ, reason='BYOL_TEST_LONG=1'))])
def test_the_largest_of_each_kind(tmp_path, kinds):
  """Two seconds and 1 GB at most; what would take more is refused at once."""
  for name, make in kinds.items():
    (tmp_path / name).write_bytes(make())
  done = subprocess.run(
      [sys.executable, '-c', _DECODE_ALL.format(folder=str(tmp_path))],
      capture_output=True, text=True, timeout=300)
  assert done.returncode == 0, done.stderr[-2000:]
  figures = json.loads(done.stdout)
  print(figures)
  assert figures.pop('mib') < 1024
  for name, (seconds, why) in figures.items():
    assert seconds < (0.2 if name.startswith('bad') else 2), name
    assert bool(why) == name.startswith('bad'), (name, why)
  if kinds is _LARGEST:
    assert 'at most 40,000,000' in figures['bad.webp'][1]
    assert '109 scans of 4000 x 4000' in figures['bad.scans'][1]


def _scans(marker, data=None):
  """Where each scan of a JPEG begins, and the last one itself."""
  data = data or GOOD['jpeg progressive'][0]
  starts = [k for k in range(len(data)) if data[k:k + 2] == marker]
  return starts, data[starts[-1]:-2]


def _one_scan_a_colour():
  """A sequential JPEG that draws its colours one after the other, one in vain."""
  data = save(RGB, 'JPEG', subsampling=0)
  start = data.index(b'\xff\xda')
  def scan(component):
    return b'\xff\xda\0\x08\1' + bytes([component]) + b'\0\0\x3f\0'
  return data[:start] + scan(1) + scan(2) + scan(3) + scan(1) * 106 + data[-2:]


def _with_many_scans(between=b'', before_frame=b'', after_first=False):
  """A progressive JPEG whose last scan stands there a hundred times."""
  data = GOOD['jpeg progressive'][0]
  starts, last = _scans(b'\xff\xda')
  tables = data.index(b'\xff\xc4', starts[0])  # behind the first scan
  at = tables if after_first else len(data) - 2
  data = data[:at] + between + data[at:-2] + last * 99 + data[-2:]
  return data.replace(b'\xff\xc2', before_frame + b'\xff\xc2', 1)


@pytest.mark.parametrize('data', [
    _with_many_scans(),
    _with_many_scans(b'\xff\xfe\0\4\xff\xd9'),  # what ends a JPEG, in a comment
    _with_many_scans(b'\xff\xfe\0\4\xff\xd9', after_first=True),
    _with_many_scans(before_frame=b'\0garbage'),
    _with_many_scans(before_frame=b'\xff\1'),
    _with_many_scans(b'\xff\2\0\xff'),  # no marker with a length
    _with_many_scans(b'\xff\xff\xff'),
    _one_scan_a_colour(),
], ids=['open', 'comment', 'early comment', 'garbage', 'tem', 'reserved', 'fill',
        'sequential'])
def test_scans_do_not_hide(data, monkeypatch):
  monkeypatch.setattr(decode, '_MAX_DRAWN', 100 * HEIGHT * WIDTH)
  with pytest.raises(decode.BadImage, match=f'109 scans of {WIDTH} x {HEIGHT}'):
    decode.decode(data)


def test_scans_in_a_tiff():
  def in_tiff(times):
    starts, last = _scans(b'\xff\xda', jpeg_data)
    strip = jpeg_data[:-2] + last * times + jpeg_data[-2:]
    tags = ((256, WIDTH), (257, HEIGHT), (258, 8), (259, 7), (262, 1), (273, 8 + 2 + 9 * 12 + 4),
            (277, 1), (278, HEIGHT), (279, len(strip)))
    return (b'II*\0\x08\0\0\0' + struct.pack('<H', len(tags)) + b''.join(
        struct.pack('<HHII', tag, 4, 1, value) for tag, value in tags)
            + b'\0\0\0\0' + strip)
  jpeg_data = save(GRAY[..., 0], 'JPEG', progressive=True)
  assert decode.decode(in_tiff(0)).shape == GRAY.shape
  with pytest.raises(decode.BadImage, match='damaged'):
    decode.decode(in_tiff(30))


def test_what_follows_a_progressive_jpeg_is_not_drawn():
  """Phones put films behind a picture, in which anything may stand."""
  data = GOOD['jpeg progressive'][0]
  scans = jpeg.drawing(data)[0]
  assert scans == 10  # libjpeg's own script
  assert jpeg.drawing(data + b'\xff\xda' * 1000)[0] == scans
  assert jpeg.drawing(data[:-2])[0] == scans  # cut before its end
  assert jpeg.drawing(GOOD['jpeg 4:2:0'][0])[0] == 1
