"""Batch normalization against Haiku's, one view after the other."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.networks import norm


def _ours(axis_name=None):
  return hk.without_apply_rng(hk.transform_with_state(
      lambda x, is_training, views: norm.BatchNorm(axis_name=axis_name)(
          x, is_training, views)))


def _haiku_in_turns(axis_name=None):
  """hk.BatchNorm on each view in turn, as the reference runs it."""
  def forward(x, is_training, views):
    layer = hk.BatchNorm(True, True, 0.9, cross_replica_axis=axis_name)
    return jnp.concatenate([layer(part, is_training)
                            for part in jnp.split(x, views)])
  return hk.without_apply_rng(hk.transform_with_state(forward))


def _inputs(*shape, seed=0):
  x = np.random.default_rng(seed).standard_normal(shape)
  x[len(x) // 2:] = 3 * x[len(x) // 2:] + 1  # the views differ
  return x


def _assert_close(ours, theirs, **tolerance):
  assert jax.tree.structure(ours) == jax.tree.structure(theirs)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance),
               ours, theirs)


@pytest.mark.parametrize('shape', [(8, 3, 5, 4), (8, 4)])
@pytest.mark.parametrize('views', [1, 2])
def test_equals_haiku_on_one_view_after_the_other(shape, views, x64):
  x = jnp.asarray(_inputs(*shape))
  weights = jnp.asarray(_inputs(*shape, seed=1))
  ours, theirs = _ours(), _haiku_in_turns()
  _, state = ours.init(None, x, True, views)
  params, expected = theirs.init(None, x, True, views)
  params = jax.tree.map(lambda p: p + 0.3, params)
  assert jax.tree.structure(state) == jax.tree.structure(expected)

  def train(net):
    def loss(params, state, x):
      out, state = net.apply(params, state, x, True, views)
      return jnp.sum(weights * out**2), (out, state)
    return jax.jit(jax.value_and_grad(loss, argnums=(0, 2), has_aux=True))

  for i in range(2):  # the second time from a state that is not fresh
    (_, (out, state)), grads = train(ours)(params, state, x + i)
    (_, (reference, expected)), reference_grads = train(theirs)(
        params, expected, x + i)
    _assert_close((out, state, grads), (reference, expected, reference_grads),
                  rtol=1e-9, atol=1e-9)
    assert state['batch_norm/~/mean_ema']['counter'] == views * (i + 1)
  # inference: the running averages, whatever is in the batch
  out, same = ours.apply(params, state, x, False, views)
  reference, _ = theirs.apply(params, expected, x, False, views)
  np.testing.assert_allclose(out, reference, rtol=1e-9, atol=1e-9)
  _assert_close(same, state)
  alone, _ = ours.apply(params, state, x[:1], False, 1)
  np.testing.assert_allclose(alone, out[:1], rtol=1e-12, atol=1e-12)


def test_equals_the_formula(x64):
  x = _inputs(8, 3, 5, 4)
  net = _ours()
  params, state = net.init(None, jnp.asarray(x), True, 2)
  out, state = net.apply(params, state, jnp.asarray(x), True, 2)
  halves = []
  for half in (x[:4], x[4:]):
    mean, var = half.mean((0, 1, 2)), half.var((0, 1, 2))  # biased
    halves.append((half - mean) / np.sqrt(var + 1e-5))
  np.testing.assert_allclose(out, np.concatenate(halves), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('num_devices', [2, 4, 8])
def test_over_devices_it_equals_the_whole_batch(num_devices):
  devices = jax.devices()[:num_devices]
  x = _inputs(2, 16, 3, 4).astype(np.float32)
  params, state = _ours().init(None, jnp.asarray(x[0]), True, 1)
  params = jax.tree.map(lambda p: p + 0.3, params)
  out, new_state = _ours().apply(
      params, state, jnp.asarray(x).reshape(32, 3, 4), True, 2)

  each = 16 // num_devices
  parts = x.reshape(2, num_devices, each, 3, 4).swapaxes(0, 1)
  mapped = jax.pmap(
      lambda x: _ours('i').apply(params, state, x, True, 2), axis_name='i',
      devices=devices)
  out_parts, states = mapped(parts.reshape(num_devices, 2 * each, 3, 4))
  together = np.asarray(out_parts).reshape(num_devices, 2, each, 3, 4)
  np.testing.assert_allclose(together.swapaxes(0, 1).reshape(32, 3, 4), out,
                             rtol=1e-5, atol=1e-5)
  for device in range(num_devices):
    _assert_close(jax.tree.map(lambda s: np.asarray(s)[device], states),
                  jax.tree.map(np.asarray, new_state), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('num_devices', [1, 2, 4, 8])
def test_parts_are_normalized_by_themselves_whatever_the_devices(num_devices):
  """Four parts of 16 examples: a device has several, or several devices share one."""
  views, groups, n = 2, 4, 16
  x = 3 + _inputs(views, n, 4).astype(np.float32)
  expected = np.empty_like(x)
  means = np.empty((views, groups, 4))
  for view in range(views):
    for k in range(groups):
      part = x[view, k * 4:k * 4 + 4]
      means[view, k] = part.mean(0)
      expected[view, k * 4:k * 4 + 4] = (part - part.mean(0)) / np.sqrt(
          part.var(0) + 1e-5)
  make = lambda axis: hk.without_apply_rng(hk.transform_with_state(
      lambda x: norm.BatchNorm(axis_name=axis, groups=groups if axis else 1)(
          x, True, views)))
  params, state = make(None).init(None, x.reshape(-1, 4))
  each = n // num_devices
  parts = x.reshape(views, num_devices, each, 4).swapaxes(0, 1)
  out, states = jax.pmap(
      lambda x: make('i').apply(params, state, x), axis_name='i',
      devices=jax.devices()[:num_devices])(parts.reshape(num_devices, views * each, 4))
  out = np.asarray(out).reshape(num_devices, views, each, 4).swapaxes(0, 1)
  np.testing.assert_allclose(out.reshape(views, n, 4), expected, rtol=1e-4, atol=1e-5)
  # one view after the other, each the mean over the parts; without bias at the start
  average = next(leaves['average'] for module, leaves in states.items()
                 if module.endswith('mean_ema'))
  one, two = means.mean(1)
  for device in range(num_devices):
    np.testing.assert_allclose(
        np.asarray(average)[device].reshape(-1), (0.9 * one + two) / 1.9, rtol=1e-5)


def test_bfloat16_in_bfloat16_out_float32_statistics():
  """A mean that bfloat16 sums would lose, and parameters in float32."""
  x = 10 + _inputs(4096, 2)
  x = jnp.asarray(x, jnp.bfloat16)
  net = _ours()
  params, state = net.init(None, x, True, 1)
  out, state = net.apply(params, state, x, True, 1)
  assert out.dtype == jnp.bfloat16
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype('float32')}
  assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {
      jnp.dtype('float32'), jnp.dtype('int32')}
  exact = np.asarray(x, np.float64)
  np.testing.assert_allclose(
      state['batch_norm/~/mean_ema']['average'][0], exact.mean(0), rtol=1e-5)
  np.testing.assert_allclose(
      state['batch_norm/~/var_ema']['average'][0], exact.var(0), rtol=1e-4)


@pytest.mark.parametrize('value', [0.0, 3.3, -50.7, 1000.1])
def test_a_constant_channel_stays_finite(value):
  """E[x^2] - E[x]^2 in float32 rounds below zero, further than eps."""
  x = jnp.full((64, 4, 4, 5), value) * jnp.array([1, .9, 1.1, 1.3, .77])
  params, state = _ours().init(None, x, True, 2)
  def loss(x):
    out, new_state = _ours().apply(params, state, x, True, 2)
    return jnp.sum(out**2), (out, new_state)
  grad, (out, new_state) = jax.jit(jax.grad(loss, has_aux=True))(x)
  assert all(np.isfinite(leaf).all()
             for leaf in jax.tree.leaves((grad, out, new_state)))
  assert new_state['batch_norm/~/var_ema']['average'].min() >= 0


def test_scale_init():
  def forward(x):
    return norm.BatchNorm(scale_init=jnp.zeros)(x, True)
  params, _ = hk.transform_with_state(forward).init(None, jnp.ones((2, 3)))
  np.testing.assert_array_equal(params['batch_norm']['scale'], np.zeros((1, 3)))
  np.testing.assert_array_equal(params['batch_norm']['offset'], np.zeros((1, 3)))
