"""What operations on planes share."""

import jax.numpy as jnp
import numpy as np

from byol_jax.views import planes as planes_lib


def _planes(n=2):
  return tuple(jnp.asarray(np.random.default_rng(i).random((n, 4, 5)), jnp.float32)
               for i in range(3))


def test_where_chooses_by_image():
  yes, no = _planes(), tuple(1 - p for p in _planes())
  for out, y, n in zip(planes_lib.where(jnp.array([True, False]), yes, no), yes, no):
    np.testing.assert_array_equal(out, np.stack([y[0], n[1]]))


def test_gray_has_the_papers_weights():
  r, g, b = (np.asarray(p) for p in _planes())
  np.testing.assert_allclose(planes_lib.gray(_planes()),
                             0.2989 * r + 0.5870 * g + 0.1140 * b, atol=1e-6)


def test_blend():
  """Clipped; a factor of 1 changes no bit, 0 gives the base."""
  planes = _planes(3)
  out = planes_lib.blend(planes, (0.25,) * 3, jnp.array([1.0, 0.0, 2.0]))
  for one, p in zip(out, planes):
    np.testing.assert_array_equal(one[0], p[0])
    np.testing.assert_array_equal(one[1], np.full((4, 5), 0.25, np.float32))
    np.testing.assert_allclose(one[2], np.clip(2 * p[2] - 0.25, 0, 1), atol=1e-6)
