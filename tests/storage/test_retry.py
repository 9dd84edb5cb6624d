"""What is tried again, and what is not."""

import errno

import pytest

from byol_jax.errors import TransientError
from byol_jax.storage import failures
from byol_jax.storage import paths as paths_lib
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


def test_a_folder_that_fails_is_none_that_is_missing(tmp_path):
  (tmp_path / 'loop').symlink_to(tmp_path / 'loop')
  (tmp_path / 'file').write_bytes(b'')
  assert paths_lib.is_dir(str(tmp_path)) and paths_lib.names(str(tmp_path)) == [
      'file', 'loop']
  for name in ('none', 'file', 'file/x'):
    assert not paths_lib.is_dir(str(tmp_path / name))
  assert paths_lib.names(str(tmp_path / 'none')) == []
  with pytest.raises(OSError):
    paths_lib.is_dir(str(tmp_path / 'loop'))


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
