"""SimSiam's loss against its equation, and where its gradient goes."""

import jax
import jax.numpy as jnp
import numpy as np

from byol_jax.methods import method as method_lib
from byol_jax.methods import simsiam
from byol_jax.networks.model import Outputs


def _outputs():
  draw = np.random.default_rng(0).standard_normal
  return Outputs(*(jnp.asarray(draw((2, 5, 7))) for _ in range(3)))


def _loss(outputs):
  return simsiam.make().loss(method_lib.Pass(outputs, None), {}, None)[0]


def test_it_is_minus_the_mean_of_both_cosines(x64):
  outputs = _outputs()
  unit = lambda x: np.asarray(x) / np.linalg.norm(x, axis=-1, keepdims=True)
  p, z = unit(outputs.prediction), unit(outputs.projection)
  expected = -np.mean((p[0] * z[1]).sum(-1) + (p[1] * z[0]).sum(-1)) / 2
  np.testing.assert_allclose(_loss(outputs), expected, rtol=1e-12)
  same = outputs._replace(prediction=outputs.projection[::-1])
  low, high, _ = simsiam.make().meaning
  np.testing.assert_allclose(_loss(same), low, rtol=1e-12)
  np.testing.assert_allclose(
      _loss(same._replace(prediction=-same.prediction)), high, rtol=1e-12)


def test_the_gradient_goes_through_the_predictions_alone(x64):
  grads = jax.grad(_loss)(_outputs())
  assert np.abs(grads.prediction).min() > 0 and not np.any(grads.projection)
