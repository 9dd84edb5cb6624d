"""Makes plain `pytest` run as tests/run.sh does: eight CPU devices."""

import os
import sys

import pytest

if 'jax' not in sys.modules:  # it reads these when it is imported
  os.environ.setdefault('JAX_PLATFORMS', 'cpu')
  _FLAGS = os.environ.get('XLA_FLAGS', '')
  if 'xla_force_host_platform_device_count' not in _FLAGS:
    os.environ['XLA_FLAGS'] = (
        _FLAGS + ' --xla_force_host_platform_device_count=8').strip()


@pytest.fixture(name='x64')
def _x64():
  """Runs the test with float64 enabled."""
  import jax  # not at the top: after the environment is set
  with jax.enable_x64(True):
    yield


@pytest.fixture(autouse=True)
def _console():
  """Gives the console back as it was: main's holds a stdout that pytest closes."""
  from byol_jax import logs
  before = list(logs.console.handlers), logs.console.propagate, logs.console.level
  yield
  logs.console.handlers, logs.console.propagate = before[:2]
  logs.console.setLevel(before[2])
