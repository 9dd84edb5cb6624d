"""Programs of a few lines that the tests of signals and of the watchdog start."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def start(code):
  process = subprocess.Popen(
      [sys.executable, '-c', code], stdout=subprocess.PIPE,
      stderr=subprocess.PIPE, text=True, cwd=ROOT)
  assert process.stdout.readline() == 'ready\n'
  return process


def end(process):
  output, errors = process.communicate(timeout=30)
  return process.returncode, output, errors


# what keeps the main thread from running Python, as a compiler does
BUSY = 'import ctypes\n  for _ in range(100): ctypes.CDLL(None).sleep(1)'
WATCHING = '''
from byol_jax.run import signals
signals.for_good()
with signals.on_signals() as leave:
  {now}
  print('ready', flush=True)
  {body}
print('asked', leave.is_asked(), flush=True)
'''
