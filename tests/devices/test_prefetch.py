"""Batches on their way to the devices: order, errors, waiting."""

import threading
import time

import jax
import numpy as np
import pytest

from byol_jax.devices import prefetch as prefetch_lib
from byol_jax.run import stopwatch


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
