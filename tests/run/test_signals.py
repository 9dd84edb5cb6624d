"""Signals while the main thread cannot hear, and a process that is stuck."""

import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
from PIL import Image
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / 'faults'))

import harness
from program import BUSY
from program import end
from program import start
from program import WATCHING


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_before_there_is_something_to_save_it_leaves_at_once(number):
  process = start(WATCHING.format(now='', body=BUSY))
  process.send_signal(number)
  code, output, errors = end(process)
  assert (code, errors) == (0, '') and 'nothing is lost' in output


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_and_the_second_ends(number):
  wait = 'import time\n  while not leave.is_asked(): time.sleep(0.01)'
  process = start(WATCHING.format(now='leave.now = signals.Now.AFTER_SAVING', body=wait))
  process.send_signal(number)
  assert end(process)[:2] == (0, 'asked True\n')

  process = start(WATCHING.format(now='leave.now = signals.Now.AFTER_SAVING', body=BUSY))
  process.send_signal(number)
  time.sleep(0.3)
  assert process.poll() is None
  process.send_signal(number)
  assert end(process)[0] == 128 + number


GUEST = """
import os, signal, time
from byol_jax.run import signals
def by(number, frame): print('by its own handler', flush=True)
signal.signal(signal.SIGTERM, by)
try:
  with signals.on_signals() as leave:
    {now}
    print('ready', flush=True)
    for _ in range({loops}):
      time.sleep(0.01)
      if leave.is_asked(): break
    print('saved', flush=True)
  print('not reached after SIGINT', flush=True)
except KeyboardInterrupt:
  print('interrupted', flush=True)
  time.sleep(0.2)
print('alive', flush=True)
"""
SAVING = 'leave.now = signals.Now.AFTER_SAVING'


@pytest.mark.parametrize('number, now, said', [
    (signal.SIGINT, '', ['interrupted', 'alive']),
    (signal.SIGINT, SAVING, ['saved', 'interrupted', 'alive']),
    (signal.SIGTERM, SAVING, ['saved', 'by its own handler', 'not reached after SIGINT',
                              'alive'])])
def test_in_a_program_of_somebody_else_nothing_ends_the_process(number, now, said):
  process = start(GUEST.format(now=now, loops=2000))
  process.send_signal(number)
  code, output, errors = end(process)
  assert (code, output.splitlines(), errors) == (0, said, '')


def test_a_second_signal_interrupts_the_saving_of_a_guest():
  process = start(GUEST.format(now=SAVING, loops=2000).replace(
      'break', "print('asked', flush=True); time.sleep(60)"))
  process.send_signal(signal.SIGINT)
  assert process.stdout.readline() == 'asked\n'
  process.send_signal(signal.SIGINT)
  assert end(process)[:2] == (0, 'interrupted\nalive\n')


def test_handlers_come_back_and_threads_are_let_alone():
  code = '''
import signal, threading
from byol_jax.run import signals
before = [signal.getsignal(n) for n in signals.NUMBERS]
with signals.on_signals():
  pass
assert [signal.getsignal(n) for n in signals.NUMBERS] == before
def elsewhere():
  with signals.on_signals() as leave:
    assert not leave.is_asked()
thread = threading.Thread(target=elsewhere)
thread.start(); thread.join()
print('ready', threading.active_count())
'''
  done = subprocess.run([sys.executable, '-c', code], cwd=harness.ROOT, check=True,
                        capture_output=True, text=True)
  assert done.stdout == 'ready 1\n'


@pytest.mark.parametrize('ignored', [False, True])
def test_a_closed_terminal(ignored):
  """SIGHUP is as SIGTERM, but not below nohup."""
  wait = 'import time\n  for _ in range(30):\n    time.sleep(0.1)'
  first = (f'import signal; signal.signal(signal.SIGHUP, signal.SIG_'
           f'{"IGN" if ignored else "DFL"})\n')
  process = start(first + WATCHING.format(now='leave.now = signals.Now.AFTER_SAVING', body=wait))
  process.send_signal(signal.SIGHUP)
  assert end(process)[:2] == (0, f'asked {not ignored}\n')


@pytest.mark.parametrize('code', [0, 75])
def test_the_program_ends_while_threads_of_a_library_wait(code):
  process = start(f'''
import threading, time
from byol_jax import main
threading.Thread(target=time.sleep, args=(60,)).start()
print('ready', flush=True)
main._exit({code})
''')
  started = time.monotonic()
  assert end(process)[0] == code
  assert time.monotonic() - started < 20


_STALLED = '''
import itertools, sys, time
from byol_jax import main
from byol_jax.run import signals
from byol_jax.tasks import data
open_data, count = data.open_data, itertools.count()
def stalling(config):
  train, test = open_data(config)
  def read(index):
    if next(count) >= 5 * 8:
      time.sleep(3)
    return train.read(index)
  return train._replace(read=read), test
data.open_data = stalling
signals.for_good()
main._exit(main.main(sys.argv))
'''


def test_a_run_whose_input_stalls_saves_the_last_step_and_leaves(tmp_path):
  (tmp_path / 'stalled.py').write_text(_STALLED)
  (tmp_path / 'images').mkdir()
  for k in range(8):
    Image.fromarray(np.full((12, 12, 3), 30 * k, np.uint8)).save(
        tmp_path / 'images' / f'{k}.png')
  process = harness.start(
      tmp_path, '--workdir=out', '--config.data.source=folder',
      '--config.data.path=images', '--config.data.resident=no',
      '--config.data.threads=1', '--config.log.every_steps=1',
      '--config.checkpoint.every_steps=100', script=('stalled.py',))
  for line in process.stdout:
    if line.startswith('step 5/'):
      break
  started = time.monotonic()
  process.send_signal(signal.SIGTERM)
  code, output = harness.finish(process)
  assert code == 0 and 'saved step 5 and left' in output, output
  assert harness.state_of(tmp_path / 'out')[0] == 5
  assert time.monotonic() - started < 20  # a batch takes 24 s
