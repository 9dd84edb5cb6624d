"""Errors of jax as a user should read them, and which of them may pass."""

import re
import subprocess
import sys

import jax
import pytest

from byol_jax.devices import backend
from byol_jax.errors import TransientError
from byol_jax.errors import UserError


@pytest.mark.parametrize('platforms, error, message', [
    ('cuda', AssertionError(), "JAX_PLATFORMS='cuda' .*no plug-in.*\\[cuda\\]"),
    ('tpu', RuntimeError('Unable to initialize backend'), "'tpu'.*\\[tpu\\].*unset it"),
    ('foo', RuntimeError('Backend foo is not known'), 'foo is not known.*unset it'),
    ('cpu', RuntimeError('vector::reserve'), 'XLA_FLAGS=.*device_count=-3.*reserve')])
def test_a_platform_that_is_not_there(monkeypatch, platforms, error, message):
  def devices():
    raise error
  monkeypatch.setattr(jax, 'devices', devices)
  monkeypatch.setattr(type(jax.config), 'jax_platforms', platforms, raising=False)
  monkeypatch.setenv('JAX_PLATFORMS', platforms)
  monkeypatch.setenv('XLA_FLAGS', '--xla_force_host_platform_device_count=-3')
  with pytest.raises(UserError, match=message):
    backend.require()


def test_flags_that_xla_cannot_read():
  """In a process of its own: XLA reads its flags once, and here it has read them."""
  code = """if True:
      import os
      from byol_jax.devices import backend
      for flags in ('--xla_no_such_flag=1', 'nonsense', '--xla_cpu_enable_fast_math=maybe',
                    '--xla_force_host_platform_device_count=2', ''):
        os.environ['XLA_FLAGS'] = flags
        try:
          backend.check_flags()
          print('good')
        except backend.UserError as error:
          print(error)
  """
  said = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                        check=True).stdout.splitlines()
  for line, wanted in zip(said, (
      'Unknown flag .*xla_no_such_flag', 'nonsense', 'interpret value maybe', 'good',
      'good'), strict=True):
    assert re.search(wanted, line)
    assert wanted == 'good' or re.match('XLA_FLAGS=.* cannot be read ', line)


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
