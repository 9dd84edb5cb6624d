"""What is odd about an image."""

import io

import numpy as np
from PIL import Image
import pytest

from byol_jax.data.images import look


def encoded(pixels, kind='PNG', **options):
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, kind, **options)
  return file.getvalue()


NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)


@pytest.mark.parametrize('pixels, odd', [
    (NOISE, ()), (np.full((40, 60, 3), 99, np.uint8), ('constant',)),
    (NOISE // 20, ('dark',)), (250 + NOISE // 60, ('constant',)),
    (235 + NOISE // 13, ('nearly white',)), (np.tile(NOISE, (10, 1, 1)), ('one side',)),
    (np.dstack([NOISE, NOISE[..., :1]]), ('transparent',))])
def test_odd_files(pixels, odd):
  found = look.at_file(encoded(pixels))
  assert found.format == 'PNG' and found.size == pixels.shape[1::-1]
  assert len(found.odd) == len(odd)
  assert all(said.startswith(word) for said, word in zip(found.odd, odd))


def test_equal_bytes_have_equal_digests():
  data = encoded(NOISE, 'JPEG')
  assert look.at_file(data) == look.at_file(data)
  assert look.at_file(data).digest != look.at_file(encoded(NOISE)).digest


def test_no_image_and_pixels():
  found = look.at_file(b'GIF89a no')
  assert found.format == '' and found.odd[0].startswith('bad: ')
  assert look.at_pixels(NOISE).format == 'pixels'
