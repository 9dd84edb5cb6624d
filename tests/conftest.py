"""Makes plain `pytest` run as tests/run.sh does: eight CPU devices."""

import os
import signal
import sys

import pytest

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
  # of a shell's background job; what tests start would inherit it, and Ctrl-C is tested
  signal.signal(signal.SIGINT, signal.default_int_handler)

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
  """Gives each test the console as it is before main: that one's handler holds a
  stdout that pytest closes, and pytest hears twice what it does not propagate."""
  from byol_jax import logs
  def as_imported():
    logs.console.handlers, logs.console.propagate = [], True
    logs.console.setLevel('NOTSET')
  as_imported()  # a module's fixture may have run main
  yield
  as_imported()
