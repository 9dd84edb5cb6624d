"""Random access to the records of many files, ArrayRecord's above all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import contextlib
import functools
from typing import Any

import numpy as np

from byol_jax.errors import UserError
from byol_jax.storage import failures
from byol_jax.storage import paths as paths_lib
from byol_jax.storage import retry


def reader(files: Sequence[str]) -> Callable[[int, int], bytes]:
  """Returns a function that reads records, for many threads.

  Args:
    files: the shards, local or in a bucket. No more of them are open at a time than
      this process may have open.

  Returns:
    (file's index, record's number in it) -> the record.

  Raises:
    UserError: array_record is not installed. The function that is returned raises
      RuntimeError, ValueError or IndexError where the file is damaged, and
      TransientError where it cannot be read for a minute.
  """
  array_record = module()

  # Python closes the file of a dropped reader once no thread reads from it. In a bucket
  # opening takes long, and needs no descriptor.
  in_bucket = bool(files) and paths_lib.in_bucket(files[0])
  @functools.lru_cache(None if in_bucket else _most_open(len(files)))
  def opened(file: int) -> Any:
    return array_record.ArrayRecordReader(files[file], 'readahead_buffer_size:0')

  def read(file: int, k: int) -> bytes:
    record, = retry.insist(lambda: opened(file).read([k]), repr(files[file]))
    return record
  return read


def by_number(
    files: Sequence[str], counts: Sequence[int], read: Callable[[int, int], bytes],
    damaged: Callable[[str, int, Exception], UserError],
    skipped: Sequence[int] | None = None,
) -> Callable[[int], bytes]:
  """Returns a function that reads a record by its number among those of all files.

  Args:
    files: the shards.
    counts: how many records are taken from each.
    read: (file's index, record's number in it) -> the record.
    damaged: (file, record's number in it, error) -> the error to raise where the file
      is damaged or missing.
    skipped: how many records to skip at the start of each; None for 0.
  """
  first = np.cumsum([0, *counts])

  def read_record(index: int) -> bytes:
    file = int(np.searchsorted(first, index, 'right')) - 1
    k = int(index - first[file]) + (skipped[file] if skipped else 0)
    try:
      return read(file, k)
    # array_record raises the first two
    except (RuntimeError, IndexError, ValueError, OSError) as error:
      cause = failures.cause(error)  # array_record may lack the right to read
      if cause is not None and not isinstance(cause, FileNotFoundError):
        raise paths_lib.refused(files[file], cause) from error
      raise damaged(files[file], k, error) from error
  return read_record


def module() -> Any:
  """Returns array_record; raises a UserError that says how to install it."""
  try:
    from array_record.python import array_record_module
  except ImportError as error:
    raise UserError(f'array_record files need array_record ({error}): pip install '
                    'array_record') from error
  return array_record_module


def _most_open(shards: int) -> int:
  """Returns how many shards may be open at a time: a quarter of this process's files.

  Raises the system's limit as far as a process may: to open a shard again for an image
  takes an eighth of the time to decode it.
  """
  import resource  # not on Windows
  kind, wanted = resource.RLIMIT_NOFILE, 4 * shards
  soft, hard = resource.getrlimit(kind)
  if soft == resource.RLIM_INFINITY:
    return shards
  if soft < wanted:
    if hard != resource.RLIM_INFINITY:
      wanted = min(wanted, hard)
    with contextlib.suppress(ValueError, OSError):
      resource.setrlimit(kind, (wanted, hard))
  return max(resource.getrlimit(kind)[0] // 4, 1)
