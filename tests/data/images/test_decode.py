"""Decoding against Pillow, resizing against numpy, and bytes that are no picture."""

import io
import os
import shutil
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest

from byol_jax.data.images import crops
from byol_jax.data.images import decode
from byol_jax.data.images import reading
from byol_jax.data.images import resize


def _image(height=41, width=57):
  """A smooth picture with some edges."""
  rng = np.random.default_rng(0)
  pixels = np.cumsum(np.cumsum(rng.normal(size=(height, width, 3)), 0), 1)
  return Image.fromarray(np.clip(pixels * 4 + 128, 0, 255).astype(np.uint8))


def _encode(image, kind, **options):
  file = io.BytesIO()
  image.save(file, kind, **options)
  return file.getvalue()


def _two_views(data, u, size, **options):
  out = np.empty((2, size, size, 3), np.uint8)
  decode.decode_views(data, u, out, crops.CropSpec(size, **options))
  return out


def _eval(data, size, **options):
  out = np.empty((size, size, 3), np.uint8)
  decode.decode_eval(data, out, **options)
  return out


def _bicubic_matrix(size, new):
  """Keys' kernel, a = -1/2, pixel centres at halves, weights outside dropped."""
  position = (np.arange(new)[:, None] + 0.5) * size / new - 0.5
  d = np.abs(position - np.arange(size)[None])
  weight = np.where(d <= 1, 1.5 * d**3 - 2.5 * d**2 + 1,
                    np.where(d < 2, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2, 0))
  return weight / weight.sum(1, keepdims=True)


def _bicubic(pixels, new):
  rows = _bicubic_matrix(pixels.shape[0], new)
  columns = _bicubic_matrix(pixels.shape[1], new)
  result = np.einsum('ih,jw,hwc->ijc', rows, columns, pixels.astype(float))
  return np.clip(result, 0, 255)


@pytest.mark.parametrize('kind', ['PNG', 'JPEG'])
def test_two_views(kind):
  data = _encode(_image(), kind)
  pixels = decode.decode(data)
  for draws in np.random.default_rng(3).random((20, 2, 4)):
    views = _two_views(data, draws, 24)
    for view, top, left, h, w in zip(views, *crops.crop_box(draws, 41, 57)):
      expected = _bicubic(pixels[top:top + h, left:left + w], 24)
      assert np.abs(view - expected).max() <= 0.501  # rounding, nothing else


def test_an_image_of_the_right_size_passes_untouched():
  image = _image(32, 32)
  u = np.zeros((2, 4))
  views = _two_views(_encode(image, 'PNG'), u, 32, area=(1, 1), aspect=(1, 1))
  np.testing.assert_array_equal(views, np.stack([np.asarray(image)] * 2))


