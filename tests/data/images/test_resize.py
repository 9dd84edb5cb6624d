"""Cutting and resizing against a bicubic resize written down in numpy."""

import numpy as np
import pytest

from byol_jax.data.images import resize


def _matrix(size, new):
  """Keys' kernel, a = -1/2, pixel centres at halves, weights outside dropped."""
  position = (np.arange(new)[:, None] + 0.5) * size / new - 0.5
  d = np.abs(position - np.arange(size)[None])
  weight = np.where(d <= 1, 1.5 * d**3 - 2.5 * d**2 + 1,
                    np.where(d < 2, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2, 0))
  return weight / weight.sum(1, keepdims=True)


@pytest.mark.parametrize('box, new', [
    ((0, 0, 9, 14), 7), ((2, 3, 5, 8), 16), ((8, 13, 1, 1), 4), ((0, 2, 9, 1), 5),
    ((4, 0, 2, 14), 1)])
def test_equals_numpy(box, new):
  image = np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)
  top, left, height, width = box
  expected = np.einsum('ih,jw,hwc->ijc', _matrix(height, new), _matrix(width, new),
                       image[top:top + height, left:left + width].astype(float))
  out = np.empty((new, new, 3), np.uint8)
  resize.cut(image, box, out)
  assert np.abs(out - np.clip(expected, 0, 255)).max() <= 0.501  # rounding


def test_nothing_outside_of_the_box_shows():
  image = np.full((20, 20, 3), 255, np.uint8)
  image[5:12, 6:13] = 40
  out = np.empty((16, 16, 3), np.uint8)
  resize.cut(image, (5, 6, 7, 7), out)
  assert (out == 40).all()
