"""Features with the rows of their images, and a store of them on disk.

Features are computed once for each encoder and data set, and kept in parts. A pass
that was interrupted goes on behind its last part. A later evaluation of the same
encoder on the same images reads what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import contextlib
import hashlib
import io
import json
import logging
import time
from typing import Any, NamedTuple
import zipfile

from etils import epath
import jax
import numpy as np

from byol_jax.data import fingerprint
from byol_jax.data.sources import table
from byol_jax.devices import hosts
from byol_jax.run import console as console_lib
from byol_jax.storage import files as files_lib

_console = logging.getLogger('byol_jax')

_SECONDS = 10.0  # time of a part, about: an interruption loses no more
_PROBES = 32     # images encoded again, to check that their features are as before


class Features(NamedTuple):
  """Features with the rows of their images, so `data.labels[features.rows]` fits.

  Attributes:
    rows: int [m], rows of the data set: the wanted images that could be read, in
      the wanted order.
    x: float32 [m, D].
  """
  rows: np.ndarray
  x: np.ndarray


Encode = Callable[[table.Data, np.ndarray], Features]


def readable(data: table.Data, rows: np.ndarray) -> np.ndarray:
  """Returns the rows int [n] without the images that are known to be bad."""
  if not data.bad:
    return rows
  return rows[[row not in data.bad for row in rows.tolist()]]


def joined(parts: list[Features]) -> Features:
  """Joins one or more parts of features, in order."""
  return Features(*map(np.concatenate, zip(*parts)))


class Store:
  """A folder of features; every process makes the same calls."""

  def __init__(self, folder: str | None, at_a_time: int):
    """Opens the store.

    Args:
      folder: a directory or bucket, made when it is needed; None keeps nothing.
      at_a_time: images that all devices of all processes take in one call.
    """
    self._at_a_time = at_a_time
    self._folder = epath.Path(folder) if folder else None
    self._warned = False
    self._known: dict[int, tuple[table.Data, dict[str, Any]]] = {}

  def __call__(self, encode: Encode, key: Mapping[str, Any], data: table.Data,
               rows: np.ndarray, title: str) -> Features:
    """Returns the features of images: reads kept parts, and computes missing ones.

    Args:
      encode: (data, rows) -> Features.
      key: identifies this encoder and its preparation of images: JSON.
      data: the data set.
      rows: int [n], the images.
      title: the progress line's title.

    Returns:
      Features of the images that could be read.
    """
    folder = self._folder and self._folder / self._digest(key, data, rows)
    parts, done = self._read(folder, data, rows)
    if done:
      if not _same(encode, data, parts[0]):
        _console.warning(
            'the features in %s are not what this encoder makes of these '
            'images now: computing them again', folder)
        parts, done = [], 0
      else:
        _console.info('%s: %d of %d features were computed before', title, done,
                      len(rows))
    if done < len(rows):
      bar = console_lib.Progress(title, len(rows) - done)
      size = self._at_a_time
      with contextlib.closing(bar):
        while done < len(rows):
          began = time.monotonic()
          part = rows[done:done + size]
          parts.append(encode(data, part))
          self._write(folder, done, part, parts[-1].x, data)
          done += len(part)
          bar.add(len(part))
          if hosts.from_first(time.monotonic() - began < _SECONDS / 2):
            size *= 2
    return joined(parts)

  def _digest(self, key: Mapping[str, Any], data: table.Data,
              rows: np.ndarray) -> str:
    """Returns a digest of all that the features depend on, as process 0 sees it."""
    if id(data) not in self._known:  # takes a look at every file
      states = [] if jax.process_index() else fingerprint.file_states(
          data, range(table.size(data)))
      self._known[id(data)] = data, {
          'data': fingerprint.fingerprint(data), 'name': data.name,
          'files': hashlib.sha256(json.dumps(states).encode()).hexdigest()}
    key = self._known[id(data)][1] | dict(key)
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(rows, np.int64).tobytes())
    return digest.hexdigest()[:16]

  def _read(self, folder: epath.Path | None, data: table.Data,
            rows: np.ndarray) -> tuple[list[Features], int]:
    """Returns the kept features of the first images, in one part, and their number."""
    parts, bad, done = [], {}, 0
    if folder is not None and jax.process_index() == 0:
      while True:
        try:
          found = sorted(folder.glob(f'{done:09d}-*.npz'))
          with np.load(io.BytesIO(found[-1].read_bytes()),
                       allow_pickle=False) as file:
            parts.append(file['features'])
            bad |= json.loads(str(file['bad']))
          done = int(found[-1].name.removesuffix('.npz').split('-')[1])
        # there is no part, or one that a crash has left unfinished
        except (IndexError, OSError, ValueError, KeyError, zipfile.BadZipFile):
          break
    done = hosts.from_first(done)
    if not done:
      return [], 0
    for reasons in hosts.gather_json(bad):
      if data.bad is not None:
        data.bad.learn(reasons)
    width = max(hosts.gather_json(parts[0].shape[1] if parts else 0))
    mine = np.concatenate(parts) if parts else np.zeros((0, width), np.float32)
    return [Features(readable(data, rows[:done]), hosts.gather(mine))], done

  def _write(self, folder: epath.Path | None, start: int, rows: np.ndarray,
             x: np.ndarray, data: table.Data) -> None:
    """Writes a part; a failure is a warning, and the evaluation goes on."""
    if folder is None or jax.process_index():
      return
    of_part = set(rows.tolist())
    bad = {row: why for row, why in (data.bad.reasons() if data.bad else {}).items()
           if row in of_part}
    file = io.BytesIO()
    np.savez(file, features=x, bad=json.dumps(bad))
    try:
      folder.mkdir(parents=True, exist_ok=True)
      files_lib.write_bytes(folder / f'{start:09d}-{start + len(rows):09d}.npz',
                            file.getvalue())
    except Exception as error:  # untyped for a bucket
      if not self._warned:
        self._warned = True
        _console.warning('cannot keep features in %s (%s); going on '
                         'without', folder, error)


def _same(encode: Encode, data: table.Data, kept: Features) -> bool:
  """Returns whether some images still have the features that were kept."""
  if len(kept.rows) != len(kept.x):  # others are bad now
    return False
  if not len(kept.x):
    return True
  probes = np.unique(np.linspace(0, len(kept.rows) - 1, _PROBES).astype(int))
  now = encode(data, kept.rows[probes]).x
  scale = np.abs(now).max(initial=0) + 1e-6
  return now.shape == kept.x[probes].shape and bool(np.allclose(
      now, kept.x[probes], rtol=0, atol=1e-2 * scale, equal_nan=True))
