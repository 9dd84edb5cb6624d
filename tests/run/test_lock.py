"""A directory belongs to one run."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import time

import pytest

from byol_jax.errors import UserError
from byol_jax.run import lock as lock_lib
from byol_jax.storage import retry

HOLD = '''
import sys
from byol_jax.run import lock as lock_lib
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


def hold(path, code=HOLD):
  process = subprocess.Popen(
      [sys.executable, '-c', code, str(path)], stdin=subprocess.PIPE,
      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
      env=os.environ | {'PYTHONPATH': os.getcwd()})
  assert process.stdout.readline() == 'held\n'
  return process


def test_the_second_is_refused_until_the_first_lets_go(tmp_path):
  holder = hold(tmp_path)
  with pytest.raises(lock_lib.InUse, match=f'process {holder.pid} on '):
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


def without_flock(number):
  def flock(*_):
    raise OSError(number, os.strerror(number))
  return flock


@pytest.mark.parametrize('number', [errno.ENOLCK, errno.ENOSYS])
def test_without_flock_the_beats_do(tmp_path, monkeypatch, number):
  monkeypatch.setattr(fcntl, 'flock', without_flock(number))
  monkeypatch.setattr(lock_lib, '_BEAT_SECONDS', 0.1)
  monkeypatch.setattr(lock_lib, '_SETTLE_SECONDS', 0.1)
  with lock_lib.lock(tmp_path):
    with pytest.raises(UserError, match=f'process {os.getpid()} on'):
      with lock_lib.lock(tmp_path):
        pass
  with lock_lib.lock(tmp_path):  # left in order
    pass
  killed = hold(tmp_path)
  killed.kill()
  killed.wait()
  start = time.monotonic()
  with lock_lib.lock(tmp_path):  # of this machine, and no more
    assert time.monotonic() - start < 0.4


def test_of_two_that_start_at_a_time_one_goes_on(tmp_path, monkeypatch):
  monkeypatch.setattr(fcntl, 'flock', without_flock(errno.ENOLCK))
  monkeypatch.setattr(lock_lib, '_SETTLE_SECONDS', 0.5)
  other = {'host': 'elsewhere', 'pid': 7, 'since': 'monday', 'id': 'x'}
  write = lock_lib._Directory.write
  def write_and_lose(self, holder):
    write(self, holder)
    if holder['beat'] == 0:
      write(self, other)
  monkeypatch.setattr(lock_lib._Directory, 'write', write_and_lose)
  with pytest.raises(UserError, match='process 7 on elsewhere'):
    with lock_lib.lock(tmp_path):
      pass


TAKEN = """
import errno, fcntl, sys, time
from byol_jax.run import lock
def flock(*_): raise OSError(errno.ENOLCK, '')
fcntl.flock = flock
lock._BEAT_SECONDS = lock._SETTLE_SECONDS = 0.1
with lock.lock(sys.argv[1]):
  print('held', flush=True)
  time.sleep(30)
"""


def test_who_was_taken_over_ends(tmp_path):
  process = hold(tmp_path, TAKEN)
  until = time.monotonic() + 20
  while process.poll() is None and time.monotonic() < until:
    # again and again: a beat may be under way, and overwrite it
    (tmp_path / 'lock.json').write_text(
        '{"host": "elsewhere", "pid": 7, "since": "monday", "id": "x"}' + ' ' * 200)
    time.sleep(0.15)
  _, errors = process.communicate(timeout=20)
  assert process.returncode == 75
  assert 'was taken over by process 7 on elsewhere' in errors


def test_storage_that_fails_for_a_moment(tmp_path, monkeypatch):
  """Neither stops the beats, nor makes a lock look free."""
  monkeypatch.setattr(lock_lib, '_BEAT_SECONDS', 0.05)
  monkeypatch.setattr(retry, 'LOCK', retry.Policy((0.01, 0.01)))
  write, read, failing = lock_lib._Directory.write, lock_lib._Directory.read, []
  class Refused(Exception):
    """As gcsfs's HttpError, no OSError."""
  def flaky(act):
    def call(self, *arguments):
      if failing:
        raise failing.pop()
      return act(self, *arguments)
    return call
  with lock_lib.lock(tmp_path):
    monkeypatch.setattr(lock_lib._Directory, 'write', flaky(write))
    failing.append(Refused('503'))
    while failing:
      time.sleep(0.01)
    beat = json.loads((tmp_path / 'lock.json').read_text())['beat']
    time.sleep(0.3)
    assert json.loads((tmp_path / 'lock.json').read_text())['beat'] > beat
    monkeypatch.setattr(lock_lib._Directory, 'write', write)

    monkeypatch.setattr(fcntl, 'flock', without_flock(errno.ENOLCK))
    monkeypatch.setattr(lock_lib._Directory, 'read', flaky(read))
    failing += [OSError(errno.EIO, 'for a moment'), Refused('503')]
    with pytest.raises(UserError, match='is in use by'):
      with lock_lib.lock(tmp_path):
        pass
    failing += [OSError(errno.EACCES, 'for good')] * 3
    with pytest.raises(UserError, match='cannot write to workdir'):
      with lock_lib.lock(tmp_path):
        pass
