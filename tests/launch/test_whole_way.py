"""The launch scripts with the program itself, on a pod of two "hosts".

One stand-in runs what `ssh --worker=all` is given on two hosts, which are folders here.
"""

import os
import pathlib
import shutil
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from stand_ins import executable
from stand_ins import ROOT

# A pod of two hosts: state in files, ssh and scp to folders.
_POD = '''#!%s -SE
import json, os, shutil, signal, subprocess, sys
here = os.path.dirname(os.path.abspath(sys.argv[0]))
argv = sys.argv[1:]
with open(here + '/calls', 'a') as f:
  f.write(json.dumps([['gcloud', *argv], '']) + chr(10))
homes = [here + '/host%%d' %% i for i in range(2)]
def state(new=None):
  if new is not None:
    open(here + '/state', 'w').write(new)
  return open(here + '/state').read() if os.path.exists(here + '/state') else 'none'
what = argv[2:4] if argv[:2] == ['compute', 'tpus'] else argv[:2]
if what == ['queued-resources', 'create']:
  for home in homes:
    os.makedirs(home)
  state('READY')
elif what[1] == 'describe':
  if state() == 'none':
    sys.exit('ERROR: NOT_FOUND: no such thing')
  print('ACTIVE' if what[0] == 'queued-resources' else state())
elif what == ['queued-resources', 'delete']:
  for home in homes:
    shutil.rmtree(home)
  state('none')
elif what == ['tpu-vm', 'scp']:
  for home in homes:
    shutil.copy(argv[4], home + '/' + argv[5].split(':')[1])
elif what == ['tpu-vm', 'ssh']:
  flags = dict(a.split('=', 1) for a in argv if '=' in a)
  some = range(2) if flags['--worker'] == 'all' else [int(flags['--worker'])]
  hosts = [subprocess.Popen(
      ['bash', '-c', flags['--command']], cwd=homes[i],
      env=dict(os.environ, HOME=homes[i], HOST='t1v-w-%%d' %% i,
               JAX_PROCESS_ID=str(i), JAX_NUM_PROCESSES='2')) for i in some]
  sys.exit(max(host.wait() for host in hosts))
''' % sys.executable




def free_port():
  with socket.socket() as s:
    s.bind(('localhost', 0))
    return s.getsockname()[1]


def test_two_hosts_are_preempted_and_come_to_the_end(bench, tmp_path):
  """supervise.sh, tpu.sh and worker.sh with byol_jax.main in two processes."""
  checkout = tmp_path / 'checkout'
  for folder in ('byol_jax', 'configs', 'launch'):
    shutil.copytree(ROOT / folder, checkout / folder,
                    ignore=shutil.ignore_patterns('__pycache__'))
  for file in ('setup.py', 'pyproject.toml', 'README.md'):
    shutil.copy(ROOT / file, checkout)
  shutil.copy(ROOT / 'tests' / 'faults' / 'tiny_config.py', checkout / 'configs')
  bench.tools('gcloud', text=_POD)
  (bench.bin / 'hostname').unlink()
  executable(bench.bin / 'hostname', '#!/usr/bin/env bash\necho "$HOST"\n')
  bench.env |= dict(
      BYOL_NAME='tiny', BYOL_PROJECT='p', BYOL_ZONE='z', BYOL_ACCELERATOR='v4-16',
      BYOL_SHARED='1', BYOL_POLL='2', BYOL_INSTALL='0',
      BYOL_PYTHON=sys.executable, JAX_PLATFORMS='cpu',
      JAX_COORDINATOR_ADDRESS=f'localhost:{free_port()}',
      JAX_COMPILATION_CACHE_DIR=str(tmp_path / 'jax_cache'),
      JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS='0',
      # the compiler is most of this test
      XLA_FLAGS='--xla_backend_optimization_level=0 '
      '--xla_llvm_disable_expensive_passes=true')
  workdir = tmp_path / 'runs'
  run_dir = bench.bin / 'host0' / 'byol_jax_run'
  logs = []

  def preempt():
    text = ''
    while 'step 15/' not in text and 'exit code' not in text:
      time.sleep(0.05)
      if (run_dir / 'log.txt').exists():
        text = (run_dir / 'log.txt').read_text()
    logs.append(text)
    (bench.bin / 'state').write_text('PREEMPTED')
    for host in ('host0', 'host1'):
      pid = int((bench.bin / host / 'byol_jax_run' / 'pid').read_text())
      os.killpg(pid, signal.SIGKILL)

  threading.Thread(target=preempt, daemon=True).start()
  done = bench.run('supervise.sh', '--config=configs/tiny_config.py',
                   '--config.train.epochs=3',
                   '--config.checkpoint.every_steps=8', f'--workdir={workdir}', root=checkout, timeout=150)
  said = ''.join(logs) + done.stdout + done.stderr
  assert done.returncode == 0, said
  assert 'process 0 of 2' in logs[0] and 'step 24/' not in logs[0], said
  assert 'tiny is ACTIVE PREEMPTED' in done.stderr
  assert f'resuming {workdir} at step 8' in said
  assert f'results: {workdir}/results.json' in said
  assert 'exit code 0' in said  # the log, before it goes with the machine
  assert [call[4] for call in bench.calls() if call[3] == 'queued-resources'
          and call[4] != 'describe'] == ['create', 'delete', 'create', 'delete']
  assert not run_dir.exists()
