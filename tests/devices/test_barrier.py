"""The barrier between real processes: all wait for the last, and not for the dead."""

import os
import pathlib
import socket
import subprocess
import sys

from byol_jax.devices import barrier

ROOT = pathlib.Path(__file__).resolve().parents[2]
_PROGRAM = '''
import sys, time
import jax
from byol_jax.devices import barrier
me = int(sys.argv[1])
jax.distributed.initialize(sys.argv[2], num_processes=2, process_id=me)
barrier.wait_for_all('started', 60)  # importing took each its time
if me == 1:
  time.sleep(0.4)
came = time.time()
barrier.wait_for_all('one', 60)
print(came, time.time())
if me == 0:
  try:
    barrier.wait_for_all('two', 1)  # the other one does not come
  except jax.errors.JaxRuntimeError as error:
    print('DEADLINE_EXCEEDED' in str(error), time.time())
barrier.wait_for_all('three', 60)  # another name is another barrier
print('end')
'''


def test_two_processes_meet():
  with socket.socket() as s:
    s.bind(('localhost', 0))
    where = f'localhost:{s.getsockname()[1]}'
  processes = [subprocess.Popen(
      [sys.executable, '-c', _PROGRAM, str(k), where], cwd=ROOT, text=True,
      env=os.environ | {'JAX_PLATFORMS': 'cpu'}, stdout=subprocess.PIPE,
      stderr=subprocess.PIPE) for k in range(2)]
  said = []
  for process in processes:
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    said.append(output.splitlines())
  (came, left), (came_late, left_too) = (map(float, lines[0].split()) for lines in said)
  assert came_late > came + 0.3
  assert min(left, left_too) >= came_late  # nobody leaves before the last one comes
  gave_up, at = said[0][1].split()
  assert gave_up == 'True' and 0.9 < float(at) - left < 30
  assert said[0][2] == said[1][1] == 'end'


def test_a_process_by_itself_waits_for_nobody():
  barrier.wait_for_all('alone', 1)
