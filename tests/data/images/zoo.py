"""Every kind of image file, and bytes that are none, each with what should come of it.

docs/input.md has the table that they hold the decoder to.
"""

import io
import struct
import zlib

import numpy as np
from PIL import Image
import simplejpeg

HEIGHT, WIDTH = 40, 56


def _picture():
  """Smooth, in colour, and different in every corner."""
  y, x = np.mgrid[:HEIGHT, :WIDTH] / [[[HEIGHT]], [[WIDTH]]]
  return (255 * np.stack([x, y, (x + 2 * (1 - y)) / 3], -1)).astype(np.uint8)


RGB = _picture()
GRAY = np.repeat(np.asarray(Image.fromarray(RGB).convert('L'))[..., None], 3, 2)


def save(image, kind, **options):
  """Returns the bytes of an image file."""
  file = io.BytesIO()
  if isinstance(image, np.ndarray):
    image = Image.fromarray(image)
  image.save(file, kind, **options)
  return file.getvalue()


def _animated(kind, **options):
  """Three frames, the first of which counts."""
  first, *rest = (Image.fromarray(np.roll(RGB, k, 0)) for k in range(3))
  return save(first, kind, save_all=True, append_images=rest, **options)


def _with_alpha(pixels=RGB):
  alpha = np.linspace(0, 255, pixels.shape[0] * pixels.shape[1])
  alpha = alpha.reshape(*pixels.shape[:2], 1).astype(np.uint8)
  return np.concatenate([pixels, alpha], -1)


def png(depth, color, rows, interlace=0, width=WIDTH, height=HEIGHT):
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


