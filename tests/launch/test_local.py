"""launch/local.sh: processes and devices on one machine."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from stand_ins import executable
from stand_ins import LAUNCH

_ECHO = '''#!/usr/bin/env bash
if [ "$1" = -c ]; then echo 12345; exit; fi
echo "$JAX_PLATFORMS $JAX_NUM_CPU_DEVICES $JAX_COORDINATOR_ADDRESS $JAX_PROCESS_ID/$JAX_NUM_PROCESSES $*"
exit $((JAX_PROCESS_ID == 1 ? ${CODE:-0} : ${CODE:-0} / 2))
'''


def test_local_processes_and_devices(host):
  executable(host.bin / 'program', _ECHO)
  def lines(**env):
    done = host.run('local.sh', '--config.seed=1', **env)
    return sorted(done.stdout.splitlines()), done.returncode
  tail = '-m byol_jax.main --config=configs/fashion.py --config.seed=1'
  assert lines() == ([f'   / {tail}'], 0)
  assert lines(BYOL_DEVICES='4') == ([f'cpu 4  / {tail}'], 0)
  both = [f'cpu 4 localhost:12345 {i}/2 {tail} --distributed=on' for i in range(2)]
  assert lines(BYOL_PROCESSES='2', BYOL_DEVICES='4') == (both, 0)
  # a mistake is what there is to mend
  assert lines(BYOL_PROCESSES='2', BYOL_DEVICES='4', CODE='2') == (both, 2)
  done = host.run('local.sh', BYOL_PROCESSES='two')
  assert done.returncode == 2 and 'BYOL_PROCESSES=two' in done.stderr


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_local_processes_get_one_signal_each(host, number):
  process = subprocess.Popen(
      ['bash', str(LAUNCH / 'local.sh')], env=host.env | {'BYOL_PROCESSES': '2'},
      stdout=subprocess.PIPE, text=True, start_new_session=True)
  started = 0
  for line in process.stdout:
    started += line == '<--distributed=on>\n'
    if started == 2:
      break
  time.sleep(0.2)
  os.killpg(process.pid, number)  # as Ctrl-C and `timeout` do
  rest = process.communicate(timeout=20)[0]
  assert rest.count('saved and left') == 2 and process.returncode == 0
