"""One directory, one run: a lock that names its holder."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import sys
import threading
import time
from typing import Any
import uuid

from etils import epath

from byol_jax import ending
from byol_jax.errors import EXIT_CODE
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.storage import failures
from byol_jax.storage import paths as paths_lib
from byol_jax.storage import retry

_console = logging.getLogger('byol_jax')

_BEAT_SECONDS = 5.0
_STALE_BEATS = 4  # so many beats without a sign of life
_SETTLE_SECONDS = 2.0  # until two that wrote at a time see who was last
_MOST_BYTES = 4096


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
  place = _Bucket(path) if paths_lib.in_bucket(path) else _Directory(path)
  me = {'host': socket.gethostname(), 'pid': os.getpid(),
        'namespace': _namespace(), 'since': time.strftime('%Y-%m-%d %H:%M:%S'),
        'id': uuid.uuid4().hex}
  try:
    try:
      place.take()
      holder = _read(place)
      if holder and not place.knows_dead(holder):
        _wait_until_stale(place, holder)
      if holder:
        _console.info('%s was held by a process that has ended (%s): going on',
                      path, _name(holder))
      place.write(me | {'beat': 0})
      if not place.is_guarded:  # two may have written at a time: the last one has it
        time.sleep(_SETTLE_SECONDS)
        now = _read(place)
        if now.get('id') != me['id']:
          raise _in_use(path, now)
    except (UserError, TransientError):
      raise
    except Exception as error:  # untyped, of a bucket
      raise cannot_write(path, error) from error

    def beat():
      count = 0
      while not stop.wait(_BEAT_SECONDS):
        count += 1
        with contextlib.suppress(Exception):  # a full disk, a network: later
          if not place.is_guarded:
            _end_if_taken(place, me)
          place.write(me | {'beat': count})

    beating = threading.Thread(target=beat, name='lock', daemon=True)
    beating.start()
    yield
  finally:
    stop.set()
    if beating is not None:
      beating.join()
      with contextlib.suppress(Exception):
        place.clear()  # left in order
    place.close()


class _Directory:
  """The lock of a directory."""

  def __init__(self, path: str):
    self.path = path
    self.is_guarded = True  # by the system
    try:
      self._descriptor = os.open(os.path.join(path, 'lock.json'),
                                 os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
      raise cannot_write(path, error) from error

  def take(self) -> None:
    try:
      fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise _in_use(self.path, _read(self)) from error
    except OSError as error:
      # some network file systems have no flock: the beats alone must do
      if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP,
                             errno.ENOSYS, errno.EINVAL):
        raise
      self.is_guarded = False

  def knows_dead(self, holder: dict[str, Any]) -> bool:
    if self.is_guarded and holder.get('host') == socket.gethostname():
      return True  # it would have kept its flock
    return _is_dead_here(holder)

  def read(self) -> bytes:
    return os.pread(self._descriptor, _MOST_BYTES, 0)

  def write(self, holder: dict[str, Any]) -> None:
    data = json.dumps(holder).encode() + b'\n'
    os.pwrite(self._descriptor, data, 0)
    os.ftruncate(self._descriptor, len(data))
    os.fsync(self._descriptor)  # for other machines to see

  def clear(self) -> None:
    os.ftruncate(self._descriptor, 0)

  def close(self) -> None:
    os.close(self._descriptor)


class _Bucket:
  """The lock of a bucket, which nobody guards but those who look at it."""

  is_guarded = False

  def __init__(self, path: str):
    self.path = path
    self._file = epath.Path(path) / 'lock.json'

  def take(self) -> None:
    pass

  def knows_dead(self, holder: dict[str, Any]) -> bool:
    return _is_dead_here(holder)

  def read(self) -> bytes:
    try:
      return self._file.read_bytes()[:_MOST_BYTES]
    except FileNotFoundError:
      return b''

  def write(self, holder: dict[str, Any]) -> None:
    self._file.write_bytes(json.dumps(holder).encode() + b'\n')

  def clear(self) -> None:
    self._file.write_bytes(b'')

  def close(self) -> None:
    pass


def _read(place: _Directory | _Bucket) -> dict[str, Any]:
  """The holder; {} where there is none. Raises where that cannot be read."""
  data = retry.again(place.read, retry.LOCK)  # whose errors are untyped, of a bucket
  try:
    holder = json.loads(data)
    return holder if isinstance(holder, dict) else {}
  except (ValueError, RecursionError):
    return {}


def _wait_until_stale(place: _Directory | _Bucket, holder: dict[str, Any]) -> None:
  """Returns when a holder that may be alive has shown no sign of life."""
  _console.info('%s was in use by %s: waiting %g s for a sign of life',
                place.path, _name(holder), _BEAT_SECONDS * _STALE_BEATS)
  until = time.monotonic() + _BEAT_SECONDS * _STALE_BEATS
  while time.monotonic() < until:
    time.sleep(_BEAT_SECONDS / 5)
    now = _read(place)
    if not now:
      return
    if now != holder:
      raise _in_use(place.path, now)


def _end_if_taken(place: _Directory | _Bucket, me: dict[str, Any]) -> None:
  """Ends this process where another has taken over.

  It was silent for too long (a machine that slept); two that write checkpoints
  would ruin them.
  """
  now = _read(place)
  if now and now.get('id') != me['id']:
    ending.exit_saying(EXIT_CODE, f'byol_jax: workdir {place.path} was taken over '
                       f'by {_name(now)}', sys.stderr)


def _is_dead_here(holder: dict[str, Any]) -> bool:
  """Whether a process was one of this machine, and is no more."""
  if (holder.get('host') != socket.gethostname()
      or holder.get('namespace') != _namespace()):
    return False
  try:
    os.kill(int(holder['pid']), 0)
  except (ProcessLookupError, KeyError, ValueError, TypeError, OverflowError):
    return True
  except OSError:
    pass
  return False


def _namespace() -> str:
  """What process numbers are numbers of: containers may share a host's name."""
  try:
    return os.readlink('/proc/self/ns/pid')
  except OSError:
    return ''


def _name(holder: dict[str, Any]) -> str:
  return (f'process {holder.get("pid", "?")} on {holder.get("host", "?")}, '
          f'since {holder.get("since", "?")}')


def _in_use(path: str, holder: dict[str, Any]) -> UserError:
  return UserError(f'workdir {path} is in use by {_name(holder)}: wait for its '
                   'end, stop it, or name another --workdir')


def cannot_write(path: str, error: Exception) -> UserError | TransientError:
  """The error for a workdir that does not take a file."""
  return failures.of_storage(
      f'cannot write to workdir {path}: '
      f'{getattr(error, "strerror", None) or error}; set --workdir', error)
