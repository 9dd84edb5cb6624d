"""Devices: the layout of a batch, feeding, padding, replicas."""

import os
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.devices import compiler
from byol_jax.devices import grid as grid_lib
from byol_jax.devices import mapped
from byol_jax.devices import prefetch as prefetch_lib
from byol_jax.run import stopwatch


# --------------------------------------------------------------- the layout
@pytest.mark.parametrize('num_sub_batches', [1, 2, 3])
@pytest.mark.parametrize('num_devices', [1, 2, 4])
def test_example_grid(num_sub_batches, num_devices):
  grid = grid_lib.example_grid(24, num_sub_batches, num_devices)
  assert grid.dtype == np.int32
  assert grid.shape == (num_devices, num_sub_batches,
                        24 // num_devices // num_sub_batches)
  assert sorted(grid.reshape(-1)) == list(range(24))  # each exactly once
  # sub-batch k is the k-th part of the batch, for every number of devices
  part = 24 // num_sub_batches
  for k in range(num_sub_batches):
    assert grid[:, k].reshape(-1).tolist() == list(range(k * part, (k + 1) * part))


def test_example_grid_in_numbers():
  assert grid_lib.example_grid(8, 2, 2).tolist() == [
      [[0, 1], [4, 5]], [[2, 3], [6, 7]]]


def test_the_local_grid_is_the_whole_one_on_one_host():
  n = jax.device_count()
  np.testing.assert_array_equal(grid_lib.local_example_grid(4 * n, 2),
                                grid_lib.example_grid(4 * n, 2, n))


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


# ------------------------------------------------------------------ prefetch
def _batches(n):
  devices = jax.local_device_count()
  for i in range(n):
    yield {'x': np.full((devices, 2), i, np.int32)}


def _threads():
  return [t for t in threading.enumerate() if t.name == 'prefetch']


def _assert_no_thread_is_left():
  deadline = time.time() + 5
  while _threads() and time.time() < deadline:
    time.sleep(0.01)
  assert not _threads()


def test_prefetch_keeps_the_order_and_puts_on_the_devices():
  seen = []
  for batch in prefetch_lib.prefetch(_batches(7)):
    x = batch['x']
    assert isinstance(x, jax.Array)
    assert len(x.sharding.device_set) == jax.local_device_count()
    seen.append(int(x[0, 0]))
  assert seen == list(range(7))
  _assert_no_thread_is_left()


def test_prefetch_hands_on_the_exception_where_it_happened():
  def broken():
    yield from _batches(2)
    raise ValueError('no more')
  batches = prefetch_lib.prefetch(broken(), size=1)
  assert [int(next(batches)['x'][0, 0]) for _ in range(2)] == [0, 1]
  with pytest.raises(ValueError, match='no more'):
    next(batches)
  _assert_no_thread_is_left()


def test_closing_ends_the_thread_and_it_ran_only_a_little_ahead():
  taken = []
  def endless():
    for i in range(10**6):
      taken.append(i)
      yield from _batches(1)
  batches = prefetch_lib.prefetch(endless(), size=2)
  next(batches)
  time.sleep(0.3)
  assert len(taken) <= 5  # one used, two waiting, one in the thread's hands
  batches.close()
  _assert_no_thread_is_left()


@pytest.mark.parametrize('input_seconds,wait', [
    (.06, .0), (.105, .05), (.2, .5)])
def test_the_wait_for_input_is_what_the_step_leaves_of_it(input_seconds, wait):
  """Steps of 0.1 s that run beside the host, as a device's do."""
  def slow():
    for batch in _batches(6):
      time.sleep(input_seconds)
      yield batch
  ready = [0.]
  watch = stopwatch.Stopwatch(0)
  batches = prefetch_lib.prefetch(slow(), meanwhile=lambda: watch.look())
  next(batches)
  watch.lap(0, batch_size=1, total_steps=5)
  for _ in range(5):
    ready[0] = max(ready[0], time.perf_counter()) + .1  # a step is sent
    with watch.waiting(lambda: time.perf_counter() < ready[0]):
      next(batches)
  found = watch.lap(5, batch_size=1, total_steps=5)['data_wait']
  assert found == pytest.approx(wait, abs=.15)
  batches.close()


def test_a_wait_can_be_ended_and_the_batch_still_comes():
  come = threading.Event()
  def late():
    come.wait()
    yield from _batches(1)
  enough = [False, False, True]
  batches = prefetch_lib.prefetch(late(), meanwhile=lambda: enough.pop(0))
  assert next(batches) is None and not enough
  come.set()
  enough += [False] * 1000
  assert int(next(batches)['x'][0, 0]) == 0


def test_prefetch_of_nothing():
  assert not list(prefetch_lib.prefetch(iter(())))


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


@pytest.mark.parametrize('before', ['', '--xla_cpu_use_onednn=false'])
def test_compiler_flags_are_added_once_and_never_replaced(monkeypatch, before):
  monkeypatch.setenv('XLA_FLAGS', before)
  monkeypatch.setattr(jax, '__version_info__', (0, 10, 2))
  compiler.set_compiler_flags()
  flags = os.environ['XLA_FLAGS'].split()
  assert flags[:-1] == before.split() and 'ynn' in flags[-1]
  compiler.set_compiler_flags()
  assert os.environ['XLA_FLAGS'].split() == flags


def test_an_unknown_jax_gets_no_compiler_flags(monkeypatch):
  monkeypatch.setenv('XLA_FLAGS', '')
  monkeypatch.setattr(jax, '__version_info__', (0, 12, 0))
  compiler.set_compiler_flags()
  assert not os.environ['XLA_FLAGS']


def test_more_draws_leave_the_first_ones_as_they_were():
  """Whatever the environment has set: old runs keep their augmentations."""
  names = ('jax_threefry_partitionable', 'jax_default_prng_impl', 'jax_enable_x64')
  before = {name: getattr(jax.config, name) for name in names}
  try:
    jax.config.update('jax_threefry_partitionable', False)
    jax.config.update('jax_enable_x64', True)
    compiler.pin_numbers()
    key = jax.random.PRNGKey(3)
    more, fewer = jax.random.uniform(key, (24,)), jax.random.uniform(key, (18,))
    np.testing.assert_array_equal(more[:18], fewer)
    assert more.dtype == np.float32
    # jax 0.10.2's, recorded: a later one must draw the same
    np.testing.assert_array_equal(fewer[:3], np.float32(
        [0.07405257225036621, 0.938144326210022, 0.6489570140838623]))
  finally:
    for name, value in before.items():
      jax.config.update(name, value)
