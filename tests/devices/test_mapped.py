"""Replicas on the devices, updates over them, and what is padded for them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.devices import mapped


# ------------------------------------------------------------------ replicas
def test_replicate_and_update_keep_shapes_without_a_device_axis():
  def update(state, shared, batch):
    total = jax.lax.psum(jnp.sum(batch), mapped.AXIS)
    return state + shared * total, {'total': total}
  step = mapped.pmap_update(update)
  n = jax.local_device_count()
  state = mapped.replicate(np.arange(3.))
  shared = mapped.replicate(np.float32(2))
  assert state.shape == (3,) and len(state.addressable_shards) == n
  assert mapped.replicas_agree({'a': state, 'b': shared})
  new, metrics = step(state, shared, np.ones((n, 5), np.float32))
  assert new.shape == (3,) and float(metrics['total']) == 5 * n
  np.testing.assert_allclose(new, np.arange(3.) + 10 * n)
  assert mapped.replicas_agree(new)
  assert state.is_deleted() and not shared.is_deleted()


def test_replicas_that_differ_are_found():
  devices = jax.devices()[:2]
  drift = mapped.pmap_update(
      lambda state, shared, batch: (state + shared * batch, {}), devices)
  state, _ = drift(np.float32(1), np.float32(1e-7), np.arange(2, dtype=np.float32))
  assert not mapped.replicas_agree({'a': state})  # the last bit
  assert mapped.replicas_agree({})


def test_replicate_on_some_devices():
  some = jax.devices()[1:3]
  x = mapped.replicate({'a': np.int32(7)}, some)['a']
  assert {s.device for s in x.addressable_shards} == set(some) and int(x) == 7


# --------------------------------------------------------------- map_batches
@pytest.mark.parametrize('size', [1, 5, 8, 19])
def test_map_batches_pads_and_cuts(size):
  call = mapped.map_batches(
      lambda shared, batch: {'y': batch['x'] * shared + batch['z'][:, None]})
  x = np.arange(size * 3, dtype=np.float32).reshape(size, 3)
  z = np.arange(size, dtype=np.int32)
  out = call(np.float32(2), {'x': x, 'z': z})
  assert isinstance(out['y'], np.ndarray)
  np.testing.assert_array_equal(out['y'], 2 * x + z[:, None])
