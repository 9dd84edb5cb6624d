"""RandAugment's 15 operations against what PyContrast's code gave, and its draws."""

import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from byol_jax.views import make as views_lib
from byol_jax.views import randaugment
from byol_jax.views import recipes

_FILE = pathlib.Path(__file__).parents[1] / 'fixtures' / 'torch_ops.npz'
MOVES = ('Rotate', 'ShearX', 'ShearY', 'TranslateXRel', 'TranslateYRel')
BLENDS = ('Color', 'Contrast', 'Brightness', 'Sharpness')


@pytest.fixture(name='recorded', scope='module')
def _recorded():
  with np.load(_FILE) as arrays:
    return {name: arrays[name] for name in arrays.files
            if name.startswith('randaugment/') or name == 'image'}


def _planes(image, n):
  image = np.float32(image)
  return tuple(jnp.broadcast_to(image[..., i], (n, *image.shape[:2])) for i in range(3))


def _stack(planes):
  return np.stack([np.asarray(p) for p in planes], -1)


def _layer(operations, magnitude, *, happens=True, negative=False, bicubic=False):
  n = len(operations)
  full = lambda x, dtype: jnp.broadcast_to(jnp.asarray(x, dtype), (n,))
  return randaugment.Layer(
      jnp.array([randaugment.NAMES.index(x) for x in operations]),
      full(happens, bool), full(magnitude, jnp.float32), full(negative, bool),
      full(bicubic, bool))


@pytest.fixture(name='ours', scope='module')
def _ours(recorded):
  """What we make of all recorded cases at once: {name: [24, 24, 3] in levels}."""
  cases = [name for name in recorded if name.count('/') >= 2
           and not name.endswith('argument')]
  parts = [name.split('/') for name in cases]
  layer = _layer([p[1] for p in parts], [float(p[2][1:]) for p in parts],
                 negative=['minus' in p for p in parts],
                 bicubic=['bicubic' in p for p in parts])
  out = _stack(jax.jit(randaugment.do_layer)(
      _planes(recorded['image'] / 255, len(cases)), layer))
  return dict(zip(cases, 255 * out))


def test_the_names_are_the_published_ones(recorded):
  assert list(recorded['randaugment/names']) == list(randaugment.NAMES)
  assert tuple(recorded['randaugment/fill']) == randaugment.FILL


@pytest.mark.parametrize('operation', randaugment.NAMES)
def test_an_operation(operation, recorded, ours):
  """Tables are equal, what is not rounded is within PIL's rounding: 1.4 levels.

  A rotation of ours is three shears, each interpolated: on this image of noise it is
  2.9 levels from PIL's in the mean.
  """
  cases = [name for name in ours if name.split('/')[1] == operation]
  assert len(cases) == (6 if operation in MOVES else 3)
  for name in cases:
    difference = np.abs(ours[name] - recorded[name])
    if operation == 'Rotate':
      assert difference.mean() < 3
      filled = (recorded[name] == randaugment.FILL).all(-1)
      assert np.mean(filled == (np.abs(ours[name] - randaugment.FILL) < 1e-3).all(-1)
                     ) > 0.99
    elif operation in MOVES:
      assert difference.max() <= 1.001  # PIL cuts fractions off
    elif operation in BLENDS:
      assert difference.max() < 1.4
    else:
      assert difference.max() < 1e-3


@pytest.mark.parametrize('negative', [False, True])
def test_a_rotation_of_a_smooth_image(negative):
  """Three shears against one interpolation of scipy's, where nothing is filled in."""
  noise = np.random.default_rng(0).random((64, 48, 3))
  image = ndimage.gaussian_filter(noise, (3, 3, 0))
  image = (image - image.min()) / (image.max() - image.min())
  out = _stack(randaugment.do_layer(_planes(image, 1), _layer(
      ['Rotate'], 10.0, negative=negative, bicubic=True)))[0]
  expected = ndimage.rotate(image, -30 if negative else 30, reshape=False, order=3)
  inner = slice(18, -18), slice(14, -14)
  difference = np.abs(out - expected)[inner]
  assert difference.max() < 0.02
  assert np.abs(image - expected)[inner].max() > 0.2


