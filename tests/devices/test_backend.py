"""Errors of jax as a user should read them, and which of them may pass."""

import jax
import pytest

from byol_jax.devices import backend
from byol_jax.errors import TransientError
from byol_jax.errors import UserError


@pytest.mark.parametrize('platforms, error, message', [
    ('cuda', AssertionError(), "JAX_PLATFORMS='cuda' .*no plug-in.*\\[cuda\\]"),
    ('tpu', RuntimeError('Unable to initialize backend'), "'tpu'.*\\[tpu\\].*unset it"),
    ('foo', RuntimeError('Backend foo is not known'), 'foo is not known.*unset it')])
def test_a_platform_that_is_not_there(monkeypatch, platforms, error, message):
  def devices():
    raise error
  monkeypatch.setattr(jax, 'devices', devices)
  monkeypatch.setattr(type(jax.config), 'jax_platforms', platforms, raising=False)
  monkeypatch.setenv('JAX_PLATFORMS', platforms)
  with pytest.raises(UserError, match=message):
    backend.require()


@pytest.mark.parametrize('flags, said', [
    ('--xla_no_such_flag=1', 'Unknown flag .*xla_no_such_flag'), ('nonsense', 'nonsense'),
    ('--xla_cpu_enable_fast_math=maybe', 'interpret value maybe')])
def test_flags_that_xla_cannot_read(monkeypatch, flags, said):
  monkeypatch.setenv('XLA_FLAGS', flags)
  with pytest.raises(UserError, match=f'XLA_FLAGS=.* cannot be read .*{said}'):
    backend.check_flags()
  for good in ('--xla_force_host_platform_device_count=2', ''):
    monkeypatch.setenv('XLA_FLAGS', good)
    backend.check_flags()


def test_devices_that_another_process_holds_may_come_back(monkeypatch):
  def devices():
    raise RuntimeError('The TPU is already in use by process with pid 7')
  monkeypatch.setattr(jax, 'devices', devices)
  with pytest.raises(TransientError, match='pid 7'):
    backend.require()
  monkeypatch.undo()
  backend.require()


@pytest.mark.parametrize('error, wanted', [
    (jax.errors.JaxRuntimeError(
        'RESOURCE_EXHAUSTED: Out of memory allocating 69525134976 bytes.'), '64.8 GiB'),
    (jax.errors.JaxRuntimeError(
        'RESOURCE_EXHAUSTED: Failed to allocate request for 65.50GiB'), '65.50 GiB'),
    (MemoryError('Unable to allocate 12.0 GiB for an array'), '12.0 GiB'),
    (MemoryError(), 'what the computation needs')])
def test_a_shortage_of_memory_is_a_mistake_at_first(error, wanted):
  with pytest.raises(UserError, match=f'{wanted} cannot be had .*: lower it'):
    with backend.explained('lower it'):
      raise error
  with pytest.raises(TransientError, match='goes on .*lower it'):
    with backend.explained('lower it', lambda: True):
      raise error


def test_other_errors_stay():
  error = jax.errors.JaxRuntimeError('INTERNAL: a link is down')
  with pytest.raises(jax.errors.JaxRuntimeError):
    with backend.explained('lower it'):
      raise error
  assert backend.is_transient(error)
  assert not backend.is_transient(jax.errors.JaxRuntimeError('INVALID_ARGUMENT: shape'))
  assert not backend.is_transient(ValueError('INTERNAL'))
