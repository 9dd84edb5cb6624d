"""Whether a data set is the one that a run began with."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent import futures
import hashlib
import os
from typing import Any
import zlib

import numpy as np

from byol_jax.data.sources.table import Encoded
from byol_jax.data.sources.table import Images


def fingerprint(data: Images | Encoded) -> str:
  """A short digest of the images that a run is shown, and of their labels.

  Of images in memory the pixels count, of files their names and order, of records
  what `Encoded.identity` holds: reading all would cost more than it tells.

  Args:
    data: the training part.

  Returns:
    16 hexadecimal digits.
  """
  digest = hashlib.sha256()
  if isinstance(data, Images):
    digest.update(repr(data.images.shape).encode())
    digest.update(str(zlib.crc32(np.ascontiguousarray(data.images))).encode())
  elif data.identity:
    digest.update(data.identity.encode(errors='surrogateescape'))
  else:
    for name in data.names:
      digest.update(str(name).encode(errors='surrogateescape') + b'\0')
  if isinstance(data.labels, np.ndarray):
    digest.update(np.ascontiguousarray(data.labels, np.int32).tobytes())
  return digest.hexdigest()[:16]


def file_states(data: Images | Encoded, rows: Iterable[int]) -> list[Any]:
  """What changes when a file does, for each of the rows.

  Returns:
    [bytes, time of change in ns] of each; None of one that is not there; nothing
    at all of what are not files.
  """
  root = None if isinstance(data, Images) else data.root
  if root is None:
    return []
  def state(row: int) -> list[int] | None:
    try:
      found = os.stat(os.path.join(root, data.names[row]))
    except (OSError, ValueError):  # reading it will say why
      return None
    return [found.st_size, found.st_mtime_ns]
  with futures.ThreadPoolExecutor(16) as pool:  # a network takes its time
    return list(pool.map(state, rows, chunksize=64))
