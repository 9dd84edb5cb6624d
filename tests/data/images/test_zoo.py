"""Every kind of image file, and bytes that are none: what comes out of each.

docs/input.md has the table that these tests hold it to.
"""

import io
import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
from PIL import Image
import pytest
import simplejpeg

from byol_jax.data.images import decode
from byol_jax.data.images import jpeg

_H, _W = 40, 56


def _picture():
  """Smooth, in colour, and different in every corner."""
  y, x = np.mgrid[:_H, :_W] / [[[_H]], [[_W]]]
  return (255 * np.stack([x, y, (x + 2 * (1 - y)) / 3], -1)).astype(np.uint8)


RGB = _picture()
GRAY = np.repeat(np.asarray(Image.fromarray(RGB).convert('L'))[..., None], 3, 2)


def _save(image, kind, **options):
  file = io.BytesIO()
  if isinstance(image, np.ndarray):
    image = Image.fromarray(image)
  image.save(file, kind, **options)
  return file.getvalue()


def _animated(kind, **options):
  """Three frames, the first of which counts."""
  first, *rest = (Image.fromarray(np.roll(RGB, k, 0)) for k in range(3))
  return _save(first, kind, save_all=True, append_images=rest, **options)


def _with_alpha(pixels=RGB):
  alpha = np.linspace(0, 255, pixels.shape[0] * pixels.shape[1])
  alpha = alpha.reshape(*pixels.shape[:2], 1).astype(np.uint8)
  return np.concatenate([pixels, alpha], -1)


def _png(depth, color, rows, interlace=0, width=_W, height=_H):
  """A PNG written by hand: what Pillow does not write."""
  def chunk(kind, data):
    body = kind + data
    return struct.pack('>I', len(data)) + body + struct.pack(
        '>I', zlib.crc32(body))
  header = struct.pack('>IIBBBBB', width, height, depth, color, 0, 0, interlace)
  return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header)
          + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b''))


def _adam7(pixels):
  """The seven passes of an interlaced PNG."""
  passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4),
            (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
  return b''.join(
      b'\0' + row.tobytes() for top, left, down, right in passes
      for row in pixels[top::down, left::right])


def _bmp_rle8(pixels=RGB):
  """A run-length encoded BMP of 256 colours, bottom row first."""
  height, width, _ = pixels.shape
  image = Image.fromarray(pixels).convert('P', palette=Image.Palette.ADAPTIVE)
  index, palette = np.asarray(image), np.array(image.getpalette()).reshape(-1, 3)
  entries = np.zeros((256, 4), np.uint8)
  entries[:len(palette), :3] = palette[:, ::-1]
  data = b''.join(bytes(sum(([1, v] for v in row.tolist()), [])) + b'\0\0'
                  for row in index[::-1]) + b'\0\1'
  start = 14 + 40 + 1024
  return (b'BM' + struct.pack('<IHHI', start + len(data), 0, 0, start)
          + struct.pack('<IiiHHIIiiII', 40, width, height, 1, 8, 1, len(data), 0, 0,
                        256, 0) + entries.tobytes() + data)


def _exif(orientation, **options):
  exif = Image.Exif()
  exif[0x0112] = orientation
  return {'exif': exif.tobytes(), **options}


def _stored(orientation):
  """RGB as a camera stores it for the orientation: undone by the decoder."""
  image = Image.fromarray(RGB)
  undo = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
          4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
          6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
          8: Image.Transpose.ROTATE_270}
  return image.transpose(undo[orientation]) if orientation > 1 else image


def _exif_written(orientation, letter, mode):
  """A JPEG with its orientation as a SHORT ('H') or LONG ('I')."""
  value = struct.pack('<' + letter, orientation).ljust(4, b'\0')
  tiff = (b'II*\0' + struct.pack('<IHHHI', 8, 1, 0x0112, {'H': 3, 'I': 4}[letter], 1)
          + value + b'\0\0\0\0')
  return _save(_stored(orientation).convert(mode), 'JPEG', quality=95,
               exif=b'Exif\0\0' + tiff)


def _big_endian_exif(data):
  """The EXIF block of a JPEG with orientation 3, as Motorola writes it."""
  tiff = b'MM\0*\0\0\0\x08' + struct.pack('>HHHIHHI', 1, 0x0112, 3, 1, 3, 0, 0)
  return _with_app1(data, b'Exif\0\0' + tiff)


