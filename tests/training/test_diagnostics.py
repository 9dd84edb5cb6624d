"""Collapse measures against numpy formulas, and what they call collapse."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.training import diagnostics

MEASURES = dict(projection_std=.7, alignment=.7, uniformity=-1.,
                predictor_explained=.2, feature_rank=10., projection_rank=7.)
SIZES = dict(num_examples=512, feature_size=512, projection_size=256)


def normal(*shape, seed=0):
  x = np.random.default_rng(seed).standard_normal(shape)
  return x.astype(np.float32)


def unit(x):
  x = np.asarray(x, np.float64)
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_projection_std():
  z = normal(300, 24) + 1.5
  expected = unit(z).std(axis=0).mean() * math.sqrt(24)
  np.testing.assert_allclose(diagnostics.projection_std(z), expected, rtol=1e-5)
  assert diagnostics.projection_std(normal(2000, 64)) == pytest.approx(1, abs=.02)
  # scale does not matter, a single point has no spread
  np.testing.assert_allclose(diagnostics.projection_std(1e3 * z), expected,
                             rtol=1e-5)
  assert diagnostics.projection_std(np.ones((100, 8), np.float32)) < 1e-6


def test_alignment_and_uniformity():
  x, y = normal(50, 7), normal(50, 7, seed=1)
  expected = np.mean(np.sum((unit(x) - unit(y))**2, axis=1))
  np.testing.assert_allclose(diagnostics.alignment(x, y), expected, rtol=1e-5)
  assert diagnostics.alignment(x, 3 * x) < 1e-10

  u = unit(x)
  kernel = [math.exp(-2 * np.sum((u[i] - u[j])**2))
            for i in range(50) for j in range(i)]
  np.testing.assert_allclose(diagnostics.uniformity(x),
                             math.log(np.mean(kernel)), rtol=1e-5)
  assert diagnostics.uniformity(normal(500, 256)) == pytest.approx(-4, abs=.1)
  assert diagnostics.uniformity(np.ones((9, 4), np.float32)) == pytest.approx(0)


def test_predictor_explained():
  p, t = normal(60, 5), normal(60, 5, seed=1) + .5
  up, ut = unit(p), unit(t)
  expected = 1 - np.sum((ut - up)**2) / np.sum((ut - ut.mean(0))**2)
  np.testing.assert_allclose(diagnostics.predictor_explained(p, t), expected,
                             rtol=1e-5)
  assert diagnostics.predictor_explained(2 * t, t) == pytest.approx(1)
  constant = np.zeros((60, 4), np.float32)
  constant[:, 0] = 1
  assert diagnostics.predictor_explained(p[:, :4], constant) == 0


@pytest.mark.parametrize('shape', [(40, 12), (12, 40), (30, 30)])
def test_effective_rank_is_rankme(shape):
  x = normal(*shape) + 1
  s = np.linalg.svd(np.asarray(x, np.float64), compute_uv=False)
  p = s / s.sum() + 1e-7
  np.testing.assert_allclose(diagnostics.effective_rank(x),
                             np.exp(-np.sum(p * np.log(p))), rtol=1e-6)


def test_effective_rank_of_known_matrices():
  orthogonal, _ = np.linalg.qr(normal(64, 64))
  assert diagnostics.effective_rank(orthogonal) == pytest.approx(64, rel=1e-4)
  assert diagnostics.effective_rank(
      orthogonal[:, :5] @ orthogonal[:5]) == pytest.approx(5, rel=1e-3)
  # singular values of rounding alone, far below float32 resolution
  one = np.outer(normal(500), normal(300)).astype(np.float32)
  assert diagnostics.effective_rank(one) == pytest.approx(1, abs=1e-3)
  assert diagnostics.effective_rank(np.zeros((4, 3))) == 1
  assert math.isnan(diagnostics.effective_rank(np.array([[1, np.nan]])))


def test_measures_jit_and_take_bfloat16():
  arrays = [jnp.asarray(normal(20, 6, seed=s), jnp.bfloat16) for s in range(4)]
  measures = diagnostics.collapse_measures(
      jnp.asarray(normal(20, 9), jnp.bfloat16), *arrays)
  assert set(measures) == set(MEASURES)
  assert all(type(value) is float and math.isfinite(value)
             for value in measures.values())
  expected = diagnostics.alignment(arrays[0], arrays[1])
  assert measures['alignment'] == pytest.approx(float(expected), rel=1e-6)
  assert jax.jit(diagnostics.uniformity)(arrays[0]).dtype == jnp.float32


def test_no_warning_for_a_healthy_run():
  assert diagnostics.collapse_warning(MEASURES, **SIZES) is None
  # as low as a small network goes in its warm-up
  low = MEASURES | {'projection_std': .4, 'projection_rank': 2.7,
                    'feature_rank': 4.5}
  assert diagnostics.collapse_warning(low, **SIZES) is None
  for seed in range(20):
    z = normal(64, 32, seed=seed) @ normal(32, 128, seed=99) + .5
    measures = diagnostics.collapse_measures(z, z, z, z, z)
    assert diagnostics.collapse_warning(
        measures, num_examples=64, feature_size=128,
        projection_size=128) is None


def test_warning_for_complete_collapse():
  z = 1 + .02 * normal(64, 32)
  measures = diagnostics.collapse_measures(normal(64, 32), z, z, z, z)
  warning = diagnostics.collapse_warning(
      measures, num_examples=64, feature_size=32, projection_size=32)
  assert 'collapsed' in warning and 'projection_std' in warning


@pytest.mark.parametrize('which', ['projection', 'feature'])
def test_warning_for_dimensional_collapse(which):
  line = np.outer(normal(64), normal(32)) + .01 * normal(64, 32)
  spread = normal(64, 32, seed=3)
  features, z = (spread, line) if which == 'projection' else (line, spread)
  measures = diagnostics.collapse_measures(features, z, z, z, z)
  assert measures['projection_std'] > .4    # the spread alone sees nothing
  warning = diagnostics.collapse_warning(
      measures, num_examples=64, feature_size=32, projection_size=32)
  assert f'{which}_rank' in warning


def test_rank_is_not_judged_where_it_cannot_be_large():
  measures = MEASURES | {'projection_rank': 1.5, 'feature_rank': 1.5}
  assert diagnostics.collapse_warning(
      measures, num_examples=8, feature_size=512, projection_size=256) is None
  assert diagnostics.collapse_warning(
      measures, num_examples=512, feature_size=8, projection_size=4) is None
  assert diagnostics.collapse_warning(measures, **SIZES)


def test_wide_networks_are_held_to_a_share_of_their_dimensions():
  measures = MEASURES | {'feature_rank': 6.}
  sizes = dict(num_examples=4096, feature_size=2048, projection_size=256)
  assert 'feature_rank' in diagnostics.collapse_warning(measures, **sizes)


def test_nan_is_reported():
  warning = diagnostics.collapse_warning(
      MEASURES | {'uniformity': math.nan}, **SIZES)
  assert 'not finite' in warning and 'uniformity' in warning
