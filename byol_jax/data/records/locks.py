"""Locks of a folder that task=prepare writes, held by this process until it ends."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import fcntl
import logging
import os
import socket

from byol_jax.data.records import descriptions
from byol_jax.data.records import writing
from byol_jax.errors import UserError

_console = logging.getLogger('byol_jax')


@contextlib.contextmanager
def alone(folder: str, shard: str = '') -> Iterator[None]:
  """Makes a folder and keeps other processes from the same work in it.

  Args:
    folder: the folder of the parts.
    shard: a name for the files that this process writes; '' for all. Processes that
      write others may hold the folder at the same time.

  Raises:
    UserError: another process prepares data in it. The system releases the lock when
      the process ends.
  """
  with writing.saying_why(folder):
    os.makedirs(folder, exist_ok=True)
  path = os.path.join(folder, descriptions.LOCK)
  with contextlib.ExitStack() as stack:
    stack.enter_context(_locked(path, fcntl.LOCK_SH if shard else fcntl.LOCK_EX))
    if shard:
      stack.enter_context(_locked(f'{path}.{shard}', fcntl.LOCK_EX))
    yield


@contextlib.contextmanager
def ending(part: str) -> Iterator[None]:
  """Waits until no other process writes the metadata.json of a part, then holds it."""
  folder, name = os.path.split(part)
  with _locked(os.path.join(folder, f'{descriptions.LOCK}.{name}'), fcntl.LOCK_EX,
               waits=True):
    yield


@contextlib.contextmanager
def _locked(path: str, kind: int, *, waits: bool = False) -> Iterator[None]:
  """Holds a lock, alone (LOCK_EX) or with others (LOCK_SH)."""
  folder = os.path.dirname(path)
  with writing.saying_why(folder):
    # The file stays: if it were removed, two processes could hold a lock.
    lock = open(path, 'a+', encoding='utf-8')
  with lock:
    try:
      fcntl.flock(lock, kind if waits else kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
      lock.seek(0)
      raise UserError(
          f'{folder!r} is being written by {lock.read() or "another process"}: '
          'wait for its end, or choose another config key prepare.output'
      ) from error
    except OSError as error:  # a file system without locks
      _console.warning('cannot lock %s (%s): do not prepare twice '
                       'into one folder at a time', folder, error.strerror)
    lock.truncate(0)
    lock.write(f'process {os.getpid()} on {socket.gethostname()}'
               if kind == fcntl.LOCK_EX else 'processes that prepare its shards')
    lock.flush()
    yield
