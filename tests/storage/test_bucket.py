"""Runs that live in a bucket, against an emulator of Google Cloud Storage."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(__file__)), 'faults'))
import harness


def python(cloud, code, *arguments):
  """Runs a script; what it printed last, as JSON."""
  done = subprocess.run(
      [sys.executable, '-c', code, *arguments], env=os.environ | cloud,
      cwd=harness.ROOT, capture_output=True, text=True, check=False, timeout=300)
  assert done.returncode == 0, done.stderr[-3000:]
  return json.loads(done.stdout.splitlines()[-1])


_STATE = '''
import json, sys, zlib
from byol_jax.run import checkpoint
checkpoints = checkpoint.Checkpoints(sys.argv[1], read_only=True)
opened = checkpoints.open(checkpoints.latest())
arrays = opened.read(opened.leaves)
print(json.dumps([opened.step, {k: zlib.crc32(v.tobytes()) for k, v in arrays.items()}]))
'''
_READ = '''
import json, sys
from etils import epath
print(json.dumps(epath.Path(sys.argv[1]).read_text()))
'''


def test_a_run_is_killed_and_goes_on_to_the_same_end(cloud, tmp_path):
  (tmp_path / 'a').mkdir()
  scratch = tmp_path / 'a'
  workdir = 'gs://bucket/killed'
  process = harness.start(scratch, f'--workdir={workdir}', **cloud)
  lines = []
  for line in process.stdout:
    lines.append(line)
    if line.startswith('step 40/'):  # saved every 5 steps
      break
  os.killpg(process.pid, signal.SIGKILL)
  process.communicate()
  assert lines[-1].startswith('step 40/'), lines

  code, output = harness.run(scratch, f'--workdir={workdir}', **cloud)
  assert code == 0, output
  assert f'resuming {workdir} at step ' in output
  assert 'has ended' in output  # the holder of the lock, on this very machine
  assert f'results: {workdir}/results.json' in output

  local = scratch / 'local'
  assert harness.run(scratch, f'--workdir={local}')[0] == 0
  assert (python(cloud, _STATE, f'{workdir}/checkpoints')
          == python({}, _STATE, str(local / 'checkpoints')))
  steps = [json.loads(line)['step'] for line in
           python(cloud, _READ, f'{workdir}/metrics.jsonl').splitlines()]
  # the lines of the killed run's last half minute may be lost
  assert steps == sorted(set(steps)) and steps[-1] == 60
  assert python(cloud, _READ, f'{workdir}/lock.json') == ''

  code, output = harness.run(scratch, f'--workdir={workdir}', **cloud)
  assert code == 0 and f'finished: {workdir}/results.json' in output
  code, output = harness.run(scratch, f'--workdir={workdir}', '--config.seed=1',
                             **cloud)
  assert code == 2 and 'seed (0 there, 1 now)' in output


_DAMAGE = '''
import json
import numpy as np
from etils import epath
from byol_jax.run import checkpoint
folder = epath.Path('gs://bucket/damaged/checkpoints')
state = {'w': np.arange(12, dtype=np.float32).reshape(3, 4)}
checkpoints = checkpoint.Checkpoints(folder, 2)
for step in (1, 2, 3, 4):
  checkpoints.save(step, {'w': state['w'] + step}, {'config': {}})
checkpoints.wait()
kept = checkpoints.steps()
path = folder / '4' / 'manifest' / 'metadata'
path.write_text(path.read_text().replace('4', '5'))
opened, found = checkpoints.restore_latest(state)
there = sorted(p.name for p in folder.iterdir())
checkpoints.save(4, {'w': state['w'] + 4}, {'config': {}})
checkpoints.close()
print(json.dumps([kept, opened.step, float(found['w'][0, 0]), there,
                  checkpoint.Checkpoints(folder, 2).steps()]))
'''


def test_old_checkpoints_go_and_damaged_ones_are_set_aside(cloud):
  assert python(cloud, _DAMAGE) == [
      [3, 4], 3, 3.0, ['3', '4.damaged'], [3, 4]]


_LOCK = '''
import json, os, subprocess, sys, time
from etils import epath
from byol_jax.run import lock
from byol_jax.errors import UserError
path = 'gs://bucket/lock'
lock._BEAT_SECONDS = 0.3
said = []
def take():
  try:
    with lock.lock(path):
      said.append('held')
  except UserError as error:
    said.append(str(error))
if sys.argv[1:]:
  with lock.lock(path):
    print('held', flush=True)
    time.sleep(60)
take()
holder = subprocess.Popen([sys.executable, '-c', os.environ['CODE'], 'hold'],
                          stdout=subprocess.PIPE, text=True)
assert holder.stdout.readline() == 'held\\n'
take()
holder.kill()
holder.wait()
take()
# of a machine that is silent, and of one that is not
other = {'host': 'elsewhere', 'pid': 1, 'since': 'monday', 'id': 'x', 'beat': 0}
file = epath.Path(path) / 'lock.json'
file.write_text(json.dumps(other))
take()
with lock.lock(path):
  pass
print(json.dumps([holder.pid, said]))
'''


def test_a_bucket_belongs_to_one_run(cloud):
  pid, said = python(cloud | {'CODE': _LOCK}, _LOCK)
  assert said[0] == 'held'
  assert f'gs://bucket/lock is in use by process {pid} on' in said[1]
  assert said[2:] == ['held', 'held']


_AT_ONCE = '''
import json, threading, time
from byol_jax.run import lock
from byol_jax.errors import UserError
lock._BEAT_SECONDS = 0.3
outcomes, start, end = [], threading.Barrier(4), threading.Event()
read = lock._Bucket.read
def read_together(self):  # all have read before any of them writes, one by one
  data = read(self)
  if not hasattr(self, 'has_met'):
    self.has_met = True
    time.sleep(0.1 * start.wait())
  return data
lock._Bucket.read = read_together
def take(path):
  try:
    with lock.lock(path):
      outcomes.append('held')
      end.wait()
  except UserError as error:
    outcomes.append('in use' if 'in use by process' in str(error) else str(error))
for k in range(5):
  threads = [threading.Thread(target=take, args=(f'gs://bucket/at-once-{k}',))
             for _ in range(4)]
  for thread in threads:
    thread.start()
  while len(outcomes) < 4 * (k + 1):
    end.wait(0.05)
  end.set()
  for thread in threads:
    thread.join()
  end.clear()
print(json.dumps(outcomes))
'''


def test_of_many_that_start_at_a_time_one_goes_on(cloud):
  outcomes = python(cloud, _AT_ONCE)
  for k in range(0, 20, 4):
    assert sorted(outcomes[k:k + 4]) == ['held', 'in use', 'in use', 'in use'], outcomes


_TAKEN_OVER = '''
import time
from etils import epath
from byol_jax.run import lock
lock._BEAT_SECONDS = 0.2
with lock.lock('gs://bucket/taken'):
  for _ in range(100):  # a beat may be under way, and overwrite it
    (epath.Path('gs://bucket/taken') / 'lock.json').write_text(
        '{"host": "elsewhere", "pid": 1, "id": "x"}')
    time.sleep(0.3)
print('still here')
'''


def test_a_run_that_was_taken_over_ends(cloud):
  done = subprocess.run([sys.executable, '-c', _TAKEN_OVER], cwd=harness.ROOT,
                        env=os.environ | cloud, capture_output=True, text=True,
                        check=False, timeout=60)
  assert done.returncode == 75 and 'still here' not in done.stdout
  assert 'was taken over by process 1 on elsewhere' in done.stderr


@pytest.mark.parametrize('workdir, said', [
    ('gs://not-there/run', 'cannot write to workdir gs://not-there/run'),
    ('s3://bucket/run', 'Google Cloud Storage'),
])
def test_a_bucket_that_cannot_be_written(cloud, tmp_path, workdir, said):
  (tmp_path / 'a').mkdir()
  code, output = harness.run(tmp_path / 'a', f'--workdir={workdir}', **cloud)
  assert code == 2 and said in output
  assert 'Traceback' not in output and 'compiling' not in output


def test_the_log_survives_a_network_that_fails(tmp_path, monkeypatch):
  """Training goes on while copies fail; the last one is an error."""
  from byol_jax.errors import TransientError
  from byol_jax.storage import bucket
  monkeypatch.setattr(bucket, '_SECONDS', 0.05)
  remote = tmp_path / 'remote'
  remote.mkdir()
  with bucket.mirrored(str(remote)) as folder:
    pathlib.Path(folder, 'metrics.jsonl').write_text('1\n')
    while not (remote / 'metrics.jsonl').exists():
      time.sleep(0.01)
    (remote / 'metrics.jsonl').unlink()
    (remote / 'metrics.jsonl').mkdir()  # cannot be written from here on
    pathlib.Path(folder, 'metrics.jsonl').write_text('1\n2\n')
    time.sleep(0.3)
    (remote / 'metrics.jsonl').rmdir()
  assert (remote / 'metrics.jsonl').read_text() == '1\n2\n'
  with pytest.raises(TransientError, match='the same command tries again'):
    with bucket.mirrored(str(remote)) as folder:
      assert pathlib.Path(folder, 'metrics.jsonl').read_text() == '1\n2\n'
      (remote / 'results.json').mkdir()
      pathlib.Path(folder, 'results.json').write_text('{}')
