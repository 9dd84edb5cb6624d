"""Files, local or in a bucket, and reads that are tried again while storage fails.

It fails for a moment: a network, a disk, too many files. What cannot be read only for
now must not count as a bad image: another would take its place, in this process and
not in others or after a restart.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import errno
import functools
import logging
import os
import stat as stat_lib
import time
from typing import Any, TypeVar

from etils import epath

from byol_jax import errors
from byol_jax.errors import TransientError
from byol_jax.errors import UserError

T = TypeVar('T')

_console = logging.getLogger('byol_jax')

_WAITS = (0.1, 0.4, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # seconds before each new try
_PATIENCE = 60.0  # seconds, after which no try is begun
_TRIES = 3  # but for so many: each may take a minute, for gcsfs, too, tries again;
_MOST_PATIENCE = 300.0  # array_record does for 17 minutes, which must do


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


def version(path: str) -> str:
  """What differs between all that a file in a bucket ever held.

  Raises:
    OSError: as `stat`.
    UserError: gcsfs is not installed.
  """
  def look() -> dict[str, Any]:
    import fsspec  # pylint: disable=g-import-not-at-top  # etils has it
    return fsspec.filesystem('gs').info(path)
  found = _bucket(look)
  return repr([found.get(key) for key in ('size', 'generation', 'md5Hash', 'updated')])


def is_dir(path: str) -> bool:
  """As os.path.isdir, but never False for a folder that cannot be reached.

  Raises:
    OSError: it may not be looked at.
    TransientError: as `insist`.
  """
  def look() -> bool:
    if in_bucket(path):
      return _bucket(lambda: epath.Path(path).stat()).is_directory
    return stat_lib.S_ISDIR(os.stat(path).st_mode)
  try:
    return insist(look, repr(path))
  except (FileNotFoundError, NotADirectoryError):
    return False


def names(path: str) -> list[str]:
  """Of the files and folders in a folder, in order; [] where there is none.

  Raises:
    OSError, TransientError: as `is_dir`.
  """
  def look() -> list[str]:
    if in_bucket(path):
      return _bucket(lambda: [x.name for x in epath.Path(path).iterdir()])
    return os.listdir(path)
  try:
    return sorted(insist(look, repr(path)))
  except (FileNotFoundError, NotADirectoryError):
    return []


def require(path: str) -> None:
  """Tells a bucket that cannot be reached from a folder that is not there.

  epath's is_dir() and exists() do not; neither do TFDS's.

  Raises:
    UserError: it may not be read, or is no bucket of Google's.
    TransientError: it cannot be reached.
  """
  if not path.startswith('gs://'):
    raise UserError(f'cannot read {path}: data is read from folders and from Google '
                    'Cloud Storage (gs://...)')
  try:
    _bucket(lambda: epath.Path(path).stat())
  except FileNotFoundError:
    pass  # whoever wants a file from it knows better what is missing
  except OSError as error:
    if errors.is_mistake(error):
      raise refused(path, error) from error
    raise TransientError(f'cannot reach {path}: {errors.one_line(error)}') from error


def refused(path: str, error: OSError) -> UserError:
  """The error for what may not be read."""
  login = ('; log in (gcloud auth application-default login), or check the rights of '
           "this machine's service account") if in_bucket(path) and error.errno in (
               errno.EACCES, errors.NO_LOGIN) else ''
  return UserError(f'cannot read {path}: {errors.one_line(error)}{login}')


def read_bytes(path: str) -> bytes:
  """All of a file.

  Raises:
    OSError: it cannot be read.
  """
  return _bucket(lambda: epath.Path(path).read_bytes())


def read_range(path: str, start: int, stop: int) -> bytes:
  """The bytes from `start` to before `stop`, or fewer of a file that ends earlier.

  Of one in a bucket that is an error.

  Raises:
    OSError: it cannot be read.
  """
  with ranges(path) as read:
    return read(start, stop)


@contextlib.contextmanager
def ranges(path: str) -> Iterator[Callable[[int, int], bytes]]:
  """`read_range` of one file, many times: a local one is opened once."""
  if in_bucket(path):
    yield lambda start, stop: _bucket(lambda: _object_range(path, start, stop))
  else:
    with open(path, 'rb', buffering=0) as f:
      yield lambda start, stop: os.pread(f.fileno(), stop - start, start)


def _object_range(path: str, start: int, stop: int) -> bytes:
  bucket, _, name = path.removeprefix('gs://').partition('/')
  found = _store(bucket).read(name, byte_range=slice(start, stop)).result(
      timeout=_MOST_PATIENCE)
  if found.state != 'value':
    raise FileNotFoundError(errno.ENOENT, 'it is missing')
  return found.value


@functools.lru_cache(None)
def _store(bucket: str) -> Any:
  """tensorstore's: it reads in C++, and while Python does something else.

  gcsfs does all in one thread of Python's: 16 threads read 2,800 records of 100 KB
  a second with it, and 5,800 with this (nginx on the same two cores).
  """
  import tensorstore  # pylint: disable=g-import-not-at-top  # slow
  return tensorstore.KvStore.open({
      'driver': 'gcs', 'bucket': bucket, 'context': {
          'gcs_request_concurrency': {'limit': 128},
          'gcs_request_retries': {'max_retries': 4, 'initial_delay': '0.5s',
                                  'max_delay': '8s'}}}).result()


def _bucket(read: Callable[[], T]) -> T:
  """read(), all of whose errors become OSErrors with a number."""
  try:
    return read()
  except ImportError as error:
    raise UserError("buckets (gs://...) cannot be read without gcsfs: pip install "
                    "'byol_jax[gcs]'") from error
  except Exception as error:  # untyped: the network's, Google's, TensorFlow's
    if errors.as_os_error(error) is error:
      raise
    raise errors.as_os_error(error) from error


def insist(read: Callable[[], T], where: str) -> T:
  """What read() returns, maybe after some tries.

  Args:
    read: raises OSError or, as array_record does, RuntimeError.
    where: what it reads, for messages.

  Raises:
    TransientError: it failed for a minute.
    OSError: of the file itself: it will be there tomorrow.
    RuntimeError: of what the file holds.
  """
  since, tries = time.monotonic(), 0

  def passes(error: Exception) -> bool:
    nonlocal tries
    if not isinstance(error, (OSError, RuntimeError)) or not errors.may_pass(error):
      return False
    tries += 1
    if tries == _TRIES:  # not of every hiccup
      _console.warning('warning: cannot read %s (%s); trying again for a minute',
                       where, errors.one_line(error))
    return time.monotonic() - since < (
        _MOST_PATIENCE if tries <= _TRIES else _PATIENCE)

  try:
    return again(read, _WAITS, passes)
  except (OSError, RuntimeError) as error:
    if not errors.may_pass(error):
      raise
    raise TransientError(f'cannot read {where} for {time.monotonic() - since:.0f} s '
                         f'now: {errors.one_line(error)}') from error


def again(act: Callable[[], T], waits: Sequence[float],
          passes: Callable[[Exception], bool] = lambda _: True) -> T:
  """What act() returns, called again after each wait while it fails.

  Args:
    act: may raise anything; UserError and TransientError are never tried again.
    waits: in seconds.
    passes: whether to try again after an error.

  Raises:
    Exception: act's last one.
  """
  for wait in waits:
    try:
      return act()
    except (UserError, TransientError):
      raise
    except Exception as error:
      if not passes(error):
        raise
    time.sleep(wait)
  return act()
