"""Decoding against PIL, resizing against numpy."""

import io

import numpy as np
import pytest

from byol_jax.data import crops

pytest.importorskip('tensorflow')
Image = pytest.importorskip('PIL.Image')

from byol_jax.data import decode  # pylint: disable=g-import-not-at-top


def _image(height=41, width=57):
  """A smooth picture with some edges."""
  rng = np.random.default_rng(0)
  pixels = np.cumsum(np.cumsum(rng.normal(size=(height, width, 3)), 0), 1)
  return Image.fromarray(np.clip(pixels * 4 + 128, 0, 255).astype(np.uint8))


def _encode(image, kind, **options):
  file = io.BytesIO()
  image.save(file, kind, **options)
  return file.getvalue()


def _with_alpha(image):
  alpha = np.random.default_rng(1).integers(
      0, 256, image.size[::-1] + (1,), dtype=np.uint8)
  return Image.fromarray(np.concatenate([np.asarray(image), alpha], -1))


_CASES = {
    'jpeg': lambda i: _encode(i, 'JPEG'),
    'progressive': lambda i: _encode(i, 'JPEG', progressive=True),
    'gray jpeg': lambda i: _encode(i.convert('L'), 'JPEG'),
    'cmyk jpeg': lambda i: _encode(i.convert('CMYK'), 'JPEG'),
    'png': lambda i: _encode(i, 'PNG'),
    'gray png': lambda i: _encode(i.convert('L'), 'PNG'),
    'gray alpha png': lambda i: _encode(i.convert('LA'), 'PNG'),
    'alpha png': lambda i: _encode(_with_alpha(i), 'PNG'),
    'palette png': lambda i: _encode(
        i.convert('P', palette=Image.Palette.ADAPTIVE), 'PNG'),
    'bilevel png': lambda i: _encode(i.convert('1'), 'PNG'),
    'gif': lambda i: _encode(i, 'GIF'),
    'animated gif': lambda i: _encode(
        i, 'GIF', save_all=True, append_images=[i.rotate(90), i.rotate(180)]),
    'bmp': lambda i: _encode(i, 'BMP'),
    'gray bmp': lambda i: _encode(i.convert('L'), 'BMP'),
    'alpha bmp': lambda i: _encode(_with_alpha(i), 'BMP'),
    'webp': lambda i: _encode(i, 'WEBP'),
    'alpha webp': lambda i: _encode(
        _with_alpha(i), 'WEBP', lossless=True, exact=True),
}


@pytest.mark.parametrize('case', _CASES)
def test_equals_pil(case):
  data = _CASES[case](_image())
  expected = np.asarray(Image.open(io.BytesIO(data)).convert('RGB'), int)
  pixels = decode.decode_image(data).numpy().astype(int)
  assert pixels.shape == expected.shape
  # Other versions of the JPEG and WebP libraries may round otherwise.
  tolerance = 2 if 'jpeg' in case or case in ('progressive', 'webp') else 0
  assert np.abs(pixels - expected).max() <= tolerance


def test_16_bit_png_keeps_the_upper_8():
  gray = np.asarray(_image().convert('L'))
  data = _encode(Image.fromarray(gray.astype(np.uint16) * 256 + 77), 'PNG')
  np.testing.assert_array_equal(
      decode.decode_image(data).numpy(), np.stack([gray] * 3, -1))


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
  return np.clip(np.round(result), 0, 255).astype(int)


@pytest.mark.parametrize('kind', ['PNG', 'JPEG'])
def test_two_views(kind):
  data = _encode(_image(), kind)
  pixels = np.asarray(Image.open(io.BytesIO(data)), int)
  u = np.random.default_rng(3).random((6, 2, 4))
  for draws in u:
    views = decode.decode_two_views(data, draws, 24).numpy()
    assert views.shape == (2, 24, 24, 3) and views.dtype == np.uint8
    for view, top, left, h, w in zip(views, *crops.crop_box(draws, 41, 57)):
      expected = _bicubic(pixels[top:top + h, left:left + w], 24)
      # 1 for rounding: TensorFlow's kernel is a table of 1024 positions.
      assert np.abs(view.astype(int) - expected).max() <= 1 + (kind == 'JPEG') * 2
  narrow = decode.decode_two_views(
      data, u[0], 24, area=(1.0, 1.0), aspect=(1.0, 1.0)).numpy()
  assert (narrow[0, :, :, 0].std() > 0) and narrow.shape == (2, 24, 24, 3)


def test_enlarging_agrees_with_pil():
  """When enlarging, antialiasing changes nothing: PIL does the same."""
  image = _image(17, 13)
  u = np.array([[1.0, 0.5, 0, 0]] * 2)
  views = decode.decode_two_views(
      _encode(image, 'PNG'), u, 64, area=(1.0, 1.0), aspect=(0.1, 10)).numpy()
  _, _, h, w = (int(side[0]) for side in crops.crop_box(
      u, 17, 13, (1.0, 1.0), (0.1, 10)))
  expected = image.crop((0, 0, w, h)).resize((64, 64), Image.Resampling.BICUBIC)
  difference = np.abs(views[0].astype(int) - np.asarray(expected, int))
  assert difference.max() <= 2 and (difference <= 1).mean() > 0.999


@pytest.mark.parametrize('size', [(41, 57), (57, 41), (32, 32), (1, 9), (1, 1)])
@pytest.mark.parametrize('kind', ['PNG', 'JPEG'])
def test_eval(size, kind):
  data = _encode(_image(*size), kind)
  pixels = np.asarray(Image.open(io.BytesIO(data)), int)
  image = decode.decode_eval(data, 16).numpy()
  assert image.shape == (16, 16, 3) and image.dtype == np.uint8
  side = max(1, int(224 / 256 * min(size)))
  top, left = ((length - side + 1) // 2 for length in size)
  expected = _bicubic(pixels[top:top + side, left:left + side], 16)
  assert np.abs(image.astype(int) - expected).max() <= 1 + (kind == 'JPEG') * 2


@pytest.mark.parametrize('share', [0.0, 0.1, 0.5])
@pytest.mark.parametrize('kind', ['PNG', 'JPEG'])
def test_damaged_raises(kind, share):
  import tensorflow as tf  # pylint: disable=g-import-not-at-top
  data = _encode(_image(200, 200), kind)
  with pytest.raises(tf.errors.InvalidArgumentError):
    decode.decode_eval(data[:3 + int(share * len(data))], 16)
