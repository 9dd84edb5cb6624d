"""Pillow's part of decoding; formats and odd files are in test_decode*.py."""

import io

import numpy as np
from PIL import Image
import pytest

from byol_jax.data.images import pillow
from byol_jax.data.images import reading


def _save(kind, image, **options):
  file = io.BytesIO()
  image.save(file, kind, **options)
  return file.getvalue()


@pytest.mark.parametrize('data, expected', [
    (_save('PNG', Image.new('RGBA', (5, 4))), ('PNG', (5, 4), False, True, 4, False)),
    (_save('JPEG', Image.new('L', (5, 4))), ('JPEG', (5, 4), False, False, 1, False)),
    (_save('PNG', Image.new('I;16', (5, 4))), ('PNG', (5, 4), True, False, 1, False)),
    (_save('TIFF', Image.new('RGB', (5, 4)), save_all=True,
           append_images=[Image.new('RGB', (5, 4))]),
     ('TIFF', (5, 4), False, False, 3, True)),
    (b'no image', None)])
def test_headers(data, expected):
  assert pillow.header(data) == expected
  assert pillow.promised_pixels(data) == (expected is not None and 20)


def test_the_largest_number():
  deep = Image.fromarray(np.array([[3, 4095]], np.uint16))
  assert pillow.extremes(_save('PNG', deep))[1] == 4095
  assert pillow.extremes(_save('PNG', Image.new('RGB', (2, 2), (9, 9, 9)))) == (0, 0)


def test_an_image_that_is_open_stays_as_it_is(tmp_path):
  path = tmp_path / 'a.png'
  path.write_bytes(_save('PNG', Image.effect_noise((9, 9), 90)))
  with Image.open(path) as image:
    image.getexif()[274] = 3
    assert pillow.of_image(image, reading.DEFAULT).shape == (9, 9, 3)
    assert image.getexif()[274] == 3
  with pytest.raises(reading.BadImage, match='too large.*data.max_pixels'):
    pillow.of_image(image, reading.Reading(max_pixels=80))
  path.write_bytes(path.read_bytes()[:90])
  with Image.open(path) as image, pytest.raises(reading.BadImage, match='damaged'):
    pillow.of_image(image, reading.DEFAULT)
