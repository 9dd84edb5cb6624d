"""Several processes agree or refuse; real ones are in tests/faults."""

import os
import subprocess
import sys

import jax
from jax.experimental import multihost_utils
import numpy as np
import pytest

from byol_jax.devices import hosts
from byol_jax.errors import TransientError
from byol_jax.errors import UserError


@pytest.fixture(name='others')
def _others(monkeypatch):
  """Lets this be process 0 of three; returns what the others send."""
  said = []
  def gather(mine, tiled):
    assert not tiled
    return np.stack([mine, *(change(mine) for change in said)])
  monkeypatch.setattr(jax, 'process_count', lambda: 3)
  monkeypatch.setattr(hosts, '_meet', lambda: None)
  monkeypatch.setattr(multihost_utils, 'process_allgather', gather)
  return said


def test_alone_there_is_nobody_to_ask():
  hosts.agree({'code': 1})
  assert hosts.from_first(7) == 7 and hosts.from_first(True) == 1
  assert hosts.in_turn('data', lambda: 'value') == 'value'
  with pytest.raises(UserError, match='mine'):
    with hosts.together('data'):
      raise UserError('mine')


def test_those_who_differ_are_named_with_what_differs(others):
  others += [lambda mine: mine, lambda mine: mine]
  hosts.agree({'code': 'x', 'config': {'a': 1}})
  def other(mine):
    mine = mine.copy()
    mine[1, 5] ^= 1
    return mine
  others[1] = other
  with pytest.raises(UserError, match='process 2 in its config differ from'):
    hosts.agree({'code': 'x', 'config': {'a': 1}})


def test_an_error_of_another_is_an_error_here(others):
  def message(text):
    return lambda mine: np.frombuffer(text.ljust(len(mine), b'\0'), np.uint8)
  others += [message(b''), message(b'')]
  with hosts.together('data'):
    pass
  with pytest.raises(UserError, match='^mine$'):
    with hosts.together('data'):
      raise UserError('mine')
  with pytest.raises(OSError, match='^mine$'):  # of any type
    with hosts.together('data'):
      raise OSError('mine')
  others[1] = message('Uno folder grün'.encode())
  with pytest.raises(UserError, match='^process 2, data: no folder grün$'):
    with hosts.together('data'):
      pass
  others[0] = message(b'Mdisk gone')
  with pytest.raises(TransientError, match='^process 1, data: disk gone$'):
    with hosts.together('data'):
      pass


def test_process_0_comes_first_and_its_error_stops_the_others(others, monkeypatch):
  order = []
  others.append(lambda mine: order.append('met') or np.zeros_like(mine))
  act = lambda: order.append('acted') or 'value'
  assert hosts.in_turn('data', act) == 'value' and order == ['acted', 'met', 'met']
  order.clear()
  monkeypatch.setattr(jax, 'process_index', lambda: 1)
  assert hosts.in_turn('data', act) == 'value' and order == ['met', 'acted', 'met']
  order.clear()
  others.append(lambda mine: np.frombuffer(b'Ugone'.ljust(len(mine), b'\0'), np.uint8))
  with pytest.raises(UserError, match='^process 2, data: gone$'):
    hosts.in_turn('data', act)
  assert order == ['met']


def test_what_an_error_sends(others):
  sent = []
  others.append(lambda mine: sent.append(bytes(mine)) or np.zeros_like(mine))
  for error in (UserError('x'), OSError('y\udcc3'), ValueError()):
    with pytest.raises(type(error)):
      with hosts.together('data'):
        raise error
  assert [s.rstrip(b'\0') for s in sent] == [b'Ux', b'My\\udcc3', b'MValueError']


def test_the_order_of_keys_is_not_a_difference(others):
  digests = []
  others.append(lambda mine: digests.append(mine) or mine)
  hosts.agree({'config': {'a': 1, 'b': (2, 3)}})
  hosts.agree({'config': {'b': [2, 3], 'a': 1}})
  assert (digests[0] == digests[1]).all()


def test_the_code_is_what_the_files_say(tmp_path, monkeypatch):
  (tmp_path / 'devices').mkdir()
  (tmp_path / 'devices/hosts.py').write_text('x')
  monkeypatch.setattr(hosts, '__file__', str(tmp_path / 'devices/hosts.py'))
  before = hosts.code_digest()
  (tmp_path / 'notes.txt').write_text('y')
  assert hosts.code_digest() == before
  (tmp_path / 'sub').mkdir()
  (tmp_path / 'sub' / 'more.py').write_text('')
  assert hosts.code_digest() != before


@pytest.mark.parametrize('mode, environment, said', [
    ('on', {'JAX_PROCESS_ID': 'x'}, '--distributed=on: no cluster found'),
    ('on', {}, '--distributed=on: no cluster found'),
    # half of what it takes is a mistake, not a laptop
    ('auto', {'JAX_PROCESS_ID': '1'}, '--distributed=auto: no cluster found'),
    ('auto', {}, '1 process'), ('off', {'JAX_PROCESS_ID': 'x'}, '1 process'),
])
def test_without_a_cluster(mode, environment, said):
  done = subprocess.run(
      [sys.executable, '-c', 'import sys, jax\n'
       'from byol_jax.devices import hosts\n'
       'from byol_jax.errors import UserError\n'
       'try:\n'
       '  hosts.initialize(sys.argv[1], 100, 20)\n'
       '  print(jax.process_count(), "process")\n'
       'except UserError as error: print(error)', mode],
      env=os.environ | {'JAX_PLATFORMS': 'cpu'} | environment,
      cwd=os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
      capture_output=True, text=True, check=False, timeout=120)
  assert done.returncode == 0 and said in done.stdout, done


def test_proxies_are_hidden_while_processes_meet(monkeypatch):
  monkeypatch.setenv('http_proxy', 'http://proxy:1')
  monkeypatch.setenv('HTTPS_PROXY', 'http://proxy:2')
  with hosts._without_proxies():
    assert not {'http_proxy', 'HTTPS_PROXY'} & os.environ.keys()
  assert os.environ['http_proxy'] == 'http://proxy:1' and 'HTTPS_PROXY' in os.environ


def test_what_jax_found_is_told_by_name(monkeypatch):
  for name in list(os.environ):
    if hosts._OF_CLUSTERS.fullmatch(name):
      monkeypatch.delenv(name)
  assert hosts._found() == 'found here: no variable of a cluster'
  monkeypatch.setenv('SLURM_NTASKS', '4')
  monkeypatch.setenv('SLURM_STEP_NODELIST', 'n[1-4]')
  assert hosts._found() == 'found here: SLURM_NTASKS=4, SLURM_STEP_NODELIST=n[1-4]'
