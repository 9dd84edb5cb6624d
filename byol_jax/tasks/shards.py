"""The shards of embed and index: each is the work of a process that knows no other.

Shard 3 of 16 lives in WORKDIR/shards/00003-of-00016, a workdir of its own: locked while
it is written, and done once it has results.json, which is written last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import contextlib
import functools
import hashlib
import json
import logging
import os
import re
from typing import Any

import numpy as np

from byol_jax import wording
from byol_jax.config import keys as keys_lib
from byol_jax.config.shard import Shard
from byol_jax.data import fingerprint
from byol_jax.data.records import writing
from byol_jax.data.sources import table
from byol_jax.devices import hosts
from byol_jax.errors import UserError
from byol_jax.evaluation import place as place_lib
from byol_jax.run import workdir as workdir_lib
from byol_jax.storage import files as files_lib
from byol_jax.storage import paths as paths_lib
from byol_jax.tasks import named as named_lib

_console = logging.getLogger('byol_jax')

MANIFEST = 'shards.json'
_FOLDER = re.compile(r'(\d{5,})-of-(\d{5,})')
_MOST_NAMED = 8  # shards, in a message


class Shards:
  """The shards of a task over one data set, in its workdir."""

  def __init__(self, named: named_lib.Named, data: table.Data, *, grows: bool):
    """Names them.

    Args:
      named: the task, its encoder and its workdir.
      data: all images.
      grows: whether a shard of other images than today's is brought up to date by its
        next run; else it is refused.
    """
    self._named, self._data = named, data
    self._root = os.path.join(named.workdir, 'shards')
    self._known: dict[Shard, str] = {}
    self._facts = {} if grows else {'data': self._fingerprint}

  @functools.cached_property
  def _fingerprint(self) -> str:
    return fingerprint.fingerprint(self._data)

  def folder(self, shard: Shard) -> str:
    """Returns the workdir of a shard."""
    return os.path.join(self._root, f'{shard.number:05d}-of-{shard.count:05d}')

  def rows(self, shard: Shard) -> np.ndarray:
    """Returns the images of a shard, int [n]; shards follow one another.

    They begin where a device's batch does, so that their features are those of one
    pass over all images, to the bit.
    """
    return hosts.part(np.arange(self._data.size), shard.number - 1, shard.count,
                      self._named.inference.batch_size)

  @contextlib.contextmanager
  def opened(self, shard: Shard) -> Iterator[place_lib.Place]:
    """Opens a shard's workdir, if it fits those that are there, for this process.

    Raises:
      UserError: they were made otherwise; or another process works on it.
    """
    done = self._done()
    self._check_count({other.count for other in done} | {shard.count})
    for other in done[:1]:
      self._check_settings(other)
    with self._named.opened(self.folder(shard), **self._facts) as place:
      yield place

  def is_done(self, shard: Shard, place: place_lib.Place) -> bool:
    """Returns whether an opened shard is there already, of the images as they are."""
    written = (place.results() or {}).get('shard')
    if not written:
      return False
    if written['images'] != self._images(shard):
      _console.warning('shard %s: its images have changed since it was written: '
                       'writing it again', shard)
      return False
    if not _is_sound(place.workdir, written['files']):
      _console.warning('shard %s: its files are not as they were written: writing it '
                       'again', shard)
      return False
    _console.info('shard %s is there already: %s', shard, place.workdir)
    return True

  def finish(self, shard: Shard, place: place_lib.Place,
             results: Mapping[str, Any]) -> None:
    """Writes results.json, which says that a shard is done, with the files' digests."""
    files = {}
    for folder, _, names in os.walk(place.folder):
      for name in sorted(names):
        file = os.path.relpath(os.path.join(folder, name), place.folder)
        if file not in ('config.json', 'lock.json', 'results.json'):
          path = os.path.join(folder, name)
          files[file] = {'bytes': os.path.getsize(path), 'sha256': writing.digest(path)}
    bad = self._data.bad.reasons() if self._data.bad else {}
    place.write_results(dict(results) | {'shard': {
        'number': shard.number, 'of': shard.count, 'images': self._images(shard),
        'files': files, 'bad': {str(row): why for row, why in bad.items()}}})

  def complete(self, shard: Shard) -> None:
    """Writes the manifest if all shards are there, whichever was the last.

    It says which files hold the shards, their bytes and SHA-256.
    """
    done = self._done()
    if len(done) < shard.count:
      _console.info('%d of %s there', len(done), wording.count(shard.count, 'shard'))
      return
    finished = [self._check_settings(other) for other in done]
    path = os.path.join(self._named.workdir, MANIFEST)
    with files_lib.writing(path):
      files_lib.write_json(path, {'shards': [
          {'folder': os.path.relpath(self.folder(other), self._named.workdir),
           'files': results['shard']['files'], 'left_out': results['shard']['bad']}
          for other, results in zip(done, finished)]})
    _console.info('%s, all there: %s', wording.count(shard.count, 'shard'), path)

  def checked(self) -> list[Shard]:
    """Checks that all shards are there, sound and of the images as they are.

    Notes their bad images.

    Returns:
      All shards, in order.

    Raises:
      UserError: names the shards to run (again).
    """
    done = self._done()
    if not done:
      raise UserError(f'{self._root} holds no finished shard: run them first, as in '
                      '--config.shard=1/16')
    self._check_count({shard.count for shard in done})
    self._refuse(sorted({Shard(k + 1, done[0].count) for k in range(done[0].count)}
                        - set(done)), 'missing')
    finished = {shard: self._check_settings(shard) for shard in done}
    self._refuse([shard for shard in done
                  if finished[shard]['shard']['images'] != self._images(shard)],
                 'of other images, or of files that have changed since')
    self._refuse([shard for shard in done if not _is_sound(
        self.folder(shard), finished[shard]['shard']['files'])],
        'damaged: its files are not as they were written')
    if self._data.bad is not None:
      for results in finished.values():
        self._data.bad.learn(results['shard']['bad'])
    return done

  def _refuse(self, shards: list[Shard], why: str) -> None:
    if shards:
      named = wording.some(map(str, shards), _MOST_NAMED)
      raise UserError(f'{self._root}: shard {named} '
                      f'{"is" if len(shards) == 1 else "are"} {why}; run '
                      f'{"it" if len(shards) == 1 else "each"} again, then merge')

  def _check_count(self, counts: set[int]) -> None:
    if len(counts) > 1:
      raise UserError(f'config key shard is {self._named.config.shard!r}, but '
                      f'{self._root} would hold shards of '
                      f'{" and of ".join(map(str, sorted(counts)))}: name another '
                      '--workdir, or remove the others')

  def _done(self) -> list[Shard]:
    """Returns the finished shards, in order."""
    found = map(_FOLDER.fullmatch, paths_lib.names(self._root))
    return [Shard(int(name[1]), int(name[2])) for name in found if name and
            'results.json' in paths_lib.names(os.path.join(self._root, name[0]))]

  def _check_settings(self, shard: Shard) -> dict[str, Any]:
    """Returns a shard's results.json, if it was made as this process would make it."""
    folder = self.folder(shard)
    config, results = (_read_json(os.path.join(folder, name))
                       for name in ('config.json', 'results.json'))
    workdir_lib.require_same(config, self._named.settings(**self._facts), folder,
                             self._named.free_keys, keys_lib.was())
    return results

  def _images(self, shard: Shard) -> str:
    """Returns a digest of a shard's images: the data set, sizes and times of files.

    It says what was there before the first of them was read.
    """
    if shard not in self._known:
      rows = self.rows(shard).tolist()
      facts = [self._fingerprint, rows[:1], rows[-1:],
               fingerprint.file_states(self._data, rows)]
      self._known[shard] = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return self._known[shard]


def _sizes(folder: str, files: Mapping[str, Any]) -> dict[str, int]:
  """Returns the sizes of files in bytes; -1 for one that is not there."""
  def size(file: str) -> int:
    try:
      return paths_lib.stat(os.path.join(folder, file))[0]
    except FileNotFoundError:
      return -1
  return {file: size(file) for file in files}


def _is_sound(folder: str, files: Mapping[str, Any]) -> bool:
  sizes = _sizes(folder, files)
  # a merge reads local folders only; of a bucket's files the sizes must do
  return all(sizes[file] == written['bytes'] and (
      paths_lib.in_bucket(folder)
      or writing.digest(os.path.join(folder, file)) == written['sha256'])
             for file, written in files.items())


def _read_json(path: str) -> dict[str, Any]:
  with paths_lib.reading(path):
    found = files_lib.parse_json(paths_lib.read_bytes(path))
  if not isinstance(found, dict):
    raise UserError(f'{path} is damaged: remove {os.path.dirname(path)!r}, and run '
                    'this shard again')
  return found
