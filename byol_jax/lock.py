"""One directory, one run: a lock that names its holder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import errno
import fcntl
import json
import os
import socket
import sys
import threading
import time
from typing import Any
import uuid

from etils import epath

from byol_jax import bucket
from byol_jax import logs
from byol_jax.errors import UserError
from byol_jax.watchdog import EXIT_CODE

_BEAT_SECONDS = 5.0
_STALE_BEATS = 4  # so many beats without a sign of life
_SETTLE_SECONDS = 2.0  # until two that wrote at a time see who was last


@contextlib.contextmanager
def lock(path: str) -> Iterator[None]:
  """Holds a directory or bucket for this process, until the end of the block.

  The lock is a file that names its holder. On one machine the system knows
  whether the holder lives (flock). From another machine, which may see the same
  directory over a network, and in a bucket, the holder is alive if the file goes
  on changing.

  Raises:
    UserError: another process holds it; names it.
  """
  stop = threading.Event()
  beating = None
  file = _Object(path) if bucket.is_bucket(path) else _File(path)
  me = {'host': socket.gethostname(), 'pid': os.getpid(),
        'since': time.strftime('%Y-%m-%d %H:%M:%S'), 'id': uuid.uuid4().hex}
  try:
    file.take()
    holder = file.read()
    if holder and not file.knows_dead(holder):
      _wait_until_stale(file, holder)
    if holder:
      logs.console.info('the run that held %s is gone (%s): going on', path,
                        _name(holder))
    file.write(me | {'beat': 0})
    file.settle(me)

    def beat():
      count = 0
      while not stop.wait(_BEAT_SECONDS):
        count += 1
        with contextlib.suppress(OSError):  # a full disk: flock holds still
          file.beat(me | {'beat': count})

    beating = threading.Thread(target=beat, name='lock', daemon=True)
    beating.start()
    yield
  finally:
    stop.set()
    if beating is not None:
      beating.join()
      with contextlib.suppress(OSError):
        file.clear()  # left in order
    file.close()


class _File:
  """The lock of a directory."""

  def __init__(self, path: str):
    self.path = path
    try:
      self._descriptor = os.open(os.path.join(path, 'lock.json'),
                                 os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
      raise cannot_write(path, error) from error

  def take(self) -> None:
    try:
      fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise _in_use(self.path, self.read()) from error
    except OSError as error:
      # some network file systems have no flock: the beats alone must do
      if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
        raise cannot_write(self.path, error) from error

  def knows_dead(self, holder: dict[str, Any]) -> bool:
    return holder.get('host') == socket.gethostname()  # flock is ours

  def read(self) -> dict[str, Any]:
    return _parse(lambda: os.pread(self._descriptor, 4096, 0))

  def write(self, holder: dict[str, Any]) -> None:
    data = json.dumps(holder).encode() + b'\n'
    os.pwrite(self._descriptor, data, 0)
    os.ftruncate(self._descriptor, len(data))

  beat = write

  def settle(self, me: dict[str, Any]) -> None:
    pass

  def clear(self) -> None:
    os.ftruncate(self._descriptor, 0)

  def close(self) -> None:
    os.close(self._descriptor)


class _Object:
  """The lock of a bucket, which nobody guards but those who look at it."""

  def __init__(self, path: str):
    self.path = path
    self._file = epath.Path(path) / 'lock.json'

  def take(self) -> None:
    pass

  def knows_dead(self, holder: dict[str, Any]) -> bool:
    if holder.get('host') != socket.gethostname():
      return False
    try:
      os.kill(int(holder['pid']), 0)
      return False
    except (ProcessLookupError, KeyError, ValueError, TypeError):
      return True
    except OSError:
      return False

  def read(self) -> dict[str, Any]:
    return _parse(lambda: self._file.read_bytes()[:4096])

  def write(self, holder: dict[str, Any]) -> None:
    self._file.write_bytes(json.dumps(holder).encode() + b'\n')

  def settle(self, me: dict[str, Any]) -> None:
    """Refuses if another wrote at the same time, and later."""
    time.sleep(_SETTLE_SECONDS)
    now = self.read()
    if now.get('id') != me['id']:
      raise _in_use(self.path, now)

  def beat(self, holder: dict[str, Any]) -> None:
    now = self.read()
    if now and now.get('id') != holder['id']:
      # this process was silent for so long that another took over: two that
      # write checkpoints would ruin them
      print(f'byol_jax: workdir {self.path} was taken over by {_name(now)}',
            file=sys.stderr, flush=True)
      os._exit(EXIT_CODE)  # pylint: disable=protected-access
    self.write(holder)

  def clear(self) -> None:
    self._file.write_bytes(b'')

  def close(self) -> None:
    pass


def _wait_until_stale(file: _File | _Object, holder: dict[str, Any]) -> None:
  """Returns when a holder that may be alive has shown no sign of life."""
  logs.console.info('%s was in use by %s: waiting %g s for a sign of life',
                    file.path, _name(holder), _BEAT_SECONDS * _STALE_BEATS)
  until = time.monotonic() + _BEAT_SECONDS * _STALE_BEATS
  while time.monotonic() < until:
    time.sleep(_BEAT_SECONDS / 5)
    now = file.read()
    if not now:
      return
    if now != holder:
      raise _in_use(file.path, now)


def _parse(read: Callable[[], bytes]) -> dict[str, Any]:
  """What a lock file says; {} where it says nothing, or nothing whole."""
  try:
    holder = json.loads(read())
    return holder if isinstance(holder, dict) else {}
  except (OSError, ValueError, RecursionError):
    return {}


def _name(holder: dict[str, Any]) -> str:
  return (f'process {holder.get("pid", "?")} on {holder.get("host", "?")}, '
          f'since {holder.get("since", "?")}')


def _in_use(path: str, holder: dict[str, Any]) -> UserError:
  return UserError(f'workdir {path} is in use by {_name(holder)}: wait for its '
                   'end, stop it, or name another --workdir')


def cannot_write(path: str, error: Exception) -> UserError:
  """The error for a workdir that does not take a file."""
  return UserError(f'cannot write to workdir {path}: '
                   f'{getattr(error, "strerror", None) or error}; set --workdir')
