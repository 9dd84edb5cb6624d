"""launch/worker.sh on one host, with a stand-in of the program."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from stand_ins import CONFIG
from stand_ins import eventually
from stand_ins import executable
from stand_ins import LAUNCH
from stand_ins import ODD


def status(host):
  line = host.run('worker.sh', 'status').stdout
  return line.split(' ', 1)[1].split(' last=')[0]


def test_a_run_outlives_its_start_and_says_how_it_ended(host):
  assert status(host) == 'state=none code='
  done = host.run('worker.sh', 'start', CONFIG, ODD)
  assert done.returncode == 0 and 'state=started' in done.stdout, done
  assert status(host) == 'state=running code='
  log = host.home / 'byol_jax_run' / 'log.txt'
  assert eventually(lambda: log.read_text().endswith(f'<{ODD}>\n')), log.read_text()
  for verb in ('start', 'idle', 'foreground'):
    second = host.run('worker.sh', verb, '--other')
    assert second.returncode == 2 and 'refused, a run is going on' in second.stderr
    assert CONFIG in second.stderr
  (host.bin / 'todo').write_text('2')
  assert eventually(lambda: status(host) == 'state=ended code=2')
  assert (host.home / 'byol_jax_run' / 'exit_code').read_text() == '2\n'
  assert host.run('worker.sh', 'idle').returncode == 0
  tail = host.run('worker.sh', 'log', '-n', '1').stdout
  assert tail.endswith('exit code 2\n')


def test_stop_lets_it_save_and_is_remembered(host):
  host.run('worker.sh', 'start', CONFIG)
  assert eventually(lambda: CONFIG in host.run('worker.sh', 'log').stdout.split('<')[-1])
  assert 'state=asked' in host.run('worker.sh', 'stop').stdout
  assert eventually(lambda: status(host) == 'state=stopped code=0')
  assert 'saved and left' in host.run('worker.sh', 'log').stdout
  assert 'nothing runs' in host.run('worker.sh', 'stop').stdout


def test_left_because_the_machine_goes_is_not_an_end(host):
  host.run('worker.sh', 'start', CONFIG)
  assert eventually(lambda: CONFIG in host.run('worker.sh', 'log').stdout.split('<')[-1])
  # a machine that shuts down signals every process
  os.killpg(int((host.home / 'byol_jax_run' / 'pid').read_text()), signal.SIGTERM)
  assert eventually(lambda: status(host) == 'state=ended code=75'), (
      host.run('worker.sh', 'status').stdout, host.run('worker.sh', 'log').stdout)
  assert 'saved and left' in host.run('worker.sh', 'log').stdout


def test_killed_with_its_keeper(host):
  host.run('worker.sh', 'start', CONFIG)
  host.run('worker.sh', 'kill')
  assert eventually(lambda: status(host) == 'state=ended code=137')


def test_in_a_container_the_signal_is_passed_on(host):
  process = subprocess.Popen(
      ['bash', str(LAUNCH / 'worker.sh'), 'foreground', CONFIG],
      env=host.env | {'BYOL_FORWARD': '1'}, stdout=subprocess.PIPE, text=True)
  for line in process.stdout:
    if line.startswith(f'<{CONFIG}'):
      break
  process.terminate()
  rest = process.communicate(timeout=20)[0]
  assert process.returncode == 75 and 'saved and left' in rest


def test_an_old_python_is_replaced(host):
  executable(host.bin / 'old', '''#!/usr/bin/env bash
echo "old $*" >> "$HOME/asked"
case "$*" in
  --version) echo Python 3.10.12 ;;
  -c*) exit 1 ;;
  *"uv python find"*) echo "$HOME/new" ;;
esac
''')
  executable(host.home / 'new', '''#!/usr/bin/env bash
echo "new $*" >> "$HOME/asked"
if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi
''')
  (host.bin / 'cp').symlink_to(shutil.which('cp'))
  done = host.run('worker.sh', 'install', BYOL_PYTHON=str(host.bin / 'old'),
                  BYOL_INSTALL='1')
  assert done.returncode == 0, done.stderr
  asked = (host.home / 'asked').read_text().splitlines()
  assert 'old -m pip install --user --quiet uv' in asked
  assert 'old -m uv python install --quiet 3.12' in asked
  assert asked[-1].endswith('-e .[tpu]') and asked[-1].startswith('new -m pip install')
