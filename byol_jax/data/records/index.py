"""Indexes of where the records of a file start, found once on each machine and kept.

Files without an index of their own must be read to find their records. On a disk
that is quick for some; a file in a bucket is read whole. Such indexes are kept in
~/.cache, each as the arrays of an .npz file.
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

Index = dict[str, np.ndarray]  # arrays by name: where records start, and the like


def indexes(paths: Sequence[str], find: Callable[[str], Index], kind: str, *,
            how: str = '', local: bool = False) -> list[Index]:
  """Finds the records of many files; keeps the indexes of files in a bucket.

  Args:
    paths: the files, local or in a bucket.
    find: returns the index of a file.
    kind: the files' format, for messages and for the name of the cache's folder.
    how: what an index depends on beside its file, such as what `find` looks for.
    local: whether the indexes of local files are kept as well.

  Returns:
    The index of each file.

  Raises:
    Exception: as `find`; TransientError: as `retry.insist`.
  """
  kept = list(workers.each(lambda path: _kept_at(path, kind, how, local), paths))
  found = workers.each(lambda both: kept_index(*both, find), zip(paths, kept))
  missing = sum(bool(file) and not os.path.exists(file) for file in kept)
  if missing:
    in_bucket = paths_lib.in_bucket(paths[0])
    _console.info(
        'finding the records of %d %s files%s: they are read once on this machine%s',
        missing, kind, ' in a bucket' if in_bucket else '',
        ' (files of the array_record format need not be)' if in_bucket else '')
    found = workers.told(found, len(paths), '%d of %d files')
  return list(found)


def kept_index(path: str, file: str | None, find: Callable[[str], Index]) -> Index:
  """Returns the index of one file, as kept by an earlier run or found now.

  Args:
    path: the file with the records.
    file: where the index is kept; None to find it each time.
    find: as in `indexes`.
  """
  if file is not None:
    with contextlib.suppress(Exception):  # none, or damaged: numpy raises many errors
      with np.load(file, allow_pickle=False) as kept:
        index = dict(kept)
        if index.pop('digest') == _digest(file, index):
          return index
  index = retry.insist(lambda: find(path), repr(path))
  if file is not None:
    data = io.BytesIO()
    np.savez(data, **index, digest=_digest(file, index))
    with contextlib.suppress(OSError):  # no home, or a full one: find them again
      os.makedirs(os.path.dirname(file), exist_ok=True)
      files_lib.write_bytes(file, data.getbuffer())
  return index


def _digest(file: str, index: Index) -> str:
  """Returns the SHA-256 of an index and of the name of the file that keeps it.

  An index that a disk has changed, or that was copied to another name, has another one.
  """
  digest = hashlib.sha256(os.path.basename(file).encode())
  for name in sorted(index):
    digest.update(np.ascontiguousarray(index[name]))
  return digest.hexdigest()


def _kept_at(path: str, kind: str, how: str, local: bool) -> str | None:
  """Returns where the index of a file is kept; None for one that is not.

  A file that has changed has another place.
  """
  if paths_lib.in_bucket(path):
    version = retry.insist(lambda: paths_lib.version(path), repr(path))
  elif local:
    path = os.path.abspath(path)
    found = retry.insist(lambda: os.stat(path), repr(path))
    version = repr([found.st_size, found.st_mtime_ns, found.st_ino])
  else:
    return None
  name = hashlib.sha256('\0'.join(filter(None, (path, version, how))).encode(
      errors='surrogateescape')).hexdigest()
  cache = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  return os.path.join(cache, 'byol_jax', kind.lower(), name + '.npz')
