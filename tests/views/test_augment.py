"""Every augmentation against numpy written from the paper's appendix B.

The references below work on one image [H, W, 3] of float64, in the most literal
way: colorsys one pixel at a time, loops for the convolution. In float64 the code agrees to 1e-9 and better; in
float32, as it runs, to 2e-6 an operation.
"""

import colorsys
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.views import augment
from byol_jax.views import crop as crop_lib
from byol_jax.views import draws as draws_lib
from byol_jax.views import planes as planes_lib
from byol_jax.views import recipes

NEUTRAL = recipes.Recipe(
    flip=0, jitter=0, brightness=0, contrast=0, saturation=0, hue=0,
    grayscale=0, blur=0, solarize=0)
CLOSE64 = dict(rtol=0, atol=1e-9)
CLOSE32 = dict(rtol=0, atol=2e-6)


# --------------------------------------------------------------- references
def _brightness(image, delta):
  return np.clip(image + delta, 0, 1)


def _contrast(image, factor):
  mean = image.mean((0, 1))
  return np.clip((image - mean) * factor + mean, 0, 1)


def _in_hsv(change, image):
  """Applies change(h, s, v) -> (h, s, v) to each pixel."""
  out = np.empty_like(image)
  for i, j in np.ndindex(*image.shape[:2]):
    hsv = colorsys.rgb_to_hsv(*(float(x) for x in image[i, j]))
    out[i, j] = colorsys.hsv_to_rgb(*change(*hsv))
  return np.clip(out, 0, 1)


def _saturation(image, factor):
  return _in_hsv(lambda h, s, v: (h, min(max(s * factor, 0.), 1.), v), image)


def _hue(image, delta):
  return _in_hsv(lambda h, s, v: ((h + delta) % 1., s, v), image)


JITTER = (_brightness, _contrast, _saturation, _hue)


def _jitter(image, order, strengths):
  """The four operations in `order`; strengths are deltas around neutral."""
  for which in order:
    neutral = 1 if JITTER[which] in (_contrast, _saturation) else 0
    image = JITTER[which](image, neutral + strengths[which])
  return image


def _grayscale(image):
  gray = (0.2989 * image[..., 0] + 0.5870 * image[..., 1]
          + 0.1140 * image[..., 2])
  return np.repeat(gray[..., None], 3, -1)


def _blur(image, sigma):
  """Horizontally, then vertically; zeros beyond the border."""
  height, width = image.shape[:2]
  radius = int((height / 10) / 2)
  taps = [math.exp(-x * x / (2 * sigma * sigma))
          for x in range(-radius, radius + 1)]
  taps = [t / sum(taps) for t in taps]
  across = np.zeros_like(image)
  for i, j in np.ndindex(height, width):
    for k, tap in enumerate(taps):
      if 0 <= j + k - radius < width:
        across[i, j] += tap * image[i, j + k - radius]
  out = np.zeros_like(image)
  for i, j in np.ndindex(height, width):
    for k, tap in enumerate(taps):
      if 0 <= i + k - radius < height:
        out[i, j] += tap * across[i + k - radius, j]
  return out


def _solarize(image):
  out = image.copy()
  for index in np.ndindex(*image.shape):
    if not image[index] < 0.5:
      out[index] = 1 - image[index]
  return out


# ------------------------------------------------------------------ helpers
def _images(n=3, height=6, width=8, seed=0):
  """Random images in [0, 1], with the awkward colours in the first row."""
  images = np.random.default_rng(seed).random((n, height, width, 3))
  awkward = [(0, 0, 0), (1, 1, 1), (.5, .5, .5), (1, 0, 0), (0, 1, 1),
             (.7, .7, .2), (.1, .6, .6), (.3, .2, .3)]
  images[:, 0, :8] = np.array(awkward)[:width]
  return images


def _planes(images, dtype=None):
  images = jnp.asarray(images, dtype or jnp.result_type(float))
  return tuple(images[..., i] for i in range(3))


