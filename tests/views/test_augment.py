"""Every augmentation against numpy written from the paper's appendix B.

The references below work on one image [H, W, 3] of float64, in the most literal
way: colorsys one pixel at a time, loops for the convolution, sixteen weights a
pixel for the bicubic resize. In float64 the code agrees to 1e-9 and better; in
float32, as it runs, to 2e-6 an operation.
"""

import colorsys
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.data.images import crops
from byol_jax.views import augment
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
  shapes = dict.fromkeys(augment._Draws._fields, (n,)) | dict(
      crop=(n, 4), order=(n, 4), strength=(n, 4))
  values = {name: jnp.full(shape, 0.5) for name, shape in shapes.items()}
  return augment._Draws(**values | {k: jnp.asarray(v) for k, v in given.items()})


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
  draws = augment.draws(jax.random.PRNGKey(3), jnp.int32(1), jnp.arange(64), 1)
  for recipe in (recipes.T, recipes.T_PRIME):
    out = _stack(jax.jit(augment.augment, static_argnums=2)(
        augment.to_planes(images), draws, recipe))
    assert out.dtype == np.float32
    assert np.isfinite(out).all() and out.min() >= 0 and out.max() <= 1


def test_gray_images_become_three_equal_planes():
  images = np.arange(2 * 4 * 5, dtype=np.uint8).reshape(2, 4, 5, 1) * 6
  planes = augment.to_planes(images)
  assert len(planes) == 3
  for plane in planes:
    assert plane.dtype == jnp.float32
    np.testing.assert_allclose(plane, images[..., 0] / 255., rtol=1e-6)
  cropped = augment.crop_and_resize(images, *np.array([[0] * 2, [1] * 2, [3] * 2,
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


# ------------------------------------------------------------------ the crop
BOXES = np.array([  # top, left, height, width; up, down, uneven, one pixel
    (0, 0, 13, 10), (2, 3, 7, 5), (5, 0, 8, 3), (12, 9, 1, 1), (0, 1, 2, 9)])


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
  out = augment.crop_and_resize(images, *jnp.asarray(BOXES.T), size)
  # float64 weights of pixels that were rounded to float32
  np.testing.assert_allclose(_stack(out), expected, atol=5e-7)


def test_crop_and_resize_in_float32():
  images = _uint8(len(BOXES), 13, 10)
  expected = np.stack([
      _bicubic(image[t:t + h, l:l + w] / 255., 8)
      for image, (t, l, h, w) in zip(images, BOXES)])
  out = augment.crop_and_resize(images, *jnp.asarray(BOXES.T, jnp.int32), 8)
  assert out[0].dtype == jnp.float32
  np.testing.assert_allclose(_stack(out), expected, atol=1e-5)


@pytest.mark.parametrize('box', [(0, 0, 13, 10), (2, 3, 7, 5), (1, 2, 11, 8)])
def test_crop_and_resize_equals_jax_image(box):
  """Also down: no antialiasing, as in the reference."""
  top, left, height, width = box
  images = _uint8(1, 13, 10)
  cropped = images[:, top:top + height, left:left + width] / np.float32(255)
  expected = jax.image.resize(cropped, (1, 9, 9, 3), 'cubic', antialias=False)
  out = augment.crop_and_resize(images, *jnp.asarray(box)[:, None], 9)
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
  out = augment.random_resized_crop(images, jnp.asarray(u), 8, (0.3, 0.9))
  boxes = np.stack(crops.crop_box(u, 17, 23, (0.3, 0.9)), -1)
  expected = np.stack([_bicubic(x[t:t + h, l:l + w] / 255., 8)
                       for x, (t, l, h, w) in zip(images, boxes)])
  np.testing.assert_allclose(_stack(out), expected, atol=1e-5)


# ------------------------------------------------------------------ the draws
@functools.cache
def _many_draws(seed=0, step=7, view=0):
  """Draws of 20,000 examples, as numpy."""
  d = jax.jit(augment.draws, static_argnums=3)(
      jax.random.PRNGKey(seed), jnp.int32(step), jnp.arange(20000), view)
  return jax.tree.map(np.asarray, d)


def _columns(d):
  return np.concatenate([np.asarray(x).reshape(len(x), -1) for x in d], -1)


def test_draws_depend_on_seed_step_example_and_view_only():
  key = jax.random.PRNGKey(0)
  base = _columns(augment.draws(key, jnp.int32(7), jnp.arange(16), 0))
  np.testing.assert_array_equal(base, _columns(_many_draws())[:16])
  some = jnp.array([11, 3, 3])  # any selection, in any order
  np.testing.assert_array_equal(
      _columns(augment.draws(key, jnp.int32(7), some, 0)), base[some])
  for other in (augment.draws(jax.random.PRNGKey(1), jnp.int32(7), jnp.arange(16), 0),
                augment.draws(key, jnp.int32(8), jnp.arange(16), 0),
                augment.draws(key, jnp.int32(7), jnp.arange(16), 1),
                augment.draws(key, jnp.int32(7), jnp.arange(16, 32), 0)):
    assert not np.any(_columns(other) == base)


def test_further_draws_are_independent_of_all_others():
  """Not shifted, not shared between views and purposes, and the others stay."""
  key, examples = jax.random.PRNGKey(0), jnp.arange(20000)
  columns = [_columns(_many_draws())] + [
      np.asarray(augment.further_draws(key, jnp.int32(7), examples, view, purpose, 5))
      for view in (0, 1) for purpose in (augment.RANDAUGMENT, augment.CROP)]
  some = augment.further_draws(key, jnp.int32(7), examples[5:9], 0, augment.CROP, 5)
  np.testing.assert_array_equal(some, columns[2][5:9])
  columns = np.concatenate(columns, -1)
  assert columns.min() >= 0 and columns.max() < 1
  correlations = np.corrcoef(columns.T) - np.eye(columns.shape[1])
  assert np.abs(correlations).max() < 5 / math.sqrt(20000)


def test_draws_are_uniform_and_independent():
  d = _many_draws()
  # also against the other view and the step after
  columns = np.concatenate([
      _columns(d), _columns(_many_draws(view=1)), _columns(_many_draws(step=8))],
                           -1)
  assert columns.shape == (20000, 54) and columns.dtype == np.float32
  assert columns.min() >= 0 and columns.max() < 1
  quantiles = np.linspace(0.1, 0.9, 9)
  for column in columns.T:
    np.testing.assert_allclose(np.quantile(column, quantiles), quantiles,
                               atol=0.018)  # 5 standard errors
  correlations = np.corrcoef(columns.T) - np.eye(54)
  assert np.abs(correlations).max() < 5 / math.sqrt(20000)
  neighbours = np.corrcoef(columns[:-1, 0], columns[1:, 0])[0, 1]
  assert abs(neighbours) < 5 / math.sqrt(20000)


def test_all_orders_of_the_jitter_are_equally_likely():
  orders = np.argsort(_many_draws().order, -1)
  _, counts = np.unique(orders, axis=0, return_counts=True)
  assert len(counts) == 24
  expected = 20000 / 24
  assert np.abs(counts - expected).max() < 5 * math.sqrt(expected)


def _seen(recipe, image):
  """What a recipe makes of the same [H, W, 3] image 4,000 times."""
  planes = _planes(np.broadcast_to(np.float32(image), (4000, *np.shape(image))))
  draws = jax.tree.map(lambda x: x[:4000], _many_draws())
  return _stack(jax.jit(augment.augment, static_argnums=2)(planes, draws, recipe))


@pytest.mark.parametrize('name, t, t_prime', [
    ('flip', 0.5, 0.5), ('jitter', 0.8, 0.8), ('grayscale', 0.2, 0.2),
    ('blur', 1.0, 0.1), ('solarize', 0.0, 0.2)])
def test_how_often_an_operation_happens(name, t, t_prime):
  image = np.random.default_rng(0).random((20, 2, 3)) * 0.6 + 0.3
  for recipe, p in ((recipes.T, t), (recipes.T_PRIME, t_prime)):
    only = {name: getattr(recipe, name)}
    if name == 'jitter':
      only |= {k: 0.4 for k in ('brightness', 'contrast', 'saturation', 'hue')}
    if name == 'blur':  # always visible
      only |= {'blur_sigma': (1.0, 2.0)}
    out = _seen(NEUTRAL._replace(**only), image)
    share = np.mean(np.abs(out - np.float32(image)).max((1, 2, 3)) > 1e-3)
    assert share == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / 4000))


def _assert_uniform(values, low, high):
  assert low - 1e-3 <= values.min() and values.max() <= high + 1e-3
  q = np.linspace(0, 1, 11)
  np.testing.assert_allclose(np.quantile(values, q), low + (high - low) * q,
                             atol=0.04 * (high - low))


def test_how_strong_the_jitter_is():
  only = lambda **given: NEUTRAL._replace(jitter=1.0, **given)
  flat = np.full((2, 2, 3), 0.5)
  _assert_uniform(_seen(only(brightness=recipes.T.brightness), flat)[:, 0, 0, 0]
                  - 0.5, -0.4, 0.4)
  stripes = np.stack([np.full((2, 3), 0.25), np.full((2, 3), 0.75)])
  out = _seen(only(contrast=recipes.T.contrast), stripes)
  _assert_uniform((out[:, 1, 0, 0] - out[:, 0, 0, 0]) / 0.5, 0.6, 1.4)
  pink = np.broadcast_to([0.8, 0.4, 0.4], (2, 2, 3))
  out = _seen(only(saturation=recipes.T.saturation), pink)[:, 0, 0]
  _assert_uniform((1 - out[:, 1] / out[:, 0]) / 0.5, 0.8, 1.2)
  out = _seen(only(hue=recipes.T.hue), pink)[:, 0, 0]
  turns = [colorsys.rgb_to_hsv(*map(float, x))[0] for x in out]
  _assert_uniform((np.array(turns) + 0.5) % 1 - 0.5, -0.1, 0.1)


def test_how_wide_the_blur_is():
  point = np.zeros((20, 3, 3))
  point[10, 1] = 1
  recipe = NEUTRAL._replace(blur=1.0, blur_sigma=recipes.T.blur_sigma)
  out = _seen(recipe, point)[..., 0].astype(np.float64)
  ratio = np.maximum(out[:, 11, 1] / out[:, 10, 1], 1e-30)
  _assert_uniform(np.sqrt(-0.5 / np.log(ratio)), 0.1, 2.0)
