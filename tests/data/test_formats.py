"""Which bytes may reach the decoder."""

import io

import numpy as np
import pytest

from byol_jax.data import formats

Image = pytest.importorskip('PIL.Image')


def _encode(image, kind, **options):
  file = io.BytesIO()
  image.save(file, kind, **options)
  return file.getvalue()


def _image():
  pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
  return Image.fromarray(pixels)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'GIF', 'BMP', 'WEBP'])
def test_images_pass(kind):
  assert formats.problem(_encode(_image(), kind)) is None


def test_gray_and_alpha_bmp_pass():
  assert formats.problem(_encode(_image().convert('L'), 'BMP')) is None
  assert formats.problem(_encode(_image().convert('RGBA'), 'BMP')) is None


@pytest.mark.parametrize('data, said', [
    (b'', 'is empty'),
    (b'hello, world', 'is not a JPEG'),
    (b'\x1f\x8b' + b'\0' * 60, 'is not a JPEG'),
    (b'BM', 'damaged'),
    (b'RIFF\0\0\0\0WAVEfmt ', 'is not a JPEG'),
    (b'RIFF\0\0\0\0WEBPVP8X', 'animated'),
])
def test_other_bytes_do_not(data, said):
  assert said in formats.problem(data)


def test_what_tensorflow_takes_wrongly_does_not():
  image = _image()
  frames = [image.rotate(90 * k) for k in range(3)]
  animated = _encode(
      frames[0], 'WEBP', save_all=True, append_images=frames[1:])
  assert 'animated' in formats.problem(animated)
  palette = image.convert('P', palette=Image.Palette.ADAPTIVE)
  assert 'palette' in formats.problem(_encode(palette, 'BMP'))
  assert 'bits' in formats.problem(_encode(image.convert('1'), 'BMP'))
