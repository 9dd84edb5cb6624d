"""The objective and the probe's loss against numpy formulas."""

import os
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.methods import byol
from byol_jax.methods import losses
from byol_jax.tasks import preflight

TOLERANCE = dict(rtol=1e-10, atol=1e-12)  # float64


def _four(n=6, d=5, seed=0):
  return np.random.default_rng(seed).standard_normal((4, n, d))


def _unit(x):
  return x / np.sqrt((x**2).sum(-1, keepdims=True))


def _loss_in_numpy(p1, p2, z1, z2):
  """2 - 2 cos of each direction, summed; by the cosine, not the difference."""
  cos = lambda a, b: (_unit(a) * _unit(b)).sum(-1)
  return np.mean((2 - 2 * cos(p1, z2)) + (2 - 2 * cos(p2, z1)))


def _gradient_in_numpy(p, z):
  """d/dp of mean_b (2 - 2 cos(p, z)) = -2 / (B |p|) (n(z) - cos n(p))."""
  length = np.sqrt((p**2).sum(-1, keepdims=True))
  cos = (_unit(p) * _unit(z)).sum(-1, keepdims=True)
  return -2 / (len(p) * length) * (_unit(z) - cos * _unit(p))


def test_l2_normalize(x64):
  x = _four()
  np.testing.assert_allclose(losses.l2_normalize(jnp.asarray(x)), _unit(x),
                             **TOLERANCE)
  # short vectors shrink instead of blowing up: |x|^2 < eps
  tiny = np.full((1, 4), 1e-8)
  np.testing.assert_allclose(losses.l2_normalize(jnp.asarray(tiny)), tiny * 1e6,
                             **TOLERANCE)


def test_the_loss_and_its_gradients(x64):
  arrays = _four()
  loss, grads = jax.value_and_grad(losses.byol_loss, argnums=(0, 1, 2, 3))(
      *map(jnp.asarray, arrays))
  assert loss.dtype == jnp.float64
  p1, p2, z1, z2 = arrays
  np.testing.assert_allclose(loss, _loss_in_numpy(*arrays), **TOLERANCE)
  np.testing.assert_allclose(grads[0], _gradient_in_numpy(p1, z2), **TOLERANCE)
  np.testing.assert_allclose(grads[1], _gradient_in_numpy(p2, z1), **TOLERANCE)
  # the targets' gradient is stopped: exactly zero
  assert not np.any(grads[2]) and not np.any(grads[3])


def test_the_gradient_equals_finite_differences(x64):
  arrays = _four(n=3, d=4, seed=1)
  grads = jax.grad(losses.byol_loss, argnums=(0, 1))(*map(jnp.asarray, arrays))
  h = 1e-6
  for which in (0, 1):
    for index in np.ndindex(3, 4):
      ends = []
      for sign in (1, -1):
        moved = arrays.copy()
        moved[(which, *index)] += sign * h
        ends.append(_loss_in_numpy(*moved))
      np.testing.assert_allclose(grads[which][index],
                                 (ends[0] - ends[1]) / (2 * h), rtol=1e-6,
                                 atol=1e-8)


def test_it_is_the_sum_of_both_directions_in_0_to_8(x64):
  p1, p2, z1, z2 = map(jnp.asarray, _four(seed=2))
  one = jnp.mean(losses.regression_loss(p1, z2))
  two = jnp.mean(losses.regression_loss(p2, z1))
  np.testing.assert_allclose(losses.byol_loss(p1, p2, z1, z2), one + two,
                             **TOLERANCE)
  low, high, _ = byol.make().meaning
  np.testing.assert_allclose(losses.byol_loss(p1, p2, 3 * p2, 0.1 * p1), low,
                             atol=1e-12)
  np.testing.assert_allclose(losses.byol_loss(p1, p2, -p2, -2 * p1), high,
                             rtol=1e-12)
  # each prediction goes with the *other* view's target
  assert losses.byol_loss(p1, p2, p1, p2) > 0.1


def test_float32_and_degenerate_vectors():
  arrays = _four().astype(np.float32)
  assert losses.byol_loss(*arrays).dtype == jnp.float32
  np.testing.assert_allclose(losses.byol_loss(*arrays), _loss_in_numpy(*arrays),
                             rtol=1e-6)
  zeros = jnp.zeros((2, 3))
  loss, grad = jax.value_and_grad(losses.byol_loss)(zeros, zeros, zeros, zeros)
  assert loss == 0 and np.all(np.isfinite(grad))


def test_cross_entropy_and_accuracy(x64):
  rng = np.random.default_rng(3)
  logits, labels = rng.standard_normal((50, 7)) * 3, rng.integers(0, 7, 50)
  exponentials = np.exp(logits)
  probabilities = exponentials / exponentials.sum(1, keepdims=True)
  picked = probabilities[np.arange(50), labels]
  loss, grad = jax.value_and_grad(losses.cross_entropy)(
      jnp.asarray(logits), jnp.asarray(labels))
  np.testing.assert_allclose(loss, -np.log(picked).mean(), **TOLERANCE)
  np.testing.assert_allclose(grad, (probabilities - np.eye(7)[labels]) / 50,
                             **TOLERANCE)
  right = [int(max(range(7), key=lambda k: row[k]) == label)
           for row, label in zip(logits, labels)]
  assert losses.accuracy(jnp.asarray(logits), labels) == pytest.approx(
      sum(right) / 50, abs=1e-7)
  # large logits do not overflow
  assert losses.cross_entropy(jnp.array([[1e4, 0.]]), jnp.array([1])) == 1e4