def bmp_rle8(pixels=RGB):
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
  return save(_stored(orientation).convert(mode), 'JPEG', quality=95,
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
_jpeg = save(RGB, 'JPEG', quality=95)
_wide = np.asarray(RGB, '>u2') * 257
_gray16 = Image.fromarray(GRAY[..., 0].astype(np.uint16) * 256 + 77)
_cmyk = 255 - np.concatenate([RGB, np.full((HEIGHT, WIDTH, 1), 255, np.uint8)], -1)

# name -> (bytes, picture, whether some is lost in coding)
GOOD = {
    'jpeg 4:4:4': (save(RGB, 'JPEG', quality=95, subsampling=0), RGB, True),
    'jpeg 4:2:2': (save(RGB, 'JPEG', quality=95, subsampling=1), RGB, True),
    'jpeg 4:2:0': (save(RGB, 'JPEG', quality=95, subsampling=2), RGB, True),
    'jpeg progressive': (save(RGB, 'JPEG', quality=95, progressive=True), RGB,
                         True),
    'jpeg optimised': (save(RGB, 'JPEG', quality=95, optimize=True), RGB, True),
    'jpeg restart markers': (save(
        RGB, 'JPEG', quality=95, restart_marker_blocks=2), RGB, True),
    'jpeg gray': (save(Image.fromarray(GRAY).convert('L'), 'JPEG', quality=95),
                  GRAY, True),
    'jpeg gray progressive': (save(Image.fromarray(GRAY).convert(
        'L'), 'JPEG', quality=95, progressive=True), GRAY, True),
    'jpeg rgb': (save(RGB, 'JPEG', quality=95, keep_rgb=True), RGB, True),
    'jpeg cmyk': (save(Image.fromarray(RGB).convert('CMYK'), 'JPEG',
                        quality=95), RGB, True),
    'jpeg ycck': (simplejpeg.encode_jpeg(
        np.ascontiguousarray(255 - _cmyk), 95, 'CMYK', '444'), RGB, True),
    'jpeg with icc profile': (save(
        RGB, 'JPEG', quality=95, icc_profile=b'not a profile'), RGB, True),
    'jpeg with comment': (save(RGB, 'JPEG', quality=95, comment=b'x' * 999),
                          RGB, True),
    'jpeg with garbage behind': (_jpeg + b'\0garbage' * 99, RGB, True),
    'jpeg with broken exif': (save(
        RGB, 'JPEG', quality=95, exif=b'Exif\0\0II*\0\xff\xff\xff\x7f'), RGB,
                              True),
    **{f'jpeg exif orientation as {kind}{plus}': (
        _exif_written(6, fmt, colors), RGB, True)
       for kind, fmt in (('short', 'H'), ('long', 'I'))
       for plus, colors in (('', 'RGB'), (', cmyk', 'CMYK'))},
    **{f'jpeg xmp orientation alone, {colors}': (_with_app1(save(
        Image.fromarray(RGB).convert(colors), 'JPEG', quality=95),
        b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="6"/>'), RGB, True)
       for colors in ('RGB', 'CMYK')},
    'jpeg exif big-endian': (_big_endian_exif(save(
        _stored(3), 'JPEG', quality=95)), RGB, True),
    'jpeg several pictures (mpo)': (_animated('MPO', quality=95), RGB,
                                    True),
    'jpeg 1x1': (save(RGB[:1, :1], 'JPEG', quality=95), RGB[:1, :1], True),
    'jpeg 1 high': (save(RGB[:1], 'JPEG', quality=95), RGB[:1], True),
    'jpeg 1 wide': (save(RGB[:, :1], 'JPEG', quality=95), RGB[:, :1], True),
    'jpeg odd size': (save(RGB[:17, :23], 'JPEG', quality=95), RGB[:17, :23],
                      True),
    'png': (save(RGB, 'PNG'), RGB, False),
    'png gray': (save(GRAY[..., 0], 'PNG'), GRAY, False),
    'png gray alpha': (save(Image.fromarray(GRAY).convert('LA'), 'PNG'), GRAY,
                       False),
    'png alpha': (save(_with_alpha(), 'PNG'), RGB, False),
    'png palette': (save(_palette, 'PNG'), _paletted, False),
    'png palette with transparency': (save(
        _palette, 'PNG', transparency=3), _paletted, False),
    'png bilevel': (save(_bilevel, 'PNG'), _bilevel_rgb, False),
    'png 16-bit gray': (save(_gray16, 'PNG'), GRAY, False),
    'png 16-bit rgb': (png(16, 2, b''.join(
        b'\0' + row.tobytes() for row in _wide)), RGB, False),
    'png interlaced': (png(8, 2, _adam7(RGB), interlace=1), RGB, False),
    'png animated': (_animated('PNG'), RGB, False),
    'png 1x1': (save(RGB[:1, :1], 'PNG'), RGB[:1, :1], False),
    'gif': (save(_palette, 'GIF'), _paletted, False),
    'gif animated': (save(
        _palette, 'GIF', save_all=True,
        append_images=[_palette.rotate(90 * k) for k in (1, 2)]), _paletted,
                     False),
    'gif not interlaced': (save(_palette, 'GIF', interlace=0), _paletted,
                           False),
    'gif gray': (save(GRAY[..., 0], 'GIF'), GRAY, False),
    'bmp': (save(RGB, 'BMP'), RGB, False),
    'bmp 32-bit': (save(_with_alpha(), 'BMP'), RGB, False),
    'bmp gray': (save(GRAY[..., 0], 'BMP'), GRAY, False),
    'bmp palette': (save(_palette, 'BMP'), _paletted, False),
    'bmp bilevel': (save(_bilevel, 'BMP'), _bilevel_rgb, False),
    'bmp run-length encoded': (bmp_rle8(), _paletted, False),
    'webp': (save(RGB, 'WEBP', quality=95), RGB, True),
    'webp lossless': (save(RGB, 'WEBP', lossless=True), RGB, False),
    'webp alpha': (save(_with_alpha(), 'WEBP', lossless=True, exact=True), RGB,
                   False),
    'webp animated': (_animated('WEBP', lossless=True), RGB, False),
    'tiff': (save(RGB, 'TIFF'), RGB, False),
    'tiff lzw': (save(RGB, 'TIFF', compression='tiff_lzw'), RGB, False),
    'tiff deflate': (save(RGB, 'TIFF', compression='tiff_adobe_deflate'), RGB,
                     False),
    'tiff gray': (save(GRAY[..., 0], 'TIFF'), GRAY, False),
    'tiff 16-bit gray': (save(_gray16, 'TIFF'), GRAY, False),
    'tiff 16-bit gray in 32 bits': (
        save(np.asarray(_gray16).astype(np.int32), 'TIFF'), GRAY, False),
    'tiff cmyk': (save(Image.fromarray(RGB).convert('CMYK'), 'TIFF'), RGB,
                  True),
    'tiff several pages': (_animated('TIFF'), RGB, False),
} | {
    f'{kind} exif orientation {k}': (
        save(_stored(k), kind.upper(), **_exif(k, **options)), RGB, lossy)
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
    'icon': (save(RGB, 'ICO', sizes=[(16, 16)]), 'not an image'),
    'zip': (b'PK\3\4' + bytes(60), 'not an image'),
    'jpeg header only': (_jpeg[:20], 'truncated|damaged|not an image'),
    'png header only': (GOOD['png'][0][:33], 'truncated|damaged|not an image'),
    'jpeg of 65000 x 65000 pixels, it says': (_lying_jpeg(), 'too large'),
    'png of 100000 x 100000 pixels, it says': (_lying_png(), 'too large'),
    'png of 1 x 80000000 pixels, it says': (
        png(8, 2, b'', width=1, height=80_000_000), 'too large.* a side'),
    'png of 8 bytes a pixel, 7000 x 7000, it says': (
        png(16, 6, b'', width=7000, height=7000), 'too large.* 40,000,000'),
    'cmyk in scans of 7000 x 7000 pixels, it says': (_lying_jpeg(save(
        Image.fromarray(RGB).convert('CMYK'), 'JPEG', progressive=True), 7000),
                                                     'too large.* 40,000,000'),
    'bmp in runs of 3000 x 3000 pixels, it says': (
        _lying_bmp(), 'too large.* 5,000,000'),
    'png with flipped bytes': (_flipped(GOOD['png'][0]), 'damaged|truncated'),
    'tiff of floats': (save(Image.fromarray(
        GRAY[..., 0].astype(np.float32)), 'TIFF'), 'not an image'),
    'tiff of 32-bit integers': (save(Image.fromarray(
        GRAY[..., 0].astype(np.int32) * 70_000), 'TIFF'), 'not an image of 8 or 16'),
    'tiff of negative integers': (save(Image.fromarray(
        GRAY[..., 0].astype(np.int32) - 300), 'TIFF'), 'not an image of 8 or 16'),
} | {
    f'{name} cut at {share:.0%}': (GOOD[name][0][:int(share * len(
        GOOD[name][0]))], 'truncated|damaged|not an image|empty')
    for name in ('jpeg 4:2:0', 'jpeg progressive', 'png', 'gif', 'webp', 'bmp',
                 'tiff')
    for share in (0.02, 0.5, 0.85)
}
