"""Reads files and folders, local or in a bucket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import errno
import functools
import os
import stat as stat_lib
from typing import Any, TypeVar

from etils import epath

from byol_jax import errors
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.storage import failures
from byol_jax.storage import retry

T = TypeVar('T')


def in_bucket(path: str | os.PathLike) -> bool:
  """Returns whether a path, such as gs://..., is not one of the operating system's."""
  return '://' in os.fspath(path)


def stat(path: str) -> tuple[int, int]:
  """Returns a file's size in bytes, and the time of its change in seconds.

  Raises:
    OSError: there is no such file, or it may not be read.
  """
  if in_bucket(path):
    found = _bucket(lambda: epath.Path(path).stat())
    return found.length, found.mtime
  # epath's stat fails for an owner without a name:
  # https://github.com/google/etils/issues/790
  found = os.stat(path)
  return found.st_size, int(found.st_mtime)


def version(path: str) -> str:
  """Returns a text that changes whenever a file in a bucket changes.

  Raises:
    OSError: as `stat`.
    UserError: gcsfs is not installed.
  """
  def look() -> dict[str, Any]:
    import fsspec  # etils has it
    return fsspec.filesystem('gs').info(path)
  found = _bucket(look)
  return repr([found.get(key) for key in ('size', 'generation', 'md5Hash', 'updated')])


def is_dir(path: str) -> bool:
  """Returns whether a path is a folder; raises for one that cannot be reached.

  Raises:
    UserError, TransientError: as `reading`.
  """
  def look() -> bool:
    if in_bucket(path):
      return _bucket(lambda: epath.Path(path).stat()).is_directory
    return stat_lib.S_ISDIR(os.stat(path).st_mode)
  with reading(path):
    try:
      return retry.insist(look, repr(path))
    except (FileNotFoundError, NotADirectoryError):
      return False


def names(path: str) -> list[str]:
  """Returns the names in a folder, sorted; [] where there is no folder.

  Raises:
    UserError, TransientError: as `reading`.
  """
  def look() -> list[str]:
    if in_bucket(path):
      return _bucket(lambda: [x.name for x in epath.Path(path).iterdir()])
    return os.listdir(path)
  with reading(path):
    try:
      return sorted(retry.insist(look, repr(path)))
    except (FileNotFoundError, NotADirectoryError):
      return []


def entries(path: str) -> tuple[list[str], set[str]]:
  """Returns the names in a folder, sorted, and those of folders, also behind links.

  In a bucket each look takes long: a name with a dot is taken for a file's.

  Raises:
    UserError, TransientError: as `reading`.
  """
  if in_bucket(path):
    found = [name.rstrip('/') for name in names(path)]
    return found, {name for name in found
                   if '.' not in name and is_dir(os.path.join(path, name))}
  def look() -> dict[str, bool]:
    found = {}
    with os.scandir(path) as scanned:
      for entry in scanned:
        found[entry.name] = False
        with contextlib.suppress(OSError):  # a link to itself
          found[entry.name] = entry.is_dir()
    return found
  with reading(path):
    try:
      found = retry.insist(look, repr(path))
    except (FileNotFoundError, NotADirectoryError):
      found = {}
  return sorted(found), {name for name, is_folder in found.items() if is_folder}


def require(path: str) -> None:
  """Checks that a bucket can be reached; a missing folder in it is no error.

  epath's is_dir() and exists(), and TFDS, do not distinguish the two.

  Raises:
    UserError: the bucket may not be read, or is no bucket of Google's.
    TransientError: the bucket cannot be reached.
  """
  if not path.startswith('gs://'):
    raise UserError(f'cannot read {path}: data is read from folders and from Google '
                    'Cloud Storage (gs://...)')
  try:
    _bucket(lambda: epath.Path(path).stat())
  except FileNotFoundError:
    pass  # the reader of a file can say better what is missing
  except OSError as error:
    if failures.is_mistake(error):
      raise refused(path, error) from error
    raise TransientError(f'cannot reach {path}: {errors.one_line(error)}') from error


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
  """Turns an OSError of the block into a UserError: the path may not be read.

  A TransientError, such as that of `retry.insist`, stays.
  """
  try:
    yield
  except OSError as error:
    raise refused(path, error) from error


def refused(path: str, error: OSError) -> UserError:
  """Returns the error for a path that may not be read."""
  login = ('; log in (gcloud auth application-default login), or check the rights of '
           "this machine's service account") if in_bucket(path) and error.errno in (
               errno.EACCES, failures.NO_LOGIN) else ''
  return UserError(f'cannot read {path}: {errors.one_line(error)}{login}')


def read_bytes(path: str) -> bytes:
  """Reads a whole file.

  Raises:
    OSError, TransientError: as `retry.insist`.
  """
  return retry.insist(lambda: _bucket(lambda: epath.Path(path).read_bytes()),
                      repr(path))


def read_range(path: str, start: int, stop: int) -> bytes:
  """Reads the bytes from `start` to before `stop`.

  A local file that ends earlier gives fewer bytes; a file in a bucket is an error.

  Raises:
    OSError: the file cannot be read.
  """
  with ranges(path) as read:
    return read(start, stop)


@contextlib.contextmanager
def ranges(path: str) -> Iterator[Callable[[int, int], bytes]]:
  """Yields `read_range` of one file, for many calls; a local file is opened once."""
  if in_bucket(path):
    yield lambda start, stop: _bucket(lambda: _object_range(path, start, stop))
  else:
    with open(path, 'rb', buffering=0) as f:
      yield lambda start, stop: os.pread(f.fileno(), stop - start, start)


def _object_range(path: str, start: int, stop: int) -> bytes:
  bucket, _, name = path.removeprefix('gs://').partition('/')
  found = store(bucket).read(name, byte_range=slice(start, stop)).result(
      timeout=retry.READ.first_patience)
  if found.state != 'value':
    raise FileNotFoundError(errno.ENOENT, 'it is missing')
  return found.value


@functools.lru_cache(None)
def store(bucket: str) -> Any:
  """Opens a bucket with tensorstore, which reads in C++ beside Python's threads.

  gcsfs does all in one thread of Python: 16 threads read 2,800 records of 100 KB a
  second with it, and 5,800 with tensorstore (nginx on the same two cores). gcsfs can
  write under a condition only a file that is not there yet.
  """
  import tensorstore  # slow
  return tensorstore.KvStore.open({
      'driver': 'gcs', 'bucket': bucket, 'context': {
          'gcs_request_concurrency': {'limit': 128},
          'gcs_request_retries': {'max_retries': 4, 'initial_delay': '0.5s',
                                  'max_delay': '8s'}}}).result()


def _bucket(read: Callable[[], T]) -> T:
  """Returns read(); turns any error into an OSError with a number."""
  try:
    return read()
  except ImportError as error:
    raise UserError("buckets (gs://...) cannot be read without gcsfs: pip install "
                    "'byol_jax[gcs]'") from error
  except Exception as error:  # untyped: the network's, Google's, TensorFlow's
    if failures.as_os_error(error) is error:
      raise
    raise failures.as_os_error(error) from error
