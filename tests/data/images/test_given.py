"""What programs pass as images becomes pixels, or is refused with what to give."""

import io
import pathlib

import numpy as np
from PIL import Image
import pytest

from byol_jax.data.images import decode
from byol_jax.data.images import given

_RGB = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
_GRAY = np.repeat(_RGB[..., :1], 3, -1)


def _png(image):
  file = io.BytesIO()
  image.save(file, 'PNG')
  return file.getvalue()


def _read(path):
  return {'a.png': _png(Image.fromarray(_RGB))}[path]


def _turned():
  image = Image.fromarray(np.ascontiguousarray(np.rot90(_RGB)))  # anticlockwise
  image.getexif()[274] = 6
  return image


class _Tensor:
  """An array of another library."""

  def __array__(self, dtype=None, copy=None):
    return _RGB


def _elsewhere(self, dtype=None, copy=None):
  raise TypeError('use .cpu()')


@pytest.mark.parametrize('item, expected', [
    ('a.png', _RGB), (pathlib.Path('a.png'), _RGB), (_png(Image.fromarray(_RGB)), _RGB),
    pytest.param(io.BytesIO(_png(Image.fromarray(_RGB))), _RGB, id='file'),
    pytest.param({'bytes': _png(Image.fromarray(_RGB))}, _RGB, id='row of a table'),
    pytest.param({'bytes': None, 'path': 'a.png'}, _RGB, id='row with a path'),
    (bytearray(_png(Image.fromarray(_RGB))), _RGB), (Image.fromarray(_RGB), _RGB),
    (Image.fromarray(_RGB[..., 0]), _GRAY), (_turned(), _RGB), (_RGB, _RGB),
    (_Tensor(), _RGB), (_RGB[..., 0], _GRAY), (_RGB[..., :1], _GRAY),
    (np.dstack([_RGB, _RGB[..., 0]]), _RGB), (_RGB / 255, _RGB),
    ((_RGB / 255).astype(np.float32), _RGB), (_RGB.astype(np.int64), _RGB),
    (_RGB[..., 0] > 127, (_GRAY > 127) * np.uint8(255))])
def test_pixels(item, expected):
  pixels = given.pixels(item, decode.DEFAULT, _read)
  assert pixels.dtype == np.uint8
  np.testing.assert_array_equal(pixels, expected)


def test_transparency_is_as_in_pretraining():
  rgba = np.dstack([_RGB, np.zeros_like(_RGB[..., 0])])
  how = decode.Reading(background='white')
  for item in (rgba, Image.fromarray(rgba), _png(Image.fromarray(rgba))):
    assert given.pixels(item, how, _read).min() == 255
    np.testing.assert_array_equal(given.pixels(item, decode.DEFAULT, _read), _RGB)


@pytest.mark.parametrize('item, said', [
    (np.moveaxis(_RGB, -1, 0), 'channels come last'), (_RGB * 1.0, 'from 0 to 255'),
    ((_RGB / 255 - 0.45) / 0.225, 'before they are normalized'),
    (np.full((4, 4, 3), np.nan), 'floats from nan'),
    (_RGB.astype(np.uint16) * 257, 'uint16 from 0 to 65535'), (_RGB * 1j, 'complex128'),
    (_RGB[..., :2], 'give the path'), (_RGB[0, 0], 'give the path'), (7, 'int: give'),
    (_RGB[None], r'uint8 \(1, 40, 48, 3\): give'), (__file__.encode(), 'os.fsdecode'),
    pytest.param(type('Elsewhere', (), {'__array__': _elsewhere})(),
                 'Elsewhere that is no array .*use .cpu', id='tensor')])
def test_what_is_refused(item, said):
  with pytest.raises(ValueError, match=said):
    given.pixels(item, decode.DEFAULT, _read)


def test_floats_that_were_cut_to_whole_numbers_are_told(caplog):
  given.of_array((_RGB / 255).astype(np.uint8) | np.uint8(1), decode.DEFAULT)
  assert '255 is white' in caplog.text
  caplog.clear()
  given.of_array(np.zeros((4, 4, 3), np.uint8), decode.DEFAULT)
  assert not caplog.text


@pytest.mark.parametrize('images, count', [
    ('a.png', 1), (b'123', 1), (Image.fromarray(_RGB), 1), (_RGB, 1), (_RGB[..., 0], 1),
    (['a', 'b'], 2), (('a', b'b', _RGB), 3), (np.array(['a', 'b']), 2),
    (np.array([pathlib.Path('a')] * 3), 3), (iter('ab'), 2), (_RGB[None], 1),
    pytest.param(io.BytesIO(b'a\nb'), 1, id='file'),
    pytest.param({'bytes': b'a', 'path': 'b'}, 1, id='row of a table'),
    (np.zeros((5, 28, 28), np.uint8), 5), (np.zeros((9, 8, 8), np.uint8), 9), (np.zeros((0, 8, 8, 3), np.uint8), 0)])
def test_one_and_many(images, count):
  assert len(given.items(images)) == count


@pytest.mark.parametrize('images', [None, 3, np.uint8(3), {'a': 1}])
def test_no_images(images):  # of a dictionary without bytes, too
  with pytest.raises(ValueError, match='give the path'):
    given.items(images)


@pytest.mark.parametrize('shape', [
    (3, 40, 48), (40, 48, 2), (40, 48, 13), (2, 2, 3)])
def test_one_picture_is_not_taken_for_several(shape):
  with pytest.raises(ValueError, match='may be one picture or several gray ones'):
    given.items(np.zeros(shape, np.uint8))


@pytest.mark.parametrize('item, said', [
    ('https://x.org/a.jpg', 'download it'), ('gs://x/a.jpg', 'download it'),
    (None, 'no image'), (_RGB[:0], 'empty'), (Image.new('RGB', (0, 5)), 'empty')])
def test_what_may_be_left_out(item, said):
  with pytest.raises(decode.BadImage, match=said):
    given.pixels(item, decode.DEFAULT, _read)
