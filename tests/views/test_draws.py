"""Draws: what they depend on, how often an operation happens, how strong it is."""

import colorsys
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.views import augment
from byol_jax.views import draws as draws_lib
from byol_jax.views import recipes

NEUTRAL = recipes.Recipe(
    flip=0, jitter=0, brightness=0, contrast=0, saturation=0, hue=0,
    grayscale=0, blur=0, solarize=0)


def _planes(images, dtype=None):
  images = jnp.asarray(images, dtype or jnp.result_type(float))
  return tuple(images[..., i] for i in range(3))


def _stack(planes):
  return np.stack([np.asarray(p) for p in planes], -1)


@functools.cache
def _many_draws(seed=0, step=7, view=0):
  """Draws of 20,000 examples, as numpy."""
  d = jax.jit(draws_lib.of_view, static_argnums=3)(
      jax.random.PRNGKey(seed), jnp.int32(step), jnp.arange(20000), view)
  return jax.tree.map(np.asarray, d)


def _columns(d):
  return np.concatenate([np.asarray(x).reshape(len(x), -1) for x in d], -1)


def test_draws_depend_on_seed_step_example_and_view_only():
  key = jax.random.PRNGKey(0)
  base = _columns(draws_lib.of_view(key, jnp.int32(7), jnp.arange(16), 0))
  np.testing.assert_array_equal(base, _columns(_many_draws())[:16])
  some = jnp.array([11, 3, 3])  # any selection, in any order
  np.testing.assert_array_equal(
      _columns(draws_lib.of_view(key, jnp.int32(7), some, 0)), base[some])
  for other in (draws_lib.of_view(jax.random.PRNGKey(1), jnp.int32(7), jnp.arange(16), 0),
                draws_lib.of_view(key, jnp.int32(8), jnp.arange(16), 0),
                draws_lib.of_view(key, jnp.int32(7), jnp.arange(16), 1),
                draws_lib.of_view(key, jnp.int32(7), jnp.arange(16, 32), 0)):
    assert not np.any(_columns(other) == base)


def test_further_draws_are_independent_of_all_others():
  """Not shifted, not shared between views and purposes, and the others stay."""
  key, examples = jax.random.PRNGKey(0), jnp.arange(20000)
  columns = [_columns(_many_draws())] + [
      np.asarray(draws_lib.further(key, jnp.int32(7), examples, view, purpose, 5))
      for view in (0, 1) for purpose in (draws_lib.RANDAUGMENT, draws_lib.CROP)]
  some = draws_lib.further(key, jnp.int32(7), examples[5:9], 0, draws_lib.CROP, 5)
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