@pytest.mark.parametrize('size', [(41, 57), (57, 41), (32, 32), (1, 9), (1, 1)])
@pytest.mark.parametrize('kind', ['PNG', 'JPEG'])
def test_eval(size, kind):
  data = _encode(_image(*size), kind)
  pixels = decode.decode(data)
  image = _eval(data, 16)
  side = max(1, int(224 / 256 * min(size)))
  top, left = ((length - side + 1) // 2 for length in size)
  expected = _bicubic(pixels[top:top + side, left:left + side], 16)
  assert np.abs(image - expected).max() <= 0.501


def test_enlarging_agrees_with_pillow():
  """When enlarging, antialiasing changes nothing: Pillow does the same."""
  image = _image(17, 13)
  view = _two_views(_encode(image, 'PNG'), np.full((2, 4), 0.5), 64,
                    area=(1.0, 1.0), aspect=(13 / 17, 13 / 17))[0]
  expected = image.resize((64, 64), Image.Resampling.BICUBIC)
  difference = np.abs(view.astype(int) - np.asarray(expected, int))
  assert difference.max() <= 2 and (difference <= 1).mean() > 0.999


def test_crops_of_the_reference():
  """The same boxes as the reference's tf.data path cuts, the same pixels."""
  tf = pytest.importorskip('tensorflow')
  data = _encode(_image(300, 400), 'JPEG', quality=90)
  for draws in np.random.default_rng(5).random((10, 2, 4)):
    views = _two_views(data, draws, 64)
    for view, box in zip(views, zip(*crops.crop_box(draws, 300, 400))):
      window = tf.io.decode_and_crop_jpeg(
          data, box, channels=3, dct_method='INTEGER_ACCURATE')
      image = tf.image.resize(window, (64, 64), 'bicubic')
      expected = np.clip(image.numpy(), 0, 255)
      # TensorFlow's kernel is a table of 1024 positions, and its crops differ
      # by a little in the colour of the pixels at the edge.
      difference = np.abs(view - expected)
      assert (difference <= 1).mean() > 0.99 and difference.mean() < 0.5


# ------------------------------------------------------- what is no picture
@pytest.mark.parametrize('data, why', [
    (b'', 'empty'),
    (b'hello, world', 'not an image'),
    (b'\x1f\x8b' + b'\0' * 60, 'not an image'),
    (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'not an image'),
    (b'\xff\xd8\xff', 'damaged|not an image|truncated'),
    (b'BM', 'damaged|not an image'),
    (b'RIFF\0\0\0\0WEBPVP8X', 'damaged|not an image'),
])
def test_other_bytes(data, why):
  with pytest.raises(decode.BadImage, match=why):
    decode.decode(data)


@pytest.mark.parametrize('share', [0.1, 0.5, 0.9])
@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'GIF', 'WEBP', 'BMP', 'TIFF'])
def test_cut_short(kind, share):
  data = _encode(_image(200, 200), kind)
  with pytest.raises(decode.BadImage):
    decode.decode(data[:int(share * len(data))])


def test_a_header_that_lies():
  data = bytearray(_encode(_image(), 'JPEG'))
  frame = data.index(b'\xff\xc0')  # start of frame: height and width
  data[frame + 5:frame + 9] = b'\xfd\xe8\xfd\xe8'
  with pytest.raises(decode.BadImage, match='too large: 65000 x 65000'):
    decode.decode(bytes(data))


def test_bad_bytes_leave_the_batch_as_it_was():
  out = np.full((2, 8, 8, 3), 7, np.uint8)
  with pytest.raises(decode.BadImage):
    decode.decode_views(_encode(_image(), 'JPEG')[:300], np.ones((2, 4)) / 2,
                        out, crops.CropSpec(8))
  assert (out == 7).all()


def test_the_memory_of_large_images_goes_back(monkeypatch):
  given = []
  monkeypatch.setattr(reading.memory, 'give_back', lambda: given.append(None))
  monkeypatch.setattr(reading, '_LARGE', 41 * 57 - 1)
  for kind in ('JPEG', 'PNG'):
    decode.decode(_encode(_image(40, 57), kind))
    assert not given
    decode.decode(_encode(_image(41, 57), kind))
    assert given.pop() is None


# ---------------------------------------------------------------- the compiler
def test_an_installation_that_cannot_be_written_to(tmp_path):
  """Nowhere to keep what was compiled: it is compiled each time."""
  shutil.copy(resize.__file__, tmp_path / 'resize.py')
  (tmp_path / '__pycache__').write_text('a file, so root cannot write below it')
  nowhere = str(tmp_path / '__pycache__')
  environment = {name: value for name, value in os.environ.items()
                 if not name.startswith('NUMBA')}
  code = ('import numpy as np, resize; out = np.zeros((4, 4, 3), np.uint8); '
          'resize.cut(np.full((6, 5, 3), 7, np.uint8), (1, 1, 3, 3), out); '
          'assert (out == 7).all()')
  subprocess.run(
      [sys.executable, '-B', '-c', code], check=True, cwd=tmp_path,
      env=environment | {'HOME': nowhere, 'XDG_CACHE_HOME': nowhere,
                         'LOCALAPPDATA': nowhere})
