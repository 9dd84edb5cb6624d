"""The compiler is told once, and numbers are pinned."""

import os

import jax
import numpy as np
import pytest

from byol_jax.devices import compiler


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


def test_a_process_may_leave_the_accelerators_to_others(monkeypatch):
  before = jax.config.jax_platforms
  try:
    jax.config.update('jax_platforms', None)
    compiler.leave_accelerators()
    assert jax.config.jax_platforms == 'cpu'
  finally:
    jax.config.update('jax_platforms', before)


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


def test_what_changes_numbers_is_named_and_the_rest_is_not(monkeypatch):
  monkeypatch.setenv('XLA_FLAGS', '--xla_b=1 --xla_force_host_platform_device_count=8 '
                     '--xla_a=2 --xla_dump_to=/x')
  monkeypatch.setenv('NVIDIA_TF32_OVERRIDE', '0')
  for name in ('JAX_ENABLE_X64', 'JAX_DEBUG_NANS', 'JAX_COMPILATION_CACHE_DIR',
               'JAX_PROCESS_ID', 'JAX_OF_A_LAUNCHER', 'JAX_OPTIMIZATION_LEVEL'):
    monkeypatch.setenv(name, '1')
  monkeypatch.delenv('LIBTPU_INIT_ARGS', raising=False)
  assert compiler.environment() == {
      'XLA_FLAGS': '--xla_a=2 --xla_b=1', 'JAX_*': 'JAX_OPTIMIZATION_LEVEL=1',
      'LIBTPU_INIT_ARGS': '', 'NVIDIA_TF32_OVERRIDE': '0',
      'jaxlib': jax.lib.__version__, 'devices': 'cpu'}


def test_pinned_numbers_are_given_back():
  before = jax.config.jax_enable_x64
  jax.config.update('jax_enable_x64', True)
  try:
    with compiler.pinned_numbers():
      assert not jax.config.jax_enable_x64
    assert jax.config.jax_enable_x64
  finally:
    jax.config.update('jax_enable_x64', before)


def test_settings_that_stop_a_program_are_pinned():
  jax.config.update('jax_legacy_prng_key', 'error')
  try:
    with pytest.raises(ValueError, match='Legacy'):
      jax.random.bits(jax.random.PRNGKey(0))
    with compiler.pinned_numbers():
      jax.random.bits(jax.random.PRNGKey(0))
  finally:
    jax.config.update('jax_legacy_prng_key', 'allow')
