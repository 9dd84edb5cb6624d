"""What is tried again, and what is not."""

import errno

import pytest

from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.storage import failures
from byol_jax.storage import retry


@pytest.mark.parametrize('error, is_passing', [
    (OSError(errno.EIO, 'x'), True), (OSError(errno.ESTALE, 'x'), True),
    (OSError(errno.EMFILE, 'x'), True), (OSError(errno.ENOMEM, 'x'), True),
    (OSError(errno.ENOENT, 'x'), False), (OSError(errno.EACCES, 'x'), False),
    (RuntimeError('open() failed: Too many open files; opening /a'), True),
    (RuntimeError('read() failed: Input/output error; reading /a; at byte 3'), True),
    (RuntimeError('open() failed: No such file or directory; opening /a'), False),
    (RuntimeError('UNAVAILABLE: the bucket rests'), True),
    (RuntimeError('Invalid Riegeli/records file: chunk boundary is 65536'), False),
    (RuntimeError('index 99 out of bound 50'), False)])
def test_what_may_pass(error, is_passing, monkeypatch):
  assert failures.may_pass(error) == is_passing
  slept = []
  monkeypatch.setattr(retry.time, 'sleep', slept.append)
  def fail():
    raise error
  with pytest.raises(TransientError if is_passing else type(error)):
    retry.insist(fail, 'a file')
  assert (55 < sum(slept) < 65) if is_passing else not slept


def test_a_try_that_takes_long_is_not_the_last(monkeypatch):
  monkeypatch.setattr(retry.time, 'sleep', lambda seconds: None)
  now, takes = 0, 70
  monkeypatch.setattr(retry.time, 'monotonic', lambda: now)
  def read():
    nonlocal now
    now += takes
    if failures:
      raise failures.pop()
    return 'data'
  failures = [OSError(errno.EIO, 'hm')] * 3
  assert retry.insist(read, 'a.png') == 'data'
  for takes, tries in ((70, 4), (1000, 1), (1, 9)):
    failures = [OSError(errno.EIO, 'hm')] * 20
    with pytest.raises(TransientError, match=f'for {takes * tries} s now'):
      retry.insist(read, 'a.png')
    assert len(failures) == 20 - tries


def test_the_console_hears_of_what_lasts(monkeypatch, caplog):
  monkeypatch.setattr(retry.time, 'sleep', lambda seconds: None)
  for times, said in ((2, 0), (4, 1)):
    caplog.clear()
    failures = [OSError(errno.EIO, 'hm')] * times
    def read(failures=failures):
      if failures:
        raise failures.pop()
      return 'data'
    assert retry.insist(read, 'a.png') == 'data'
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ('WARNING', 'cannot read a.png (hm); trying again for a minute')] * said


def test_a_policy_says_how_often_and_how_long(monkeypatch):
  slept = []
  monkeypatch.setattr(retry.time, 'sleep', slept.append)
  now = [0.0]
  monkeypatch.setattr(retry.time, 'monotonic', lambda: now[0])
  policy = retry.Policy((1.0, 2.0, 3.0), patience=10.0, first_tries=1,
                        first_patience=100.0)
  tries = []
  def fail(takes):
    now[0] += takes
    tries.append(takes)
    raise ValueError('hm')
  for takes, waits in ((0, [1, 2, 3]), (9, [1]), (99, [1]), (100, [])):
    slept.clear(), tries.clear()
    with pytest.raises(ValueError):
      retry.again(lambda takes=takes: fail(takes), policy)
    assert slept == waits and len(tries) == len(waits) + 1
  slept.clear()
  told = []
  with pytest.raises(ValueError):
    retry.again(lambda: fail(0), policy, lambda error, wait: told.append(wait) or wait < 2)
  assert told == [1, 2] and slept == [1]


@pytest.mark.parametrize('kind', [UserError, TransientError])
def test_what_is_said_for_good_is_not_tried_again(kind):
  tries = []
  def fail():
    tries.append(1)
    raise kind('no')
  with pytest.raises(kind):
    retry.again(fail, retry.CHECKPOINT)
  assert len(tries) == 1
