"""A process that is stuck ends, and says where."""

import os
import pathlib
import signal
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from program import BUSY
from program import end
from program import start
from program import WATCHING

STUCK = '''
from byol_jax.run.watchdog import Watchdog
import time
def stuck_here():
  {stuck}
with Watchdog({seconds}, {path!r}) as watchdog:
  print('ready', flush=True)
  watchdog.beat('the step after 7')
  {before}
  stuck_here()
print('alive')
'''


def test_a_stuck_process_ends_and_says_where(tmp_path):
  path = str(tmp_path / 'stacks.txt')
  process = start(STUCK.format(stuck='time.sleep(100)', seconds=0.5, path=path,
                               before=''))
  code, _, errors = end(process)
  assert code == 75
  for text in (errors, open(path, encoding='utf-8').read()):
    assert 'the step after 7 has taken more than 0.5 s' in text
    assert 'stuck_here' in text and 'step_timeout' in text


@pytest.mark.parametrize('seconds,stuck,before', [
    (0, 'time.sleep(1)', ''),
    (0.5, 'pass', 'with watchdog.paused(): time.sleep(1)'),
    (0.5, 'pass', 'for _ in range(4): time.sleep(.25); watchdog.beat("x")')])
def test_a_live_one_does_not(tmp_path, seconds, stuck, before):
  process = start(STUCK.format(stuck=stuck, seconds=seconds, before=before,
                               path=str(tmp_path / 'stacks.txt')))
  assert end(process) == (0, 'alive\n', '')
  assert not os.listdir(tmp_path)


def test_nobody_needs_to_listen(tmp_path):
  """Ctrl-C ends the `tee` that reads us, too; a pipe may be full."""
  process = start(WATCHING.format(now='', body=BUSY))
  process.stdout.close()
  process.stderr.close()
  process.send_signal(signal.SIGINT)
  assert process.wait(10) == 0

  fill = ('import os, fcntl\n'
          'os.set_blocking(2, False)\n'
          'try:\n  while True: os.write(2, bytes(4096))\n'
          'except BlockingIOError: os.set_blocking(2, True)\n'
          'from byol_jax import ending\n'
          'ending._SECONDS_TO_TELL = 1\n')
  process = start(fill + STUCK.format(
      stuck='time.sleep(100)', seconds=0.5, path=str(tmp_path / 'stacks.txt'),
      before=''))
  assert process.wait(20) == 75
  assert 'stuck_here' in (tmp_path / 'stacks.txt').read_text()
  process.communicate()
