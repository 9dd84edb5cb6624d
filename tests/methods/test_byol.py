"""BYOL as a method: which views, which loss, which target; numpy says what."""

import jax
import jax.numpy as jnp
import numpy as np

from byol_jax.methods import byol
from byol_jax.methods import method as method_lib
from byol_jax.methods import names
from byol_jax.networks.model import Outputs


def _outputs(seed, views=2, n=5, size=7):
  rng = np.random.default_rng(seed)
  draw = lambda: jnp.asarray(rng.standard_normal((views, n, size)))
  return Outputs(features=draw(), projection=draw(), prediction=draw())


def _cosine(a, b):
  a, b = np.asarray(a), np.asarray(b)
  return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def test_each_view_predicts_the_target_of_the_other(x64):
  online, target = _outputs(0), _outputs(1)._replace(prediction=None)
  loss, metrics = byol.make().loss(method_lib.Pass(online, target), {}, None)
  expected = sum(2 - 2 * _cosine(online.prediction[i], target.projection[1 - i])
                 for i in (0, 1)).mean()
  np.testing.assert_allclose(loss, expected, rtol=1e-12)
  assert metrics == {}


def test_no_gradient_reaches_the_target(x64):
  online, target = _outputs(0), _outputs(1)._replace(prediction=None)
  loss = lambda online, target: byol.make().loss(
      method_lib.Pass(online, target), {}, None)[0]
  of_online, of_target = jax.grad(loss, (0, 1))(online, target)
  assert np.abs(of_online.prediction).min() > 0
  assert not np.any(of_online.projection) and not np.any(of_target.projection)


def test_the_target_is_a_moving_average_and_nothing_else_is_carried():
  method = byol.make()
  target, online = {'a': {'w': jnp.float32(1.0)}}, {'a': {'w': jnp.float32(3.0)}}
  new = method.follow(target, online, jnp.float32(0.25))  # 1 - tau
  assert float(new['a']['w']) == 1.5
  assert method.follow({}, {}, jnp.float32(0.25)) == {}
  carried = method.init(jax.random.PRNGKey(0))
  assert carried == {} and not jax.tree.leaves(carried)
  assert method.advance(method_lib.Pass(None, None), carried, None) == {}


def test_what_the_loss_means():
  assert str(byol.make().meaning) == '0..8'
  assert str(method_lib.Meaning(0.0, chance=6.2383)) == 'chance 6.24'
  assert str(method_lib.Meaning(0.0)) == '0..'


def test_every_name_is_a_file_with_a_method():
  import importlib
  for name, module in names.METHODS.items():
    method = importlib.import_module(module).make()
    assert isinstance(method, method_lib.Method) and method.title, name
    assert method.online_views
