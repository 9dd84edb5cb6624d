"""The end of a process: at once, from any thread, and with its reason if it can tell."""

import os
import pathlib
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
_PROGRAM = '''
import sys, threading, time
from byol_jax import ending
ending._SECONDS_TO_TELL = 0.5
{}
print('not reached')
'''


def _run(code):
  return subprocess.run([sys.executable, '-c', _PROGRAM.format(code)], text=True,
                        cwd=ROOT, capture_output=True, timeout=30)


def test_the_reason_and_what_was_printed_before_arrive():
  done = _run('print("before")\n'  # in a buffer: stdout is a pipe
              'ending.exit_saying(75, "the reason", sys.stderr)')
  assert (done.returncode, done.stdout, done.stderr) == (75, 'before\n', 'the reason\n')


def test_no_reason_is_no_empty_line():
  done = _run('ending.exit_saying(0, "", sys.stdout)')
  assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


def test_a_thread_ends_the_process():
  done = _run('threading.Thread(target=ending.exit_saying, args=(3, "t", sys.stderr)'
              ').start()\ntime.sleep(20)')
  assert (done.returncode, done.stderr) == (3, 't\n')


@pytest.mark.parametrize('tell', [
    'lambda: time.sleep(20)',  # as a disk that hangs
    'lambda: 1 / 0',
    'sys.exit'], ids=['hangs', 'raises', 'exits'])
def test_what_tells_cannot_keep_the_process(tell):
  start = time.monotonic()
  done = _run(f'ending.end(9, {tell})')
  assert done.returncode == 9 and 'not reached' not in done.stdout
  assert time.monotonic() - start < 15


def test_nobody_reads():
  """Ctrl-C ends the `tee` that would, too."""
  done = _run('sys.stdout.close()\n'
              'ending.exit_saying(5, "the reason", sys.stderr)')
  assert (done.returncode, done.stderr) == (5, 'the reason\n')


def test_nothing_is_called_on_the_way_out():
  """An exit handler may wait for a thread that is stuck."""
  done = _run('import atexit\natexit.register(print, "handler")\n'
              'try: ending.end(4, lambda: None)\nfinally: print("finally")')
  assert (done.returncode, done.stdout) == (4, '')


_CONSOLE = '''
import os, sys
from byol_jax import ending
ending.open_console()
assert os.open(sys.argv[0] + '.other', os.O_CREAT) > 2  # no file that is opened later
print('said', flush=True)
print('told', file=sys.stderr)
assert sys.stdin.read() == ''
'''


@pytest.mark.parametrize('closed, said, told', [
    ('', 'said\n', 'told\n'), ('>&-', '', 'told\n'), ('2>&-', 'said\n', ''),
    ('<&- >&-', '', 'told\n'), ('<&- >&- 2>&-', '', '')])
def test_a_console_that_is_closed_takes_everything(tmp_path, closed, said, told):
  (tmp_path / 'script.py').write_text(_CONSOLE)
  done = subprocess.run(
      f"'{sys.executable}' '{tmp_path}/script.py' {closed}", shell=True, text=True,
      stdin=subprocess.DEVNULL, capture_output=True, check=False,
      cwd=ROOT, env=os.environ | {'PYTHONPATH': str(ROOT)})
  assert (done.returncode, done.stdout, done.stderr) == (0, said, told)