def test_what_does_not_happen_changes_nothing(recorded):
  planes = _planes(recorded['image'] / 255, 15)
  out = randaugment.do_layer(planes, _layer(randaugment.NAMES, 7.0, happens=False))
  np.testing.assert_array_equal(_stack(out), _stack(planes))


@pytest.mark.parametrize('value', [0.0, 0.3, 1.0])
def test_an_image_of_one_color_stays_finite(value):
  """Nothing to stretch or to equalize; also where an image is a few pixels wide."""
  for side in (2, 9):
    planes = _planes(np.full((side, side, 3), value), 15)
    for plane in randaugment.do_layer(planes, _layer(randaugment.NAMES, 9.7)):
      assert np.isfinite(plane).all() and plane.min() >= 0 and plane.max() <= 1
      if value < 1:  # equalized, stretched: as it was
        np.testing.assert_allclose(plane[:2], round(value * 255) / 255, atol=1e-6)


def test_how_operations_are_chosen():
  u = np.random.default_rng(1).random((30_000, randaugment.DRAWS))
  layer = jax.tree.map(np.asarray, randaugment.choose(jnp.asarray(u), 10.0))
  counts = np.bincount(layer.operation, minlength=15)
  assert len(counts) == 15
  assert np.abs(counts - 2000).max() < 5 * math.sqrt(2000)
  for share in (layer.happens, layer.negative, layer.bicubic, layer.magnitude == 10):
    assert np.mean(share) == pytest.approx(0.5, abs=0.015)
  below = layer.magnitude[layer.magnitude < 10]
  assert np.mean(10 - below) == pytest.approx(0.5 * math.sqrt(2 / math.pi), abs=0.01)
  layer = randaugment.choose(jnp.asarray(u), 5.0)
  assert np.std(layer.magnitude) == pytest.approx(0.5, abs=0.01)
  edges = randaugment.choose(jnp.array([[0.0] * 5, [1 - 2**-24] * 5]), 10.0)
  assert list(edges.operation) == [0, 14] and np.isfinite(edges.magnitude).all()


def _views(recipe, examples, seed=0):
  spec = views_lib.ViewSpec(image_size=20, recipes=(recipe,))
  images = np.random.default_rng(0).integers(0, 256, (1, 20, 20, 3)).astype(np.uint8)
  return np.asarray(jax.jit(views_lib.from_resident, static_argnames='spec')(
      jax.random.PRNGKey(seed), jnp.int32(3), images,
      {'examples': jnp.asarray(examples), 'rows': 0 * jnp.asarray(examples)},
      spec=spec))[0] * spec.std + spec.mean


def test_views_with_randaugment():
  """Two layers in a recipe: about 3/4 of the images change, the rest stay."""
  plain = recipes.Recipe(flip=0, jitter=0, grayscale=0, blur=0)
  before = _views(plain, np.arange(400))
  recipe = plain._replace(randaugment=2)
  after = _views(recipe, np.arange(400))
  changed = np.abs(after - before).max((1, 2, 3)) > 1e-5
  assert 0.7 < changed.mean() < 0.8
  assert after.min() > -1e-5 and after.max() < 1 + 1e-5
  np.testing.assert_allclose(_views(recipe, [7, 399, 12]), after[[7, 399, 12]],
                             atol=1e-5)


def test_grayscale_comes_after_randaugment():
  """Else the fill and what stretches each channel would bring colours back."""
  gray = _views(recipes.Recipe(
      jitter=0, blur=0, grayscale=1.0, randaugment=1), np.arange(60))
  np.testing.assert_allclose(gray, gray[..., :1] * np.ones(3), atol=1e-5)