def _stack(planes):
  return np.stack([np.asarray(p) for p in planes], -1)


def _draws(n, **given):
  """Draws of 0.5 where nothing else is given: neutral, and nothing happens."""
  shapes = dict.fromkeys(draws_lib.Draws._fields, (n,)) | dict(
      crop=(n, 4), order=(n, 4), strength=(n, 4))
  values = {name: jnp.full(shape, 0.5) for name, shape in shapes.items()}
  return draws_lib.Draws(**values | {k: jnp.asarray(v) for k, v in given.items()})


def _check(ours, reference, images, *amounts):
  """ours(planes, *amounts) against reference(image, *amounts), both dtypes."""
  expected = np.stack([reference(*one) for one in zip(images, *amounts)])
  for dtype, tolerance in ((jnp.float64, CLOSE64), (jnp.float32, CLOSE32)):
    out = jax.jit(ours)(_planes(images, dtype),
                        *(jnp.asarray(a, dtype) for a in amounts))
    assert all(p.dtype == dtype for p in out)
    np.testing.assert_allclose(_stack(out), expected, **tolerance)
  assert np.abs(expected - images).max() > 0.1  # the test does something


# -------------------------------------------------------- one at a time
def test_brightness(x64):
  _check(augment.adjust_brightness, _brightness, _images(), [-0.4, 0.13, 0.4])


def test_contrast(x64):
  _check(augment.adjust_contrast, _contrast, _images(), [0.6, 1.1, 1.4])


def test_saturation(x64):
  """Factors beyond the recipe's too, so that the saturation clips at 1."""
  def ours(planes, factor):
    return augment.adjust_hue_and_saturation(planes, 0 * factor, factor)
  _check(ours, _saturation, _images(4), [0.8, 1.2, 0.0, 3.0])


def test_hue(x64):
  """Turns beyond the recipe's too: each sixth of the circle, both ways."""
  turns = [-0.1, 0.1, 0.33, -0.5, 0.61, 0.97, -0.98]
  def ours(planes, delta):
    return augment.adjust_hue_and_saturation(planes, delta, 1 + 0 * delta)
  _check(ours, _hue, _images(7), turns)


def test_grayscale(x64):
  _check(augment.grayscale, _grayscale, _images())
  gray = _stack(augment.grayscale(_planes(_images())))
  np.testing.assert_array_equal(gray[..., 0], gray[..., 2])


@pytest.mark.parametrize('height, width', [(20, 20), (45, 17), (24, 50)])
def test_blur(height, width, x64):
  """Also where the image is not square: the height makes the kernel."""
  _check(augment.gaussian_blur, _blur, _images(2, height, width), [0.5, 2.0])


def test_blur_of_a_point_and_of_the_border(x64):
  point = np.zeros((1, 224, 3, 3))
  point[0, 112, 1] = 1
  sigma = jnp.array([2.0])
  column = _stack(augment.gaussian_blur(_planes(point), sigma))[0, :, 1, 0]
  assert np.count_nonzero(column) == 23  # taps at 224 pixels (appendix B)
  # zeros beyond the border: the edge of white darkens by half a kernel
  white = _stack(augment.gaussian_blur(_planes(np.ones((1, 224, 224, 3))), sigma))
  assert white[0, 112, 112, 0] == pytest.approx(1)
  assert 0.5 < white[0, 112, 0, 0] < 0.7
  assert white[0, 0, 0, 0] == pytest.approx(white[0, 112, 0, 0]**2)
  # sigma at its least, and images too small for a kernel, change nothing
  image = _images(1, 40, 40)
  np.testing.assert_allclose(
      _stack(augment.gaussian_blur(_planes(image), jnp.array([0.1]))), image,
      atol=1e-9)
  image = _images(1, 19, 40)
  np.testing.assert_allclose(
      _stack(augment.gaussian_blur(_planes(image), sigma)), image, atol=1e-12)


