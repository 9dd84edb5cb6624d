"""A lock on a run's directory or bucket, which names its holder."""

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

from byol_jax import ending
from byol_jax import errors
from byol_jax.errors import EXIT_CODE
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.storage import failures
from byol_jax.storage import paths as paths_lib
from byol_jax.storage import retry

_console = logging.getLogger('byol_jax')


class InUse(UserError):
  """Another process holds the lock."""


_BEAT_SECONDS = 5.0
_STALE_BEATS = 4  # beats without a sign of life
_SETTLE_SECONDS = 2.0  # without flock: two that wrote at a time then see who was last
_MOST_BYTES = 4096
_BUCKET_SECONDS = 60.0  # for one read or write with all its tries
IN_USE = 'is in use by'  # of the message, by which a study knows it


@contextlib.contextmanager
def lock(path: str) -> Iterator[None]:
  """Holds a directory or bucket for this process, until the end of the block.

  The lock is a file that names its holder. On one machine the system knows whether
  the holder lives (flock). From another machine, which may see the same directory over
  a network, and in a bucket, the holder is alive if the file goes on changing. A bucket
  takes a write only from a process that has read the present file. A directory without
  flock takes every write, and the last writer holds it.

  Raises:
    InUse: another process holds the lock; names the process.
    UserError, TransientError: the lock cannot be written.
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
      if not place.is_guarded:  # another process may have written at the same time
        time.sleep(place.settle_seconds)
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
        with contextlib.suppress(Exception):  # a full disk or a network: try later
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
    self.is_guarded = True  # the system guards it
    self.settle_seconds = _SETTLE_SECONDS
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
      # some network file systems have no flock: only the beats show life
      if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP,
                             errno.ENOSYS, errno.EINVAL):
        raise
      self.is_guarded = False

  def knows_dead(self, holder: dict[str, Any]) -> bool:
    if self.is_guarded and holder.get('host') == socket.gethostname():
      return True  # a holder that lives would have kept its flock
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
  """The lock of a bucket: written only if it is still as it was read last."""

  is_guarded = False
  settle_seconds = 0.0

  def __init__(self, path: str):
    self.path = path
    bucket, _, folder = path.removeprefix('gs://').partition('/')
    self._store, self._name = paths_lib.store(bucket), os.path.join(folder, 'lock.json')
    self._seen = b''  # the version that was read or written last

  def take(self) -> None:
    pass

  def knows_dead(self, holder: dict[str, Any]) -> bool:
    return _is_dead_here(holder)

  def read(self) -> bytes:
    found = self._store.read(self._name).result(timeout=_BUCKET_SECONDS)
    self._seen = found.stamp.generation  # a missing file has one, too
    return found.value[:_MOST_BYTES]

  def write(self, holder: dict[str, Any]) -> None:
    self._write(json.dumps(holder).encode() + b'\n')

  def clear(self) -> None:
    self._write(b'')

  def _write(self, data: bytes) -> None:
    """Tries to write; only reading shows whether it did, as an answer may get lost."""
    written = self._store.write(self._name, data, if_equal=self._seen).result(
        timeout=_BUCKET_SECONDS)
    self._seen = written.generation or self._seen

  def close(self) -> None:
    pass


def _read(place: _Directory | _Bucket) -> dict[str, Any]:
  """Reads the holder; returns {} if there is none. Raises if the lock is unreadable."""
  data = retry.again(place.read, retry.LOCK)  # a bucket's errors are untyped
  try:
    holder = json.loads(data)
    return holder if isinstance(holder, dict) else {}
  except (ValueError, RecursionError):
    return {}


def _wait_until_stale(place: _Directory | _Bucket, holder: dict[str, Any]) -> None:
  """Waits until a holder that may be alive has shown no sign of life."""
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
  """Ends this process if another has taken over.

  This process was silent for too long (its machine slept). Two processes that write
  checkpoints would ruin them.
  """
  now = _read(place)
  if now and now.get('id') != me['id']:
    ending.exit_saying(EXIT_CODE, f'byol_jax: workdir {place.path} was taken over '
                       f'by {_name(now)}', sys.stderr)


def _is_dead_here(holder: dict[str, Any]) -> bool:
  """Returns whether a holder was a process of this machine, and is none now."""
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
  """Returns the name of the space that numbers this process.

  Two containers may have the same host name, and processes of the same number.
  """
  try:
    return os.readlink('/proc/self/ns/pid')
  except OSError:
    return ''


def _name(holder: dict[str, Any]) -> str:
  return (f'process {holder.get("pid", "?")} on {holder.get("host", "?")}, '
          f'since {holder.get("since", "?")}')


def _in_use(path: str, holder: dict[str, Any]) -> InUse:
  return InUse(f'workdir {path} {IN_USE} {_name(holder)}: wait for its '
               'end, stop it, or name another --workdir')


def cannot_write(path: str, error: Exception) -> UserError | TransientError:
  """Returns the error for a workdir that refuses a file."""
  return failures.of_storage(
      f'cannot write to workdir {path}: '
      f'{getattr(error, "strerror", None) or errors.one_line(error)}; set --workdir',
      error)
