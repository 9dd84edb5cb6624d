"""Indexes of where the records of a file start, found once on each machine and kept.

Files without an index of their own must be read to find their records. On a disk
that is quick; a file in a bucket is read whole, so its index is kept in ~/.cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import contextlib
import hashlib
import io
import logging
import os

import numpy as np

from byol_jax.data import workers
from byol_jax.storage import files as files_lib
from byol_jax.storage import paths as paths_lib
from byol_jax.storage import retry

_console = logging.getLogger('byol_jax')


def indexes(paths: Sequence[str], find: Callable[[str], np.ndarray],
            kind: str) -> list[np.ndarray]:
  """Finds the records of many files; keeps the indexes of files in a bucket.

  Args:
    paths: the files, local or in a bucket.
    find: returns the index of a file, an array of numbers.
    kind: the files' format, for messages and for the name of the cache's folder.

  Returns:
    The index of each file.

  Raises:
    ValueError, OSError: as `find`; TransientError: as `retry.insist`.
  """
  kept = list(workers.each(lambda path: _kept_at(path, kind), paths))
  starts = workers.each(lambda both: kept_index(*both, find), zip(paths, kept))
  missing = sum(bool(file) and not os.path.exists(file) for file in kept)
  if missing:
    _console.info(
        'finding the records of %d %s files in a bucket: they are read once on this '
        'machine (files of the array_record format need not be)', missing, kind)
    starts = workers.told(starts, len(paths), '%d of %d files')
  return list(starts)


def kept_index(path: str, file: str | None,
               find: Callable[[str], np.ndarray]) -> np.ndarray:
  """Returns the index of one file, as kept by an earlier run or found now.

  Args:
    path: the file with the records.
    file: where the index is kept; None to find it each time.
    find: as in `indexes`.
  """
  if file is not None:
    with contextlib.suppress(Exception):  # none, or damaged: numpy raises many errors
      with np.load(file, allow_pickle=False) as kept:
        starts = kept['starts']
        if kept['digest'] == _digest(file, starts):
          return starts
  starts = retry.insist(lambda: find(path), repr(path))
  if file is not None:
    data = io.BytesIO()
    np.savez(data, starts=starts, digest=_digest(file, starts))
    with contextlib.suppress(OSError):  # no home, or a full one: find them again
      os.makedirs(os.path.dirname(file), exist_ok=True)
      files_lib.write_bytes(file, data.getvalue())
  return starts


def _digest(file: str, starts: np.ndarray) -> str:
  """Returns the SHA-256 of an index and of the name of the file that keeps it.

  An index that a disk has changed, or that was copied to another name, has another one.
  """
  return hashlib.sha256(os.path.basename(file).encode() + starts.tobytes()).hexdigest()


def _kept_at(path: str, kind: str) -> str | None:
  """Returns where the index of a file in a bucket is kept; None for a local one.

  A file that has changed has another place.
  """
  if not paths_lib.in_bucket(path):
    return None
  version = retry.insist(lambda: paths_lib.version(path), repr(path))
  name = hashlib.sha256(f'{path}\0{version}'.encode()).hexdigest()
  cache = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  return os.path.join(cache, 'byol_jax', kind.lower(), name + '.npz')
