"""Files, local or in a bucket, and reads that are tried again while storage fails.

It fails for a moment: a network, a disk, too many files. What cannot be read only for
now must not count as a bad image: another would take its place, in this process and
not in others or after a restart.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import errno
import logging
import os
import re
import time
from typing import Any, TypeVar

from etils import epath

from byol_jax.errors import TransientError
from byol_jax.errors import UserError

T = TypeVar('T')

_console = logging.getLogger('byol_jax')

_WAITS = (0.1, 0.4, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # seconds before each new try
# errors of the file itself, which will be there tomorrow
FINAL = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EACCES,
         errno.ENAMETOOLONG)
# TensorFlow's errors by name, and gcsfs's by code; gcsfs has OSErrors, too
_NUMBERS = {'NotFoundError': errno.ENOENT, 'PermissionDeniedError': errno.EACCES,
            'UnauthenticatedError': errno.EACCES, '401': errno.EACCES}
_FINAL_WORDS = {os.strerror(number) for number in FINAL}
# array_record says 'open() failed: Too many open files; opening ...'; of damage it
# says something else
_OF_THE_SYSTEM = re.compile(r'\w+\(\) failed: ([^;]+)')
_OF_A_BUCKET = re.compile('UNAVAILABLE|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|ABORTED|'
                          'HTTP|[Tt]imed out|[Cc]onnection|[Rr]esolve')


def in_bucket(path: str | os.PathLike) -> bool:
  """Whether the operating system cannot read it, gs://... for example."""
  return '://' in os.fspath(path)


def stat(path: str) -> tuple[int, int]:
  """A file's bytes, and when it changed, in seconds.

  Raises:
    OSError: there is no such file, or it cannot be looked at.
  """
  if in_bucket(path):
    found = _bucket(lambda: epath.Path(path).stat())
    return found.length, found.mtime
  found = os.stat(path)  # epath's fails where the owner has no name
  return found.st_size, int(found.st_mtime)


def require(path: str) -> None:
  """Tells a bucket that cannot be reached from a folder that is not there.

  epath's is_dir() and exists() do not; neither do TFDS's.

  Raises:
    UserError: it may not be read.
    TransientError: it cannot be reached.
  """
  try:
    _bucket(lambda: epath.Path(path).stat())
  except FileNotFoundError:
    pass  # whoever wants a file from it knows better what is missing
  except OSError as error:
    why = ' '.join(str(error).split())[:300]
    if may_pass(error):
      raise TransientError(f'cannot reach {path}: {why}') from error
    raise UserError(f'cannot read {path}: {why}; log in (gcloud auth '
                    'application-default login), or check the rights of this '
                    "machine's service account") from error


def read_bytes(path: str) -> bytes:
  """All of a file.

  Raises:
    OSError: it cannot be read.
  """
  return _bucket(lambda: epath.Path(path).read_bytes())


def read_range(path: str, start: int, stop: int) -> bytes:
  """The bytes from `start` to before `stop`; fewer where the file ends earlier.

  Raises:
    OSError: it cannot be read.
    UserError: it is in a bucket, and gcsfs is not installed.
  """
  with ranges(path) as read:
    return read(start, stop)


@contextlib.contextmanager
def ranges(path: str) -> Iterator[Callable[[int, int], bytes]]:
  """`read_range` of one file, many times: a local one is opened once."""
  if in_bucket(path):
    filesystem = _filesystem(path)
    yield lambda start, stop: _bucket(lambda: filesystem.cat_file(path, start, stop))
  else:
    with open(path, 'rb', buffering=0) as f:
      yield lambda start, stop: os.pread(f.fileno(), stop - start, start)


def _filesystem(path: str) -> Any:
  """fsspec's, which opens no file: each would read ahead by megabytes."""
  import fsspec  # pylint: disable=g-import-not-at-top  # etils has it
  try:
    return fsspec.core.url_to_fs(path)[0]
  except ImportError as error:
    raise UserError(f"cannot read {path!r} without gcsfs: pip install "
                    "'byol_jax[gcs]'") from error


def _bucket(read: Callable[[], T]) -> T:
  """read(), all of whose errors become OSErrors."""
  try:
    return read()
  except (OSError, UserError):
    raise
  except Exception as error:  # untyped: the network's, Google's, TensorFlow's
    kind = type(error).__name__
    number = _NUMBERS.get(kind) or _NUMBERS.get(str(getattr(error, 'code', '')))
    raise OSError(number or errno.EIO, f'{kind}: {error}') from error


def insist(read: Callable[[], T], where: str) -> T:
  """What read() returns, maybe after some tries.

  Args:
    read: raises OSError or, as array_record does, RuntimeError.
    where: what it reads, for messages.

  Raises:
    TransientError: it failed for a minute.
    OSError: of the file itself: one of `FINAL`.
    RuntimeError: of what the file holds.
  """
  for wait in (*_WAITS, None):
    try:
      return read()
    except (OSError, RuntimeError) as error:
      if not may_pass(error):
        raise
      if wait is None:
        raise TransientError(f'cannot read {where} for {sum(_WAITS):.0f} s now: '
                             f'{error}') from error
      if wait == _WAITS[2]:  # not of every hiccup
        _console.warning('warning: cannot read %s (%s); trying again for a minute',
                         where, error)
    time.sleep(wait)
  raise AssertionError('not reached')


def may_pass(error: Exception) -> bool:
  """Whether the same read may succeed later."""
  if isinstance(error, OSError) and error.errno is not None:
    return error.errno not in FINAL
  found = _OF_THE_SYSTEM.search(str(error))
  if found:
    return found[1].strip() not in _FINAL_WORDS
  return bool(_OF_A_BUCKET.search(str(error)))
