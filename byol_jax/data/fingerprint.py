"""Fingerprints by which a run knows the data set that it began with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import hashlib
import json
import os

import numpy as np

from byol_jax.data import workers
from byol_jax.data.images.decode import BadImage
from byol_jax.data.sources.table import Data
from byol_jax.data.sources.table import Images

_LOOKED_INTO = 32  # files whose bytes count


def fingerprint(data: Data) -> str:
  """Returns a short digest of the images that a run is shown, and of their labels.

  For images in memory the pixels count, for files their names and order, for records
  what `Encoded.identity` holds: reading all would cost more than it tells.

  Args:
    data: the training part.

  Returns:
    16 hexadecimal digits.
  """
  digest = hashlib.sha256()
  for piece in data.content():
    digest.update(piece)
  if isinstance(data.labels, np.ndarray):  # else they come with the images
    digest.update(np.ascontiguousarray(data.labels, np.int32).tobytes())
  return digest.hexdigest()[:16]


def files(data: Data) -> str:
  """Returns a short digest of the sizes of all files, and of the bytes of some.

  It stays the same in a copy. Names alone are those of other images, too: of a/val and
  b/val, say.

  Returns:
    16 hexadecimal digits; '' where the images are no files.
  """
  states = file_states(data, range(data.size))
  if not states:
    return ''
  digest = hashlib.sha256(json.dumps([state and state[0] for state in states]).encode())
  for row in np.unique(np.linspace(0, data.size - 1, _LOOKED_INTO).astype(int)):
    try:
      digest.update(data.read(int(row)))
    except BadImage as error:
      digest.update(str(error).encode())
  return digest.hexdigest()[:16]


def file_states(data: Data, rows: Iterable[int]) -> list[list[int] | None]:
  """Returns the size and the time of each row's file, which change with the file.

  Returns:
    [bytes, time of change in ns] of each, None for a file that is not there; an empty
    list where the images are no files.
  """
  if data.root is None:
    return []
  def state(row: int) -> list[int] | None:
    try:
      found = os.stat(os.path.join(data.root, data.names[row]))
    except (OSError, ValueError):  # reading it will say why
      return None
    return [found.st_size, found.st_mtime_ns]
  return list(workers.each(state, rows))


def contents(data: Data, rows: np.ndarray) -> Iterator[tuple[int, bytes]]:
  """Yields (row, digest of its bytes or pixels); unlike any for one that is gone."""
  def of(row: int) -> tuple[int, bytes]:
    try:
      content = (np.ascontiguousarray(data.images[row]).tobytes()
                 if isinstance(data, Images) else data.read(row))
    except BadImage:
      content = repr((id(data), row)).encode()
    return row, hashlib.blake2b(content, digest_size=16).digest()
  return workers.each(of, rows.tolist())
