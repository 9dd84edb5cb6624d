"""A command as a process of its own: its end, its words, and its signals."""

import os
import signal
import subprocess
import sys
import time

import pytest

from byol_jax.run import child
from byol_jax.run import signals

PATIENT = '''
import signal, sys, time
def leave(number, frame):
  print('left by', number, flush=True)
  time.sleep(0.3)  # a second signal would end it here
  sys.exit(0)
for number in (signal.SIGINT, signal.SIGTERM):
  signal.signal(number, leave)
print('begun', flush=True)
time.sleep(60)
'''


def run(code, tmp_path, leaving=None, tell=lambda line: None, every_seconds=60.0):
  return child.run([sys.executable, '-c', code], str(tmp_path / 'log.txt'),
                   leaving or signals.Leaving(), environment=os.environ, tell=tell,
                   every_seconds=every_seconds)


@pytest.mark.parametrize('code, ended', [
    ('print("done")', (0, 'done')),
    ('import sys; print("byol_jax: no such folder\\nset data.path"); sys.exit(2)',
     (2, 'no such folder set data.path')),
    ('import sys; print("byol_jax: old", file=sys.stderr); print("byol_jax: new", '
     'file=sys.stderr); sys.exit(75)', (75, 'new')),
    ('import os; os.kill(os.getpid(), 9)', (-9, '')),
    ('1 / 0', (1, 'ZeroDivisionError: division by zero'))])
def test_how_it_ended(tmp_path, code, ended):
  (tmp_path / 'log.txt').write_text('byol_jax: of an earlier try\n')
  assert run(code, tmp_path) == (*ended, ())
  assert (tmp_path / 'log.txt').read_text().startswith('byol_jax: of an earlier try\n')


def test_what_it_warned_of(tmp_path):
  log = tmp_path / 'log.txt'
  log.write_text('warning: of an earlier try\n')
  code = ('print("warning: odd\\nwell\\nwarning: dark\\nwarning: odd"); '
          'print("step 1/2\\n" * 9000)')  # more than is read for the last line
  assert run(code, tmp_path).warnings == ('odd', 'dark')
  assert child.warnings(str(log)) == ('of an earlier try', 'odd', 'dark')
  assert child.warnings(str(tmp_path / 'none.txt')) == ()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_handed_on_once(tmp_path, number):
  leaving, told = signals.Leaving(), []
  leaving.now = signals.Now.AFTER_SAVING
  def tell(line):
    told.append(line)
    if line == 'begun' and not leaving.is_asked():  # a second one would end this process
      leaving.signal(number)
  assert run(PATIENT, tmp_path, leaving, tell, 0.05).code == 0
  assert (tmp_path / 'log.txt').read_text() == f'begun\nleft by {int(number)}\n'
  assert 'begun' in told


def test_ctrl_c_reaches_the_parent_alone(tmp_path):
  """The terminal sends it to the group of processes that it has started."""
  parent = subprocess.Popen([sys.executable, '-c', f'''
import os, sys
from byol_jax.run import child, signals
with signals.on_signals() as leaving:
  leaving.now = signals.Now.AFTER_SAVING
  print(child.run([sys.executable, '-c', {PATIENT!r}], {str(tmp_path / 'log.txt')!r},
                  leaving, environment=os.environ, tell=print, every_seconds=60).code)
'''], start_new_session=True, stdout=subprocess.PIPE, text=True)
  until = time.monotonic() + 60
  while not (tmp_path / 'log.txt').exists() or not (tmp_path / 'log.txt').read_text():
    assert time.monotonic() < until
    time.sleep(0.05)
  os.killpg(parent.pid, signal.SIGINT)
  assert parent.communicate(timeout=60)[0] == '0\n'
  assert (tmp_path / 'log.txt').read_text() == f'begun\nleft by {int(signal.SIGINT)}\n'


def test_a_parent_that_fails_lets_its_child_leave(tmp_path):
  def tell(line):
    if line == 'begun':
      raise RuntimeError(line)
  with pytest.raises(RuntimeError, match='begun'):
    run(PATIENT, tmp_path, tell=tell, every_seconds=0.05)
  until = time.monotonic() + 60
  while 'left by 15' not in (tmp_path / 'log.txt').read_text():
    assert time.monotonic() < until
    time.sleep(0.05)
