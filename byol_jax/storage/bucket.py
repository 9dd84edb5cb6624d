"""A workdir in a bucket (gs://...), and the local folder that stands for it.

Checkpoints and the lock go to the bucket directly. The other files of a run are small
and grow by lines, but an object in a bucket cannot grow. They live in a local folder;
the files that have changed are copied to the bucket every half minute, and at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import importlib.util
import json
import logging
import os
import tempfile
import threading

from etils import epath

from byol_jax import errors
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.storage import failures

_console = logging.getLogger('byol_jax')

_SECONDS = 30.0  # between copies
_REQUEST_SECONDS = 60
# a run goes on with them
_PULLED = ('config.json', 'metrics.jsonl', 'results.json', 'sessions.jsonl')


def choose_library() -> None:
  """Makes paths use gcsfs where it is installed, not TensorFlow.

  Must be called before any bucket is opened. TensorFlow takes seconds to load and, on
  some machines, takes the accelerator.
  """
  # by default requests without an answer never end, those of gcsfs included:
  # https://github.com/fsspec/gcsfs/pull/153
  os.environ.setdefault('TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS',
                        str(_REQUEST_SECONDS))
  os.environ.setdefault('TENSORSTORE_CURL_LOW_SPEED_LIMIT_BYTES', '1')
  if importlib.util.find_spec('gcsfs'):
    os.environ.setdefault('EPATH_USE_TF', 'false')
    # its cache of listings misses the files that tensorstore writes:
    # https://github.com/fsspec/gcsfs/issues/647
    with contextlib.suppress(ValueError, TypeError):  # no JSON: fsspec reports it
      os.environ['FSSPEC_GCS'] = json.dumps(
          {'use_listings_cache': False, 'requests_timeout': _REQUEST_SECONDS}
          | json.loads(os.environ.get('FSSPEC_GCS', '{}')))
    # it asks for each bucket's kind, and readers may lack the right to know it:
    # https://github.com/fsspec/gcsfs/pull/816
    os.environ.setdefault('GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT', 'false')
    logging.getLogger('gcsfs').setLevel(logging.CRITICAL)  # a failure is raised, too


def prepare(workdir: str) -> None:
  """Checks that the bucket takes a file.

  Raises:
    UserError: the bucket refuses the file, or is no bucket of Google's.
    TransientError: the bucket cannot be reached.
  """
  if not workdir.startswith('gs://'):
    raise UserError(f'--workdir={workdir}: name a directory or a bucket of '
                    'Google Cloud Storage (gs://...)')
  try:
    probe = epath.Path(workdir) / f'.write-test-{os.getpid()}'
    probe.write_bytes(b'x')
    probe.unlink()
  except ImportError as error:
    raise UserError(f'--workdir={workdir} takes gcsfs: '
                    "pip install 'byol_jax[gcs]'") from error
  except Exception as error:  # untyped: the network's, Google's
    raise failures.of_storage(
        f'cannot write to workdir {workdir}: {errors.one_line(error)}; set --workdir, '
        'or log in (gcloud auth application-default login)', error) from error


@contextlib.contextmanager
def mirrored(workdir: str) -> Iterator[str]:
  """Makes a folder that holds the small files of a run in a bucket.

  Args:
    workdir: the workdir in the bucket.

  Yields:
    The folder. A file that is written there is in the bucket after half a minute, and
    at the latest when the block has ended.

  Raises:
    UserError: the files of an earlier session may not be read.
    TransientError: the bucket cannot be reached; or the block went well, but the last
      copy failed.
  """
  stop = threading.Event()
  with tempfile.TemporaryDirectory(prefix='byol_jax-') as folder:
    mirror = _Mirror(workdir, folder)
    try:
      mirror.pull()
    except Exception as error:  # untyped, too
      raise failures.of_storage(
          f'cannot read workdir {workdir}: {errors.one_line(error)}', error) from error

    def keep_copying():
      warned = False
      while not stop.wait(_SECONDS):
        try:
          mirror.push()
        except Exception as error:
          if not warned:
            _console.warning(
                'cannot copy the log to %s (%s); training goes on, and '
                'it is tried again every %g s', workdir, errors.one_line(error),
                _SECONDS)
          warned = True

    copying = threading.Thread(target=keep_copying, name='bucket', daemon=True)
    copying.start()
    ended_well = False
    try:
      yield folder
      ended_well = True
    finally:
      stop.set()
      copying.join()
      try:
        mirror.push()
      except Exception as error:
        if ended_well:
          raise TransientError(
              f'cannot copy the results to {workdir} ({errors.one_line(error)}): the '
              'same command tries again') from error
        _console.warning('cannot copy the log to %s (%s)', workdir,
                         errors.one_line(error))


class _Mirror:
  """Copies of files in a bucket and in a folder; errors of a bucket are untyped."""

  def __init__(self, workdir: str, folder: str):
    self._remote, self._folder = epath.Path(workdir), folder
    self._copied: dict[str, tuple[int, int]] = {}  # size and time, as in the bucket

  def pull(self) -> None:
    """Copies the files that a run goes on with into the folder."""
    for name in _PULLED:
      if (self._remote / name).exists():
        data = (self._remote / name).read_bytes()
        with open(os.path.join(self._folder, name), 'wb') as f:
          f.write(data)
        self._copied[name] = self._stamp(name)

  def push(self) -> None:
    """Copies the files that have changed into the bucket."""
    for name in sorted(os.listdir(self._folder)):
      if name.endswith('.tmp'):  # it will be gone in a moment
        continue
      stamp = self._stamp(name)
      if self._copied.get(name) != stamp:
        with open(os.path.join(self._folder, name), 'rb') as f:
          (self._remote / name).write_bytes(f.read())
        self._copied[name] = stamp

  def _stamp(self, name: str) -> tuple[int, int]:
    status = os.stat(os.path.join(self._folder, name))
    return status.st_size, status.st_mtime_ns
