"""Small pictures: their size, and their place on a sheet."""

import io

import numpy as np
from PIL import Image
import pytest

from byol_jax.data.images import thumbnail


@pytest.mark.parametrize('shape, size', [
    ((100, 50, 3), (20, 40)), ((10, 12, 1), (12, 10)), ((1, 400, 3), (40, 1))])
def test_jpeg(shape, size):
  pixels = np.full(shape, 200, np.uint8)
  image = Image.open(io.BytesIO(thumbnail.jpeg(pixels, 40)))
  assert image.size == size
  assert abs(np.asarray(image).astype(int) - 200).max() <= 2


def test_sheet():
  pictures = [np.full((30, 20, 1), 250, np.uint8), None,
              np.full((8, 8, 3), (255, 0, 0), np.uint8)]
  whole = np.asarray(Image.open(io.BytesIO(thumbnail.sheet(pictures, 16, 2))))
  assert whole.shape == (32, 32, 3)
  for place, colour in (((8, 8), (250,) * 3), ((8, 24), (128,) * 3),
                        ((24, 8), (255, 0, 0))):
    assert abs(whole[place].astype(int) - colour).max() <= 12
