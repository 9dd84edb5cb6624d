"""Features with the rows of their images, and a store of them on disk.

Features are computed once for each encoder and data set, and kept in parts. A pass
that was interrupted goes on behind its last part. A later evaluation of the same
encoder on the same images reads what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
from byol_jax.data.images import decode
from byol_jax.data.sources import table
from byol_jax.devices import hosts
from byol_jax.run import console as console_lib
from byol_jax.storage import files as files_lib

_console = logging.getLogger('byol_jax')

_SECONDS = 10.0  # time of a part, about: an interruption loses no more
_MOST_BYTES = 64 << 20  # of the features of a part
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

  def __init__(self, folder: str | None, at_a_time: int, *, of_some: bool = False):
    """Opens the store.

    Args:
      folder: a directory or bucket, made when it is needed; None keeps nothing.
      at_a_time: images that all devices of all processes take in one call.
      of_some: whether only the files of the wanted images are looked at, not those of
        the whole data set.
    """
    self._at_a_time, self._of_some = at_a_time, of_some
    self._folder = epath.Path(folder) if folder else None
    self._warned = False
    self._known: dict[int, tuple[table.Data, dict[str, Any]]] = {}

  def parts(self, encode: Encode, key: Mapping[str, Any], data: table.Data,
            rows: np.ndarray, title: str) -> Iterator[Features]:
    """Yields the features of images: reads kept parts, and computes missing ones.

    Args:
      encode: (data, rows) -> Features.
      key: identifies this encoder and its preparation of images: JSON.
      data: the data set.
      rows: int [n], the images.
      title: the progress line's title.

    Yields:
      Features of the images that could be read, in order; some 100 MB at most, unless
      an older version has kept larger ones.
    """
    folder = self._folder and self._folder / self._digest(key, data, rows)
    ends, width, sizes = self._kept(folder, data)
    if ends and not _same(folder, ends, width, sizes, encode, data, rows):
      _console.warning(
          'the features in %s are not what this encoder makes of these '
          'images now: computing them again', folder)
      ends = []
    elif ends:
      _console.info('%s: %d of %d features were computed before', title, ends[-1],
                    len(rows))
    done = 0
    for end in ends:
      x = _read(folder, done, end, width)
      yield Features(readable(data, rows[done:end]), hosts.gather(x))
      done = end
    if done == len(rows):
      return
    bar = console_lib.Progress(title, len(rows) - done)
    size = self._at_a_time
    with contextlib.closing(bar):
      while done < len(rows):
        began = time.monotonic()
        part = rows[done:done + size]
        found = encode(data, part)
        took = time.monotonic() - began
        self._write(folder, done, part, found.x, data)
        yield found
        done += len(part)
        bar.add(len(part))
        if (hosts.from_first(took < _SECONDS / 2)
            and 2 * found.x.nbytes <= _MOST_BYTES):
          size *= 2

  def _digest(self, key: Mapping[str, Any], data: table.Data,
              rows: np.ndarray) -> str:
    """Returns a digest of all that the features depend on, as process 0 sees it."""
    if id(data) not in self._known:  # takes a look at every file
      states = [] if jax.process_index() else fingerprint.file_states(
          data, rows.tolist() if self._of_some else range(data.size))
      self._known[id(data)] = data, {
          'data': fingerprint.fingerprint(data), 'name': data.name,
          'files': hashlib.sha256(json.dumps(states).encode()).hexdigest()}
    key = self._known[id(data)][1] | dict(key)
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(rows, np.int64).tobytes())
    return digest.hexdigest()[:16]

  def _kept(self, folder: epath.Path | None,
            data: table.Data) -> tuple[list[int], int, list[int]]:
    """Finds the sound parts of the first images, and notes their bad images.

    Returns:
      Where each part ends in the wanted rows; D; the number of each part's features.
    """
    ends, width, sizes, bad = [], 0, [], {}
    if folder is not None and jax.process_index() == 0:
      while True:
        try:
          found = sorted(folder.glob(f'{ends[-1] if ends else 0:09d}-*.npz'))
          end = int(found[-1].name.removesuffix('.npz').split('-')[1])
          x, its_bad = _load(found[-1])
        # there is no part, or one that a crash has left unfinished
        except (IndexError, OSError, ValueError, KeyError, zipfile.BadZipFile):
          break
        ends.append(end)
        sizes.append(len(x))
        width = x.shape[1]
        bad |= its_bad
      # a plug-in was installed since, or a larger image is read
      if any(_is_good(data, int(row)) for row in list(bad)[:_PROBES]):
        _console.warning('images that were left out can be read now: computing all '
                         'features again')
        ends, width, sizes, bad = [], 0, [], {}
    ends, width, sizes, bad = hosts.gather_json([ends, width, sizes, bad])[0]
    if ends and data.bad is not None:
      data.bad.learn(bad)
    return ends, width, sizes

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


def _same(folder: epath.Path, ends: list[int], width: int, sizes: list[int],
          encode: Encode, data: table.Data, rows: np.ndarray) -> bool:
  """Returns whether some images still have the features that were kept."""
  starts = [0, *ends[:-1]]
  parts = [readable(data, rows[start:end]) for start, end in zip(starts, ends)]
  if [len(part) for part in parts] != sizes:  # others are bad now
    return False
  kept_rows = np.concatenate(parts)
  if not len(kept_rows):
    return True
  probes = np.unique(np.linspace(0, len(kept_rows) - 1, _PROBES).astype(int))
  of_part = np.searchsorted(np.cumsum(sizes), probes, 'right')
  now, same = encode(data, kept_rows[probes]).x, False
  if jax.process_index() == 0:
    first = np.cumsum([0, *sizes])
    kept = np.concatenate([
        _read(folder, starts[k], ends[k], width)[probes[of_part == k] - first[k]]
        for k in np.unique(of_part)])
    scale = np.abs(now).max(initial=0) + 1e-6
    same = now.shape == kept.shape and bool(np.allclose(
        now, kept, rtol=0, atol=1e-2 * scale, equal_nan=True))
  return bool(hosts.from_first(same))


def _is_good(data: table.Data, row: int) -> bool:
  if isinstance(data, table.Images):
    return False
  try:
    decode.decode(data.read(row), how=data.how)
  except (decode.BadImage, OSError):
    return False
  return True


def _read(folder: epath.Path, start: int, end: int, width: int) -> np.ndarray:
  """Returns a part's features [n, width] as process 0 keeps them; elsewhere n is 0."""
  if jax.process_index():
    return np.zeros((0, width), np.float32)
  return _load(folder / f'{start:09d}-{end:09d}.npz')[0]


def _load(path: epath.Path) -> tuple[np.ndarray, dict[str, str]]:
  """Reads a part: features, and why images are bad, by their row."""
  with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
    return file['features'], json.loads(str(file['bad']))
