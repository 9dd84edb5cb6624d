"""Crops against numpy: sixteen weights a pixel for the bicubic resize."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.data.images import crops
from byol_jax.views import crop as crop_lib

BOXES = np.array([  # top, left, height, width; up, down, uneven, one pixel
    (0, 0, 13, 10), (2, 3, 7, 5), (5, 0, 8, 3), (12, 9, 1, 1), (0, 1, 2, 9)])


def _cubic(x):
  """Keys' kernel with a = -1/2."""
  x, a = abs(x), -0.5
  if x <= 1:
    return (a + 2) * x**3 - (a + 3) * x**2 + 1
  if x < 2:
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
  return 0.0


def _bicubic(image, size):
  """Resizes [h, w, C] to [size, size, C]: the 4 x 4 nearest pixels that exist."""
  height, width = image.shape[:2]
  def neighbours(i, side):
    centre = (i + 0.5) * side / size - 0.5
    pixels = [p for p in range(math.floor(centre) - 1, math.floor(centre) + 3)
              if 0 <= p < side]
    weights = [_cubic(centre - p) for p in pixels]
    return [(p, w / sum(weights)) for p, w in zip(pixels, weights)]
  out = np.zeros((size, size, image.shape[2]))
  for i, j in np.ndindex(size, size):
    for (y, wy), (x, wx) in itertools.product(neighbours(i, height),
                                              neighbours(j, width)):
      out[i, j] += wy * wx * image[y, x]
  return np.clip(out, 0, 1)


def _stack(planes):
  return np.stack([np.asarray(p) for p in planes], -1)


def _uint8(n, height, width, channels=3, seed=0):
  return np.random.default_rng(seed).integers(
      0, 256, (n, height, width, channels)).astype(np.uint8)


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('size', [6, 16])
def test_crop_and_resize(size, channels, x64):
  images = _uint8(len(BOXES), 13, 10, channels)
  expected = np.stack([
      _bicubic(image[t:t + h, l:l + w] / 255., size)
      for image, (t, l, h, w) in zip(images, BOXES)])
  if channels == 1:
    expected = np.repeat(expected, 3, -1)
  out = crop_lib.crop_and_resize(images, *jnp.asarray(BOXES.T), size)
  # float64 weights of pixels that were rounded to float32
  np.testing.assert_allclose(_stack(out), expected, atol=5e-7)


def test_crop_and_resize_in_float32():
  images = _uint8(len(BOXES), 13, 10)
  expected = np.stack([
      _bicubic(image[t:t + h, l:l + w] / 255., 8)
      for image, (t, l, h, w) in zip(images, BOXES)])
  out = crop_lib.crop_and_resize(images, *jnp.asarray(BOXES.T, jnp.int32), 8)
  assert out[0].dtype == jnp.float32
  np.testing.assert_allclose(_stack(out), expected, atol=1e-5)


@pytest.mark.parametrize('box', [(0, 0, 13, 10), (2, 3, 7, 5), (1, 2, 11, 8)])
def test_crop_and_resize_equals_jax_image(box):
  """Also down: no antialiasing, as in the reference."""
  top, left, height, width = box
  images = _uint8(1, 13, 10)
  cropped = images[:, top:top + height, left:left + width] / np.float32(255)
  expected = jax.image.resize(cropped, (1, 9, 9, 3), 'cubic', antialias=False)
  out = crop_lib.crop_and_resize(images, *jnp.asarray(box)[:, None], 9)
  np.testing.assert_allclose(_stack(out), np.clip(expected, 0, 1), atol=2e-6)
  # inside of a crop, where no weight falls outside, scaling the whole image
  # about the crop is the same thing
  scale = np.float32([9 / height, 9 / width])
  whole = jax.image.scale_and_translate(
      images[0] / np.float32(255), (9, 9, 3), (0, 1), scale,
      -np.float32([top, left]) * scale, 'cubic', antialias=False)
  inner = slice(3, 6)
  np.testing.assert_allclose(_stack(out)[0, inner, inner],
                             np.clip(whole, 0, 1)[inner, inner], atol=1e-5)


def test_random_resized_crop_takes_the_box_of_its_draws():
  images = _uint8(6, 17, 23)
  u = np.random.default_rng(1).random((6, 4)).astype(np.float32)
  out = crop_lib.random_resized_crop(images, jnp.asarray(u), 8, (0.3, 0.9))
  boxes = np.stack(crops.crop_box(u, 17, 23, (0.3, 0.9)), -1)
  expected = np.stack([_bicubic(x[t:t + h, l:l + w] / 255., 8)
                       for x, (t, l, h, w) in zip(images, boxes)])
  np.testing.assert_allclose(_stack(out), expected, atol=1e-5)
