"""Nearest images and the map, against numpy's own."""

import numpy as np
import pytest

from byol_jax.evaluation import overview


@pytest.mark.parametrize('shape', [(40, 7), (12, 90), (3, 2)])
def test_plane_is_the_svd(shape):
  x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
  found = overview.plane(x)
  unit = x / np.linalg.norm(x, axis=1, keepdims=True)
  left, values, _ = np.linalg.svd(unit - unit.mean(axis=0), full_matrices=False)
  np.testing.assert_allclose(np.abs(found.points), np.abs(left * values)[:, :2],
                             atol=1e-4)
  np.testing.assert_allclose(found.shares, values[:2]**2 / np.sum(values**2),
                             atol=1e-4)


@pytest.mark.parametrize('x', [
    np.ones((9, 4)), np.zeros((9, 4)), np.full((9, 4), np.nan), np.eye(2),
    np.arange(5.)[:, None]], ids=['same', 'zero', 'nan', 'two images', 'one dimension'])
def test_there_may_be_no_map(x):
  assert overview.plane(x) is None


def test_nearest_leaves_the_image_itself_out():
  rng = np.random.default_rng(1)
  x = rng.normal(size=(20, 5))
  x[7] = 3 * x[2]  # the same direction
  rows, cosines = overview.nearest(x, [2, 7, 11], 4)
  assert rows.shape == (3, 4) and rows[0, 0] == 7 and rows[1, 0] == 2
  np.testing.assert_allclose(cosines[:2, 0], 1, atol=1e-6)
  assert not np.any(rows == np.array([[2], [7], [11]]))
  unit = x / np.linalg.norm(x, axis=1, keepdims=True)
  wanted = np.delete(unit @ unit[11], 11)
  np.testing.assert_allclose(cosines[2], np.sort(wanted)[::-1][:4], atol=1e-6)
  assert overview.nearest(x[:3], [0], 10)[0].shape == (1, 2)


def test_queries_are_of_many_classes():
  labels = np.array([0] * 10 + [1] * 5 + [2] * 5)
  assert overview.queries(labels, 20, 2) == [0, 10]
  assert overview.queries(labels, 20, 5) == [0, 1, 2, 10, 15]
  assert overview.queries(None, 3, 8) == [0, 1, 2]
  assert overview.queries(np.array([4]), 1, 8) == [0]
