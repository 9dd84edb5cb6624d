"""NT-Xent against recorded values of the authors' code, on one and on two devices."""

import functools
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.methods import losses
from byol_jax.methods import method as method_lib
from byol_jax.methods import simclr
from byol_jax.networks.model import Outputs

RECORDED = np.load(
    pathlib.Path(__file__).parents[1] / 'fixtures/methods/simclr_ntxent.npz')
HIDDEN = RECORDED['hidden1'], RECORDED['hidden2']
TEMPERATURES = ['0.1', '0.5', '1']


def _loss(one, two, temperature, axis_name=None):
  return losses.ntxent_loss(one, two, temperature=temperature, axis_name=axis_name)


@pytest.mark.parametrize('t', TEMPERATURES)
def test_loss_logits_and_gradients_equal_the_authors(x64, t):
  (loss, top1), grads = jax.value_and_grad(_loss, (0, 1), has_aux=True)(
      *map(jnp.asarray, HIDDEN), float(t))
  np.testing.assert_allclose(loss, RECORDED[f'T{t}/loss'], rtol=1e-10)
  for ours, name in zip(grads, ('grad_hidden1', 'grad_hidden2')):
    np.testing.assert_allclose(ours, RECORDED[f'T{t}/{name}'], rtol=1e-10, atol=1e-14)
  logits = losses.similarities(*map(losses.l2_normalize, HIDDEN)) / float(t)
  np.testing.assert_allclose(logits, RECORDED[f'T{t}/logits_ab'], rtol=1e-10)
  assert float(top1) == np.mean(
      np.argmax(RECORDED[f'T{t}/logits_ab'], 1) == np.arange(len(HIDDEN[0])))


@pytest.mark.parametrize('t', TEMPERATURES)
def test_two_devices_share_their_negatives(x64, t):
  one, two = (jnp.asarray(x).reshape(2, 4, -1) for x in HIDDEN)
  (loss, _), grads = jax.pmap(
      jax.value_and_grad(functools.partial(
          _loss, temperature=float(t), axis_name='i'), (0, 1), has_aux=True),
      axis_name='i', devices=jax.devices()[:2])(one, two)
  for replica in (0, 1):
    recorded = f'two_replicas/T{t}/replica{replica}'
    np.testing.assert_allclose(loss[replica], RECORDED[f'{recorded}/loss'], rtol=1e-10)
    for ours, name in zip(grads, ('grad_hidden1', 'grad_hidden2')):
      # theirs is of the loss / 2; the step averages ours over the devices
      np.testing.assert_allclose(
          ours[replica] / 2, RECORDED[f'{recorded}/{name}_of_loss_over_2'],
          rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize('num_devices', [4, 8])
def test_more_devices_share_their_negatives(x64, num_devices):
  one, two = (jnp.asarray(x).reshape(num_devices, 8 // num_devices, -1) for x in HIDDEN)
  (loss, _), grads = jax.pmap(
      jax.value_and_grad(functools.partial(
          _loss, temperature=0.1, axis_name='i'), (0, 1), has_aux=True),
      axis_name='i', devices=jax.devices()[:num_devices])(one, two)
  np.testing.assert_allclose(np.mean(loss), RECORDED['T0.1/loss'], rtol=1e-10)
  for ours, name in zip(grads, ('grad_hidden1', 'grad_hidden2')):
    np.testing.assert_allclose(
        np.reshape(ours, (8, -1)) / num_devices, RECORDED[f'T0.1/{name}'],
        rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize('t', TEMPERATURES)
def test_float32(t):
  loss, _ = _loss(*(jnp.float32(x) for x in HIDDEN), float(t))
  assert loss.dtype == jnp.float32
  np.testing.assert_allclose(loss, RECORDED[f'T{t}_f32/loss'], rtol=2e-6)


def test_collapsed_and_zero_outputs(x64):
  same = jnp.ones((8, 16))
  loss, _ = _loss(same, same, 0.1)
  np.testing.assert_allclose(loss, RECORDED['collapsed/loss'], rtol=1e-12)
  zero = jnp.asarray(HIDDEN[0]).at[3].set(0.0)
  (loss, _), grads = jax.value_and_grad(_loss, (0, 1), has_aux=True)(
      zero, jnp.asarray(HIDDEN[1]), 0.1)
  np.testing.assert_allclose(loss, RECORDED['zero_row/loss'], rtol=1e-10)
  for ours, name in zip(grads, ('grad_hidden1', 'grad_hidden2')):
    np.testing.assert_allclose(ours, RECORDED[f'zero_row/{name}'], rtol=1e-10, atol=1e-14)


def test_low_temperatures_do_not_overflow():
  loss, _ = _loss(*(jnp.float32(x) for x in HIDDEN), 0.002)
  assert np.isfinite(loss)


def test_the_method(x64):
  method = simclr.make(method_lib.Settings(examples=8, temperature=0.5))
  z = jnp.stack(HIDDEN)
  loss, metrics = method.loss(method_lib.Pass(Outputs(z, z, z), None), {}, None)
  np.testing.assert_allclose(loss, RECORDED['T0.5/loss'], rtol=1e-10)
  assert 0 <= metrics['contrast_top1'] <= 100
  assert method.joint_statistics and method.target_views == ()
  assert method.meaning.chance == pytest.approx(2 * math.log(15))