def test_solarize(x64):
  images = _images()
  images[0, 1, 0] = (0.5, np.nextafter(0.5, 0), 0.5)
  expected = np.stack([_solarize(x) for x in images])
  np.testing.assert_array_equal(
      _stack(augment.solarize(_planes(images))), expected)
  assert tuple(expected[0, 1, 0]) == (0.5, np.nextafter(0.5, 0), 0.5)


def test_flip():
  images = _images().astype(np.float32)
  out = augment.augment(_planes(images), _draws(3, flip=[0.49, 0.5, 0.0]),
                        NEUTRAL._replace(flip=0.5))
  expected = images.copy()
  for n in (0, 2):
    for j in range(8):
      expected[n, :, j] = images[n, :, 7 - j]
  np.testing.assert_array_equal(_stack(out), expected)


# --------------------------------------------------------- the colour jitter
ORDERS = tuple(itertools.permutations(range(4)))


def _ranks(orders):
  """Draws whose ranks make the operations come in these orders."""
  return (np.argsort(orders, -1) + 0.5) / 4


@pytest.mark.parametrize('dtype, tolerance', [
    ('float64', 1e-9), ('float32', 1e-5)])
@pytest.mark.parametrize('bounds', [
    (0.4, 0.4, 0.2, 0.1), (0.8, 0.3, 0.9, 0.5), (0.4, 0.4, 0.0, 0.0),
    (0.4, 0.4, 0.2, 0.0)])
def test_jitter_in_all_orders(dtype, tolerance, bounds, x64):
  """Four operations one after another, clipped after each: all 24 orders."""
  recipe = recipes.T._replace(
      **dict(zip(('brightness', 'contrast', 'saturation', 'hue'), bounds)))
  images = _images(24)
  u = np.random.default_rng(1).random((24, 4))
  strengths = (2 * u - 1) * bounds
  draws = _draws(24, order=_ranks(ORDERS), strength=u, jitter=np.zeros(24))
  draws = jax.tree.map(lambda x: x.astype(dtype), draws)
  out = jax.jit(lambda p, d: augment.color_jitter(p, d, recipe))(
      _planes(images, dtype), draws)
  expected = np.stack([_jitter(*one) for one in zip(images, ORDERS, strengths)])
  np.testing.assert_allclose(_stack(out), expected, rtol=0, atol=tolerance)


def test_the_order_of_the_jitter_matters(x64):
  """The 24 orders of strong changes give many images, and match one by one."""
  images = np.repeat(_images(1), 24, 0)
  u = np.repeat([[0.95, 0.9, 0.9, 0.05]], 24, 0)
  draws = _draws(24, order=_ranks(ORDERS), strength=u, jitter=np.zeros(24))
  out = _stack(augment.color_jitter(_planes(images), draws, recipes.T))
  expected = np.stack([_jitter(image, order, (2 * u[0] - 1) * (.4, .4, .2, .1))
                       for image, order in zip(images, ORDERS)])
  np.testing.assert_allclose(out, expected, **CLOSE64)
  # hue and saturation commute where they are neighbours: 18 different results
  assert len(np.unique(expected.round(9).reshape(24, -1), axis=0)) == 18


def test_images_without_jitter_stay_equal_to_the_bit():
  images = _images(2).astype(np.float32)
  draws = _draws(2, jitter=[0.8, 0.79], strength=np.full((2, 4), 0.9))
  out = _stack(augment.color_jitter(_planes(images), draws, recipes.T))
  np.testing.assert_array_equal(out[0], images[0])
  assert np.abs(out[1] - images[1]).max() > 0.1


