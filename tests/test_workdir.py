"""A directory belongs to one run, and to one config."""

import json
import os
import subprocess
import sys
import time

import pytest

from byol_jax import lock as lock_lib
from byol_jax import workdir
from byol_jax.errors import UserError

HOLD = '''
import sys
from byol_jax import lock as lock_lib
from byol_jax import workdir
with lock_lib.lock(sys.argv[1]):
  print('held', flush=True)
  sys.stdin.read()
'''

# In place, and of one length: as a reader over a network sees it.
BEAT = '''
import itertools, json, os, sys, time
file = os.open(sys.argv[1], os.O_RDWR)
holder = json.loads(os.pread(file, 4096, 0))
for beat in itertools.count(1000):
  os.pwrite(file, json.dumps(holder | {'beat': beat}).encode(), 0)
  if beat == 1001:
    print('beats', flush=True)
  time.sleep(0.01)
'''


def hold(path):
  process = subprocess.Popen(
      [sys.executable, '-c', HOLD, str(path)], stdin=subprocess.PIPE,
      stdout=subprocess.PIPE, text=True,
      env=os.environ | {'PYTHONPATH': os.getcwd()})
  assert process.stdout.readline() == 'held\n'
  return process


def test_the_second_is_refused_until_the_first_lets_go(tmp_path):
  holder = hold(tmp_path)
  with pytest.raises(UserError, match=f'process {holder.pid} on '):
    with lock_lib.lock(tmp_path):
      pass
  holder.communicate('')
  with lock_lib.lock(tmp_path):
    assert json.loads((tmp_path / 'lock.json').read_text())['pid'] == os.getpid()
  assert (tmp_path / 'lock.json').read_text() == ''


def test_a_killed_holder_is_gone_at_once(tmp_path):
  holder = hold(tmp_path)
  holder.kill()
  holder.wait()
  assert str(holder.pid) in (tmp_path / 'lock.json').read_text()
  start = time.monotonic()
  with lock_lib.lock(tmp_path):
    assert time.monotonic() - start < 1


def test_a_holder_on_another_machine_is_asked_for_a_sign_of_life(
    tmp_path, monkeypatch):
  monkeypatch.setattr(lock_lib, '_BEAT_SECONDS', 0.1)
  other = {'host': 'elsewhere', 'pid': 7, 'since': 'monday', 'beat': 3}
  (tmp_path / 'lock.json').write_text(json.dumps(other))
  with lock_lib.lock(tmp_path):  # silent for four beats
    assert json.loads((tmp_path / 'lock.json').read_text())['pid'] == os.getpid()

  (tmp_path / 'lock.json').write_text(json.dumps(other))
  alive = subprocess.Popen([sys.executable, '-c', BEAT, str(tmp_path / 'lock.json')],
                           stdout=subprocess.PIPE, text=True)
  try:
    assert alive.stdout.readline() == 'beats\n'
    with pytest.raises(UserError, match='process 7 on elsewhere, since monday'):
      with lock_lib.lock(tmp_path):
        pass
  finally:
    alive.kill()
    alive.communicate()


def test_an_odd_lock_file_does_not_lock_out(tmp_path):
  for odd in ('', 'x', '[]', '{}', '\0' * 5000):
    (tmp_path / 'lock.json').write_text(odd)
    with lock_lib.lock(tmp_path):
      pass


def test_what_may_change_and_what_may_not(tmp_path):
  config = {'a': {'b': 1, 'c': (1, 2)}, 'log': {'every': 5}}
  claim = lambda c, found=1: workdir.claim(tmp_path, c, {'images': found}, ['log.'])
  claim(config)
  claim(config)
  claim(config | {'log': {'every': 6, 'new': 1}})
  with pytest.raises(UserError, match=r'another config: a.b \(1 there, 2 now\)'):
    claim(config | {'a': {'b': 2, 'c': (1, 2)}})
  with pytest.raises(UserError, match=r'data .* has changed: images 1 there, 2'):
    claim(config, 2)
  for damaged in ('{', '[]', 'null'):
    (tmp_path / 'config.json').write_text(damaged)
    with pytest.raises(UserError, match='config.json is damaged'):
      claim(config)


def test_space_for_two_checkpoints(tmp_path):
  workdir.check_space(tmp_path, 1)
  with pytest.raises(UserError, match='MiB free, two checkpoints'):
    workdir.check_space(tmp_path, 1 << 60)
