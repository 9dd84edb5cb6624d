"""Pods that are not there; steps are compiled for them in tasks/test_preflight.py."""

import types

from byol_jax.devices import topology


def test_a_bound_that_cannot_be_is_not_told():
  """The compiler says -120 s of the paper's step on a v5e."""
  for seconds, told in ((-120.0, (0.01, 'arithmetic')), (0.03, (0.03, 'compiler'))):
    assert topology.lower_bound(seconds, 1.97e12, 'TPU v5 lite') == told


def test_hosts_are_counted_by_their_devices():
  devices = [types.SimpleNamespace(process_index=k // 4) for k in range(12)]
  assert topology.num_hosts(devices) == 3
