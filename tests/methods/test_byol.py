"""BYOL as a method: which views, which loss, which target; numpy says what."""

import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.methods import byol
from byol_jax.methods import losses
from byol_jax.methods import method as method_lib
from byol_jax.methods import names as method_names
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


INFONCE = np.load(
    pathlib.Path(__file__).parents[1] / 'fixtures/methods/byol_infonce.npz')
CELLS = sorted({name.rpartition('/')[0] for name in INFONCE.files if '/' in name})


@pytest.mark.parametrize('cell', CELLS)
def test_the_way_to_contrast_equals_recorded_values(x64, cell):
  """Section 5's loss and its gradients, for each target, beta and temperature."""
  kind, rest = cell.split('/')
  alpha, beta = (float(x) for x in rest.removeprefix('alpha').split('_beta'))
  method = byol.make(method_lib.Settings(
      target={'target': 'ema', 'self': 'online', 'stopped': 'stopped'}[kind],
      beta=beta, temperature=alpha))
  def loss(phi, psi):
    online = Outputs(phi, phi, phi)  # without a predictor
    target = Outputs(psi, psi, None) if method.target_views else None
    return method.loss(method_lib.Pass(online, target), {}, None)[0]
  phi, psi = (jnp.stack([INFONCE[f'{name}1'], INFONCE[f'{name}2']])
              for name in ('phi', 'psi'))
  value, grads = jax.value_and_grad(loss)(phi, psi)
  np.testing.assert_allclose(value, INFONCE[f'{cell}/loss'], rtol=1e-10)
  for view in (0, 1):
    np.testing.assert_allclose(
        grads[view], INFONCE[f'{cell}/grad_phi{view + 1}'], rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize('cell', [c for c in CELLS if c.startswith('target/')])
def test_gradients_of_what_is_compared_with(x64, cell):
  """`infonce_loss` itself stops nothing."""
  alpha, beta = (float(x) for x in cell.split('alpha')[1].split('_beta'))
  arrays = [jnp.asarray(INFONCE[name]) for name in ('phi1', 'phi2', 'psi1', 'psi2')]
  grads = jax.grad(lambda *x: losses.infonce_loss(
      *x, temperature=alpha, beta=beta, axis_name=None)[0], (0, 1, 2, 3))(*arrays)
  for grad, name in zip(grads, ('phi1', 'phi2', 'psi1', 'psi2')):
    np.testing.assert_allclose(grad, INFONCE[f'{cell}/grad_{name}'], rtol=1e-9,
                               atol=1e-13)


def test_the_ends_are_byol_and_simclr(x64):
  phi1, phi2, psi1, psi2 = (jnp.asarray(INFONCE[name]) for name in (
      'phi1', 'phi2', 'psi1', 'psi2'))
  whole = lambda *x, beta: losses.infonce_loss(
      *x, temperature=0.3, beta=beta, axis_name=None)[0]
  assert float(whole(phi1, phi2, psi1, psi2, beta=0.0)) == float(
      losses.byol_loss(phi1, phi2, psi1, psi2))
  ntxent, _ = losses.ntxent_loss(phi1, phi2, temperature=0.3, axis_name=None)
  np.testing.assert_allclose(whole(phi1, phi2, phi1, phi2, beta=1.0),
                             4 + 2 * 0.3 * ntxent, rtol=1e-14)


@pytest.mark.parametrize('num_devices', [2, 8])
@pytest.mark.parametrize('kind', ['ema', 'online', 'stopped'])
def test_devices_share_their_negatives(x64, kind, num_devices):
  method = byol.make(method_lib.Settings(target=kind, beta=0.5, temperature=0.1))
  phi, psi = (jnp.stack([INFONCE[f'{name}1'], INFONCE[f'{name}2']])
              for name in ('phi', 'psi'))
  def loss(phi, psi, axis_name=None):
    online, target = Outputs(phi, phi, phi), Outputs(psi, psi, None)
    return method.loss(method_lib.Pass(
        online, target if method.target_views else None), {}, axis_name)[0]
  value, grads = jax.value_and_grad(loss)(phi, psi)
  parts = lambda x: jnp.moveaxis(x.reshape(2, num_devices, 8 // num_devices, -1), 1, 0)
  mapped = jax.pmap(jax.value_and_grad(lambda *x: loss(*x, axis_name='i')),
                    axis_name='i', devices=jax.devices()[:num_devices])
  values, mapped_grads = mapped(parts(phi), parts(psi))
  np.testing.assert_allclose(np.mean(values), value, rtol=1e-12)
  np.testing.assert_allclose(mapped_grads / num_devices, parts(grads), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize('num_devices', [1, 4])
def test_the_best_linear_predictor(x64, num_devices):
  """Appendix I: least squares over the batch of all devices and both directions."""
  method = byol.make(method_lib.Settings(target='stopped', optimal_predictor=True))
  z = np.random.default_rng(0).standard_normal((2, 24, 7)) + 1
  q = np.linalg.lstsq(np.concatenate(z), np.concatenate(z[::-1]), rcond=None)[0]
  def loss(z, q=q):
    return jnp.mean(sum(losses.regression_loss(z[i] @ q, jax.lax.stop_gradient(z[1 - i]))
                        for i in (0, 1)))
  expected, gradient = jax.value_and_grad(loss)(jnp.asarray(z))  # q is a constant
  parts = lambda x: jnp.moveaxis(x.reshape(2, num_devices, -1, 7), 1, 0)
  values, grads = jax.pmap(jax.value_and_grad(lambda z: method.loss(
      method_lib.Pass(Outputs(z, z, z), None), {}, 'i')[0]),
                           axis_name='i', devices=jax.devices()[:num_devices])(parts(z))
  np.testing.assert_allclose(np.mean(values), expected, rtol=1e-5)
  np.testing.assert_allclose(grads / num_devices, parts(gradient), atol=1e-6)
  assert expected < 0.6 * losses.byol_loss(*z, *z)  # it predicts


def test_what_beta_makes_of_the_loss():
  method = byol.make(method_lib.Settings(examples=8, beta=1.0, temperature=0.1))
  assert method.meaning.chance == pytest.approx(4 + 0.4 * math.log(15))
  # with negatives there is a nearest image, and without there is none
  phi, psi = (jnp.stack([INFONCE[f'{name}1'], INFONCE[f'{name}2']])
              for name in ('phi', 'psi'))
  outputs = method_lib.Pass(Outputs(phi, phi, phi), Outputs(psi, psi, None))
  nearest = np.argmax(_cosine(phi[0][:, None], psi[1]), axis=1)
  _, metrics = method.loss(outputs, {}, None)
  assert float(metrics['contrast_top1']) == 100 * np.mean(nearest == np.arange(8))
  assert byol.make().loss(outputs, {}, None)[1] == {}


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
  for name, entry in method_names.METHODS.items():
    method = importlib.import_module(entry.module).make()
    assert isinstance(method, method_lib.Method) and method.title == entry.title, name
    assert method.joint_statistics == entry.joint_statistics
    assert method.online_views and method_names.title(name) == method.title


def test_what_results_call_a_method():
  assert method_names.result_name({'name': 'moco', 'jigsaw': 0.0}) == 'moco'
  assert method_names.result_name({'name': 'moco', 'jigsaw': 0.5}) == 'infomin'
  assert method_names.result_name({'name': 'byol'}) == 'byol'
  assert method_names.title('infomin') == 'InfoMin' and method_names.title('other') == 'other'