def test_similarities_are_in_full_precision_on_a_tpu():
  """Its default would round to bfloat16: an error of 0.04 in a logit at 0.1."""
  x = jax.ShapeDtypeStruct((4, 8), jnp.float32)
  for loss in (
      lambda a, b: losses.ntxent_loss(a, b, temperature=0.1, axis_name=None)[0],
      lambda a, b: losses.queue_loss(a, a, b, 0.1)[0],
      lambda a, b: losses.infonce_loss(a, b, a, b, temperature=0.1, beta=1.0,
                                       axis_name=None)[0]):
    lowered = jax.export.export(jax.jit(jax.grad(loss)), platforms=['tpu'])(x, x)
    products = [line for line in lowered.mlir_module().splitlines()
                if 'stablehlo.dot_general' in line]
    assert products
    assert all('precision = [HIGHEST, HIGHEST]' in line for line in products)


@pytest.mark.skipif('BYOL_TEST_LONG' not in os.environ, reason='BYOL_TEST_LONG=1')
def test_similarities_stay_in_full_precision_when_compiled_for_a_tpu():
  """Forwards and backwards, on the eight cores of a v3-8."""
  pytest.importorskip('libtpu', reason="pip install 'byol_jax[tpu]' has the compiler")
  devices = preflight.describe('v3-8')
  x = jax.ShapeDtypeStruct((len(devices), 16, 128), jnp.float32)
  loss = lambda a, b: losses.ntxent_loss(a, b, temperature=0.1, axis_name='i')[0]
  compiled = jax.pmap(jax.grad(loss), axis_name='i', devices=devices).lower(x, x)
  products = [line for line in compiled.compile().as_text().splitlines()
              if re.search(r' (convolution|dot)\(', line)]  # it makes one of the other
  assert len(products) >= 4
  assert all('operand_precision={highest,highest}' in line for line in products)


def _pair_batch(n=8, d=5, seed=3):
  """Embeddings, weights, masks and frequencies of a batch of pairs."""
  rng = np.random.default_rng(seed)
  masks = rng.random((2, n, n)) < 0.3
  masks[:, np.arange(n), np.arange(n)] = False
  return (*rng.standard_normal((2, n, d)), rng.uniform(0.5, 4, n), masks,
          np.log(rng.uniform(0.01, 0.3, (2, n))))


def _pair_loss_in_numpy(a, p, weight, masks, log_q, temperature):
  a, p = _unit(a), _unit(p)
  total = 0.0
  for i in range(len(a)):
    for own, others, mask, q in ((a, p, masks[0], log_q[1]), (p, a, masks[1], log_q[0])):
      logits = np.array([own[i] @ others[j] / temperature - q[j]
                         for j in range(len(a)) if not mask[i, j]])
      mine = own[i] @ others[i] / temperature - q[i]
      total += 0.5 * weight[i] * (np.log(np.exp(logits).sum()) - mine)
  return total / weight.sum()


def test_the_loss_of_pairs(x64):
  arrays = _pair_batch()
  for temperature in (0.1, 0.7):
    loss = losses.pair_loss(*map(jnp.asarray, arrays), temperature=temperature,
                            axis_name=None)
    np.testing.assert_allclose(loss, _pair_loss_in_numpy(*arrays, temperature),
                               **TOLERANCE)
  # all alike: chance
  a, _, weight, masks, _ = arrays
  same = np.ones_like(a)
  loss = losses.pair_loss(same, same, weight, np.zeros_like(masks), np.zeros((2, 8)),
                          temperature=0.1, axis_name=None)
  np.testing.assert_allclose(loss, np.log(8), **TOLERANCE)


def test_the_loss_of_pairs_is_that_of_all_devices():
  """Value and gradient on one device, and on eight that gather the negatives."""
  arrays = [np.float32(x) if x.dtype != bool else x for x in _pair_batch(16)]

  def loss(a, p, *rest, axis_name=None):
    return losses.pair_loss(a, p, *rest, temperature=0.3, axis_name=axis_name)

  one, grads = jax.value_and_grad(loss, argnums=(0, 1))(*arrays)
  # the rows of a device; the columns are those of the batch
  a, p, weight, masks, log_q = arrays
  parts = (a.reshape(8, 2, -1), p.reshape(8, 2, -1), weight.reshape(8, 2),
           np.moveaxis(masks.reshape(2, 8, 2, 16), 1, 0),
           np.moveaxis(log_q.reshape(2, 8, 2), 1, 0))

  def mapped(*arrays):
    value, grads = jax.value_and_grad(
        lambda *x: loss(*x, axis_name='i'), argnums=(0, 1))(*arrays)
    return jax.lax.pmean(value, 'i'), grads

  eight, parts = jax.pmap(mapped, axis_name='i')(*parts)
  np.testing.assert_allclose(eight[0], one, rtol=1e-6)
  for ours, theirs in zip(parts, grads):  # each device's is that of 8 times the mean
    np.testing.assert_allclose(ours.reshape(16, -1) / 8, theirs, atol=1e-6)