# ------------------------------------------------------------------ the whole
def test_all_operations_in_the_papers_order(x64):
  """flip, jitter, grayscale, blur, solarize, with draws on both sides of p."""
  n, recipe = 40, recipes.T_PRIME
  images = _images(n, 20, 12, seed=5)
  rng = np.random.default_rng(6)
  given = {name: rng.random(n) for name in ('flip', 'jitter', 'grayscale',
                                            'sigma')}
  given |= {name: rng.random(n) * 0.4 for name in ('blur', 'solarize')}
  draws = _draws(n, order=rng.random((n, 4)), strength=rng.random((n, 4)), **given)
  out = jax.jit(lambda p, d: augment.augment(p, d, recipe))(
      _planes(images), draws)

  seen = set()
  for i, image in enumerate(images):
    d = jax.tree.map(lambda x: np.asarray(x[i]), draws)
    happens = (d.flip < 0.5, d.jitter < 0.8, d.grayscale < 0.2, d.blur < 0.1,
               d.solarize < 0.2)
    seen.add(tuple(map(bool, happens)))
    if happens[0]:
      image = image[:, ::-1]
    if happens[1]:
      image = _jitter(image, np.argsort(d.order),
                      (2 * d.strength - 1) * (0.4, 0.4, 0.2, 0.1))
    if happens[2]:
      image = _grayscale(image)
    if happens[3]:
      image = _blur(image, 0.1 + 1.9 * d.sigma)
    if happens[4]:
      image = _solarize(image)
    np.testing.assert_allclose(_stack(out)[i], np.clip(image, 0, 1), **CLOSE64)
  assert len(seen) > 10


def test_recipes_are_the_papers_table_6():
  common = dict(flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4,
                saturation=0.2, hue=0.1, grayscale=0.2, blur_sigma=(0.1, 2.0),
                solarize_threshold=0.5, brightness_mode='add', color='tf',
                blur_border='zero', randaugment=0, randaugment_magnitude=10.0)
  assert recipes.T._asdict() == common | dict(blur=1.0, solarize=0.0)
  assert recipes.T_PRIME._asdict() == common | dict(blur=0.1, solarize=0.2)
  assert planes_lib.GRAY_WEIGHTS == (0.2989, 0.5870, 0.1140)


@pytest.mark.parametrize('size', [(40, 40), (21, 34)])
def test_views_stay_in_range_and_finite(size):
  rng = np.random.default_rng(0)
  images = rng.choice([0, 1, 127, 128, 254, 255], (64, *size, 3)).astype(np.uint8)
  draws = draws_lib.of_view(jax.random.PRNGKey(3), jnp.int32(1), jnp.arange(64), 1)
  for recipe in (recipes.T, recipes.T_PRIME):
    out = _stack(jax.jit(augment.augment, static_argnums=2)(
        crop_lib.to_planes(images), draws, recipe))
    assert out.dtype == np.float32
    assert np.isfinite(out).all() and out.min() >= 0 and out.max() <= 1


def test_gray_images_become_three_equal_planes():
  images = np.arange(2 * 4 * 5, dtype=np.uint8).reshape(2, 4, 5, 1) * 6
  planes = crop_lib.to_planes(images)
  assert len(planes) == 3
  for plane in planes:
    assert plane.dtype == jnp.float32
    np.testing.assert_allclose(plane, images[..., 0] / 255., rtol=1e-6)
  cropped = crop_lib.crop_and_resize(images, *np.array([[0] * 2, [1] * 2, [3] * 2,
                                                       [4] * 2]), 3)
  np.testing.assert_array_equal(cropped[0], cropped[2])
  # saturation and hue do not invent colour
  turned = augment.adjust_hue_and_saturation(
      planes, jnp.full(2, 0.1), jnp.full(2, 1.2))
  for plane, out in zip(planes, turned):
    np.testing.assert_array_equal(plane, out)


def test_normalize():
  images = _images(2).astype(np.float32)
  out = augment.normalize(_planes(images), (0.1, 0.2, 0.3), (0.5, 1.0, 2.0))
  assert out.shape == images.shape
  np.testing.assert_allclose(out, (images - (0.1, 0.2, 0.3)) / (0.5, 1.0, 2.0),
                             rtol=1e-5, atol=1e-6)