def _with_app1(data, block):
  return data[:2] + b'\xff\xe1' + struct.pack('>H', len(block) + 2) + block + (
      data[2:])


_palette = Image.fromarray(RGB).convert('P', palette=Image.Palette.ADAPTIVE)
_paletted = np.asarray(_palette.convert('RGB'))
_bilevel = Image.fromarray(RGB).convert('1')
_bilevel_rgb = np.asarray(_bilevel.convert('RGB'))
_jpeg = _save(RGB, 'JPEG', quality=95)
_wide = np.asarray(RGB, '>u2') * 257
_gray16 = Image.fromarray(GRAY[..., 0].astype(np.uint16) * 256 + 77)
_cmyk = 255 - np.concatenate([RGB, np.full((_H, _W, 1), 255, np.uint8)], -1)

# name -> (bytes, picture, whether some is lost in coding)
GOOD = {
    'jpeg 4:4:4': (_save(RGB, 'JPEG', quality=95, subsampling=0), RGB, True),
    'jpeg 4:2:2': (_save(RGB, 'JPEG', quality=95, subsampling=1), RGB, True),
    'jpeg 4:2:0': (_save(RGB, 'JPEG', quality=95, subsampling=2), RGB, True),
    'jpeg progressive': (_save(RGB, 'JPEG', quality=95, progressive=True), RGB,
                         True),
    'jpeg optimised': (_save(RGB, 'JPEG', quality=95, optimize=True), RGB, True),
    'jpeg restart markers': (_save(
        RGB, 'JPEG', quality=95, restart_marker_blocks=2), RGB, True),
    'jpeg gray': (_save(Image.fromarray(GRAY).convert('L'), 'JPEG', quality=95),
                  GRAY, True),
    'jpeg gray progressive': (_save(Image.fromarray(GRAY).convert(
        'L'), 'JPEG', quality=95, progressive=True), GRAY, True),
    'jpeg rgb': (_save(RGB, 'JPEG', quality=95, keep_rgb=True), RGB, True),
    'jpeg cmyk': (_save(Image.fromarray(RGB).convert('CMYK'), 'JPEG',
                        quality=95), RGB, True),
    'jpeg ycck': (simplejpeg.encode_jpeg(
        np.ascontiguousarray(255 - _cmyk), 95, 'CMYK', '444'), RGB, True),
    'jpeg with icc profile': (_save(
        RGB, 'JPEG', quality=95, icc_profile=b'not a profile'), RGB, True),
    'jpeg with comment': (_save(RGB, 'JPEG', quality=95, comment=b'x' * 999),
                          RGB, True),
    'jpeg with garbage behind': (_jpeg + b'\0garbage' * 99, RGB, True),
    'jpeg with broken exif': (_save(
        RGB, 'JPEG', quality=95, exif=b'Exif\0\0II*\0\xff\xff\xff\x7f'), RGB,
                              True),
    **{f'jpeg exif orientation as {kind}{plus}': (
        _exif_written(6, fmt, colors), RGB, True)
       for kind, fmt in (('short', 'H'), ('long', 'I'))
       for plus, colors in (('', 'RGB'), (', cmyk', 'CMYK'))},
    **{f'jpeg xmp orientation alone, {colors}': (_with_app1(_save(
        Image.fromarray(RGB).convert(colors), 'JPEG', quality=95),
        b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="6"/>'), RGB, True)
       for colors in ('RGB', 'CMYK')},
    'jpeg exif big-endian': (_big_endian_exif(_save(
        _stored(3), 'JPEG', quality=95)), RGB, True),
    'jpeg several pictures (mpo)': (_animated('MPO', quality=95), RGB,
                                    True),
    'jpeg 1x1': (_save(RGB[:1, :1], 'JPEG', quality=95), RGB[:1, :1], True),
    'jpeg 1 high': (_save(RGB[:1], 'JPEG', quality=95), RGB[:1], True),
    'jpeg 1 wide': (_save(RGB[:, :1], 'JPEG', quality=95), RGB[:, :1], True),
    'jpeg odd size': (_save(RGB[:17, :23], 'JPEG', quality=95), RGB[:17, :23],
                      True),
    'png': (_save(RGB, 'PNG'), RGB, False),
    'png gray': (_save(GRAY[..., 0], 'PNG'), GRAY, False),
    'png gray alpha': (_save(Image.fromarray(GRAY).convert('LA'), 'PNG'), GRAY,
                       False),
    'png alpha': (_save(_with_alpha(), 'PNG'), RGB, False),
    'png palette': (_save(_palette, 'PNG'), _paletted, False),
    'png palette with transparency': (_save(
        _palette, 'PNG', transparency=3), _paletted, False),
    'png bilevel': (_save(_bilevel, 'PNG'), _bilevel_rgb, False),
    'png 16-bit gray': (_save(_gray16, 'PNG'), GRAY, False),
    'png 16-bit rgb': (_png(16, 2, b''.join(
        b'\0' + row.tobytes() for row in _wide)), RGB, False),
    'png interlaced': (_png(8, 2, _adam7(RGB), interlace=1), RGB, False),
    'png animated': (_animated('PNG'), RGB, False),
    'png 1x1': (_save(RGB[:1, :1], 'PNG'), RGB[:1, :1], False),
    'gif': (_save(_palette, 'GIF'), _paletted, False),
    'gif animated': (_save(
        _palette, 'GIF', save_all=True,
        append_images=[_palette.rotate(90 * k) for k in (1, 2)]), _paletted,
                     False),
    'gif not interlaced': (_save(_palette, 'GIF', interlace=0), _paletted,
                           False),
    'gif gray': (_save(GRAY[..., 0], 'GIF'), GRAY, False),
    'bmp': (_save(RGB, 'BMP'), RGB, False),
    'bmp 32-bit': (_save(_with_alpha(), 'BMP'), RGB, False),
    'bmp gray': (_save(GRAY[..., 0], 'BMP'), GRAY, False),
    'bmp palette': (_save(_palette, 'BMP'), _paletted, False),
    'bmp bilevel': (_save(_bilevel, 'BMP'), _bilevel_rgb, False),
    'bmp run-length encoded': (_bmp_rle8(), _paletted, False),
    'webp': (_save(RGB, 'WEBP', quality=95), RGB, True),
    'webp lossless': (_save(RGB, 'WEBP', lossless=True), RGB, False),
    'webp alpha': (_save(_with_alpha(), 'WEBP', lossless=True, exact=True), RGB,
                   False),
    'webp animated': (_animated('WEBP', lossless=True), RGB, False),
    'tiff': (_save(RGB, 'TIFF'), RGB, False),
    'tiff lzw': (_save(RGB, 'TIFF', compression='tiff_lzw'), RGB, False),
    'tiff deflate': (_save(RGB, 'TIFF', compression='tiff_adobe_deflate'), RGB,
                     False),
    'tiff gray': (_save(GRAY[..., 0], 'TIFF'), GRAY, False),
    'tiff 16-bit gray': (_save(_gray16, 'TIFF'), GRAY, False),
    'tiff 16-bit gray in 32 bits': (
        _save(np.asarray(_gray16).astype(np.int32), 'TIFF'), GRAY, False),
    'tiff cmyk': (_save(Image.fromarray(RGB).convert('CMYK'), 'TIFF'), RGB,
                  True),
    'tiff several pages': (_animated('TIFF'), RGB, False),
} | {
    f'{kind} exif orientation {k}': (
        _save(_stored(k), kind.upper(), **_exif(k, **options)), RGB, lossy)
    for kind, options, lossy in (
        ('jpeg', {'quality': 95}, True), ('png', {}, False),
        ('webp', {'lossless': True}, False))
    for k in range(1, 9)
}


def _lying_png():
  data = bytearray(GOOD['png'][0])
  data[16:24] = struct.pack('>II', 100_000, 100_000)
  data[29:33] = struct.pack('>I', zlib.crc32(bytes(data[12:29])))
  return bytes(data)


def _lying_jpeg(data=_jpeg, side=65_000):
  data = bytearray(data)
  frame = max(data.find(b'\xff\xc0'), data.find(b'\xff\xc2'))
  data[frame + 5:frame + 9] = struct.pack('>HH', side, side)
  return bytes(data)


def _lying_bmp():
  data = bytearray(GOOD['bmp run-length encoded'][0])
  data[18:26] = struct.pack('<II', 3000, 3000)
  return bytes(data)


def _flipped(data):
  data = bytearray(data)
  middle = len(data) // 2
  data[middle:middle + 20] = bytes(255 - x for x in data[middle:middle + 20])
  return bytes(data)


# name -> (bytes, how the reason starts)
BAD = {
    'nothing': (b'', 'empty'),
    'text': (b'hello, world\n' * 9, 'not an image'),
    'html': (b'<!DOCTYPE html><title>404</title>', 'not an image'),
    'noise': (np.random.default_rng(0).bytes(5000), 'not an image'),
    'zeros': (bytes(5000), 'not an image'),
    'pdf': (b'%PDF-1.4\n1 0 obj\n', 'not an image'),
    'postscript': (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n',
                   'not an image'),
    'svg': (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'not an image'),
    'icon': (_save(RGB, 'ICO', sizes=[(16, 16)]), 'not an image'),
    'zip': (b'PK\3\4' + bytes(60), 'not an image'),
    'jpeg header only': (_jpeg[:20], 'truncated|damaged|not an image'),
    'png header only': (GOOD['png'][0][:33], 'truncated|damaged|not an image'),
    'jpeg of 65000 x 65000 pixels, it says': (_lying_jpeg(), 'too large'),
    'png of 100000 x 100000 pixels, it says': (_lying_png(), 'too large'),
    'png of 1 x 80000000 pixels, it says': (
        _png(8, 2, b'', width=1, height=80_000_000), 'too large.* a side'),
    'png of 8 bytes a pixel, 7000 x 7000, it says': (
        _png(16, 6, b'', width=7000, height=7000), 'too large.* 40,000,000'),
    'cmyk in scans of 7000 x 7000 pixels, it says': (_lying_jpeg(_save(
        Image.fromarray(RGB).convert('CMYK'), 'JPEG', progressive=True), 7000),
                                                     'too large.* 40,000,000'),
    'bmp in runs of 3000 x 3000 pixels, it says': (
        _lying_bmp(), 'too large.* 5,000,000'),
    'png with flipped bytes': (_flipped(GOOD['png'][0]), 'damaged|truncated'),
    'tiff of floats': (_save(Image.fromarray(
        GRAY[..., 0].astype(np.float32)), 'TIFF'), 'not an image'),
    'tiff of 32-bit integers': (_save(Image.fromarray(
        GRAY[..., 0].astype(np.int32) * 70_000), 'TIFF'), 'not an image of 8 or 16'),
    'tiff of negative integers': (_save(Image.fromarray(
        GRAY[..., 0].astype(np.int32) - 300), 'TIFF'), 'not an image of 8 or 16'),
} | {
    f'{name} cut at {share:.0%}': (GOOD[name][0][:int(share * len(
        GOOD[name][0]))], 'truncated|damaged|not an image|empty')
    for name in ('jpeg 4:2:0', 'jpeg progressive', 'png', 'gif', 'webp', 'bmp',
                 'tiff')
    for share in (0.02, 0.5, 0.85)
}


def test_the_zoo_is_large_enough():
  assert len(GOOD) + len(BAD) >= 60


@pytest.mark.parametrize('name', GOOD)
def test_ends_as_the_right_picture(name):
  data, expected, is_lossy = GOOD[name]
  pixels = decode.decode(data)
  assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous
  assert pixels.shape == expected.shape
  difference = np.abs(pixels.astype(int) - expected)
  if is_lossy:
    assert difference.mean() < 5  # a wrong channel or turn is 30 and more
  else:
    assert difference.max() == 0


@pytest.mark.parametrize('name', BAD)
def test_is_refused_with_a_reason(name):
  data, why = BAD[name]
  with pytest.raises(decode.BadImage, match=f'^({why})'):
    decode.decode(data)


# -------------------------------------------------------------------- largest
def _large(mode, kind, pixels, **options):
  side = int(pixels ** .5)
  image = Image.new(mode, (side, side), {'RGBA': (1, 200, 3, 40), 'I;16': 40_000,
                                         'CMYK': (9, 99, 30, 40)}.get(mode, 7))
  return _save(image, kind, **options)


def _rgba16(side):
  row = b'\4' + b'\x11\x22' * (4 * side)
  return _png(16, 6, row * side, width=side, height=side)


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
    'png.tall': lambda: _save(Image.new('RGB', (80, 1_000_000)), 'PNG'),
    'png.rgba16': lambda: _rgba16(6300),
    'bmp.runs': lambda: _bmp_rle8(np.tile(RGB, (55, 40, 1))),
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
  data = _save(RGB, 'JPEG', subsampling=0)
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
  monkeypatch.setattr(decode, '_MAX_DRAWN', 100 * _H * _W)
  with pytest.raises(decode.BadImage, match=f'109 scans of {_W} x {_H}'):
    decode.decode(data)


def test_scans_in_a_tiff():
  def in_tiff(times):
    starts, last = _scans(b'\xff\xda', jpeg_data)
    strip = jpeg_data[:-2] + last * times + jpeg_data[-2:]
    tags = ((256, _W), (257, _H), (258, 8), (259, 7), (262, 1), (273, 8 + 2 + 9 * 12 + 4),
            (277, 1), (278, _H), (279, len(strip)))
    return (b'II*\0\x08\0\0\0' + struct.pack('<H', len(tags)) + b''.join(
        struct.pack('<HHII', tag, 4, 1, value) for tag, value in tags)
            + b'\0\0\0\0' + strip)
  jpeg_data = _save(GRAY[..., 0], 'JPEG', progressive=True)
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


# ------------------------------------------------------------------ mutations
_FUZZ = """
import json, re, sys, time
import numpy as np
sys.path.insert(0, {tests!r})
import test_zoo as zoo
from byol_jax.data.images import crops, decode
rng = np.random.default_rng({seed})
seeds = [zoo.GOOD[name][0] for name in (
    'jpeg 4:2:0', 'jpeg progressive', 'jpeg gray', 'jpeg cmyk', 'jpeg ycck',
    'jpeg exif orientation 6', 'jpeg several pictures (mpo)', 'png',
    'png alpha', 'png palette', 'png interlaced', 'png 16-bit rgb')]
out = np.empty((2, 16, 16, 3), np.uint8)
slowest, good, bad = 0.0, 0, 0
for k in range({count}):
  data = bytearray(seeds[k % len(seeds)])
  for _ in range(rng.integers(1, 9)):
    kind, at = rng.integers(5), int(rng.integers(len(data)))
    if kind == 0: data[at] = rng.integers(256)
    elif kind == 1: data[at] ^= 1 << int(rng.integers(8))
    elif kind == 2: data = data[:max(at, 4)]
    elif kind == 3: data[at:at + 4] = rng.bytes(4)
    else: data[at:at] = rng.bytes(int(rng.integers(1, 40)))
  start = time.process_time()  # not the time that others took
  try:
    u = rng.random((2, 4))
    out.fill(0)
    decode.decode_views(bytes(data), u, out, crops.CropSpec(16))
    good += 1
    if good % 10 == 0:  # every pixel is written, and the same again
      again = np.full_like(out, 255)
      decode.decode_views(bytes(data), u, again, crops.CropSpec(16))
      assert (again == out).all(), data
  except decode.BadImage as error:
    bad += 1
    assert str(error)
  slowest = max(slowest, time.process_time() - start)
# Not ru_maxrss, which a process inherits from the one that started it.
status = open('/proc/self/status').read()
print(json.dumps(dict(
    good=good, bad=bad, slowest=slowest,
    mib=int(re.search(r'VmHWM:\\s+(\\d+)', status).group(1)) / 1024)))
"""


@pytest.mark.skipif(not os.path.exists('/proc/self/status'),
                    reason='reads the memory from /proc')
def test_mutated_files_neither_crash_nor_hang():
  """10,000 of them: a picture or a `BadImage`, and nothing else."""
  count = 10_000
  done = subprocess.run(
      [sys.executable, '-c', _FUZZ.format(
          tests=os.path.dirname(__file__), seed=0, count=count)],
      capture_output=True, text=True, timeout=900)
  assert done.returncode == 0, done.stderr[-2000:]
  figures = json.loads(done.stdout.splitlines()[-1])
  print(figures)
  assert figures['good'] + figures['bad'] == count
  assert figures['good'] > count / 20 and figures['bad'] > count / 20
  assert figures['slowest'] < 2  # seconds
  assert figures['mib'] < 1024
