"""task=prepare: turns a folder, a list or a TFDS data set into ArrayRecord shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent import futures
import contextlib
import hashlib
import json
import logging
import os
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from byol_jax import wording
from byol_jax.config import shard as shard_lib
from byol_jax.data import bad as bad_lib
from byol_jax.data import fingerprint as fingerprint_lib
from byol_jax.data import workers
from byol_jax.data.images import decode
from byol_jax.data.images import shrink
from byol_jax.data.images.decode import BadImage
from byol_jax.data.records import descriptions
from byol_jax.data.records import locks
from byol_jax.data.records import writing
from byol_jax.data.sources import names as source_names
from byol_jax.data.sources import table
from byol_jax.devices import hosts
from byol_jax.errors import UserError
from byol_jax.run import console as console_lib
from byol_jax.storage import paths as paths_lib
from byol_jax.tasks import data as data_lib

_console = logging.getLogger('byol_jax')

_PARTS = ('train', 'test')


class _Plan(NamedTuple):
  """The plan of one part: how images change, and which shards hold them."""
  folder: str
  short_side: int
  quality: int
  how: dict[str, Any]  # the preparation, for metadata.json
  names: list[str]  # the names of all images, each once
  class_names: list[str] | None
  files: list[str]  # the names of the shards
  rows: list[range]  # the images of each shard
  fingerprints: list[str]  # a shard's changes with its images and their preparation
  settings: str  # changes with the preparation, and with how many shards there are

  @property
  def fingerprint(self) -> str:
    return _sha256(self.fingerprints)

  def path(self, shard: int) -> str:
    return os.path.join(self.folder, self.files[shard])


def run(config: ml_collections.ConfigDict, workdir: str | None = None) -> None:
  """Prepares the training part and, if there is one, the test part.

  A run that was killed goes on with the shards that it lacks. Run again when all
  is there, it reads every shard and compares its SHA-256.

  Args:
    config: `data` names the images, `prepare` says how they change, and where they
      are written, `shard` which of the files are this process's. Whichever process
      ends last writes metadata.json.
    workdir: as every task takes it; not needed here.

  Raises:
    UserError: a mistake that the user can mend.
  """
  shard = shard_lib.asked(config.shard)
  config = data_lib.with_source(config)
  data, options, output = config.data, config.prepare, config.prepare.output
  _check_output(output, data.path)
  if jax.process_count() > 1:
    raise UserError('task=prepare is the work of one process, here are '
                    f'{jax.process_count()}: leave out --distributed, and share '
                    'the work with --config.shard (docs/clusters.md)')
  if not source_names.CATALOGUE[data.source].encoded:
    raise UserError(f'config key data.source is {data.source!r}, which needs no '
                    'preparation: it is read into memory')
  parts, class_names = [], None
  for part, split in zip(_PARTS, (data.train_split, data.test_split)):
    if not split:
      continue
    source = data_lib.open_part(data, split, class_names=class_names, image_size=0)
    if source is not None:
      class_names = source.class_names
      parts.append((source, os.path.join(output, part)))
  with locks.alone(output, str(shard or '').replace('/', '-of-')):
    for source, folder in parts:
      plan = _plan(source, folder, options.short_side, options.quality,
                   options.images_per_shard)
      mine = range(len(plan.files))
      if shard:
        mine = hosts.part(np.arange(len(plan.files)), shard.number - 1, shard.count, 1)
        _console.info('%s, shard %s: files %s', plan.folder, shard,
                      f'{mine[0]} to {mine[-1]}' if len(mine) else 'none')
      _prepare(source, plan, list(mine), data.threads or workers.cores())


def _check_output(output: str, path: str) -> None:
  """Raises UserError unless prepare.output is a local folder apart from data.path."""
  if not output:
    raise UserError('config key prepare.output is empty: set it to the folder to '
                    'write, --config.prepare.output=DIR')
  if paths_lib.in_bucket(output):
    raise UserError(f'config key prepare.output is {output!r}: write to a '
                    'local folder and copy it to the bucket')
  if path:
    _check_apart(output, path)


def _check_apart(output: str, path: str) -> None:
  """Raises UserError if shards would lie among the images, links followed.

  A folder that prepare makes there would be taken for a class, too.
  """
  images = os.path.realpath(path)
  for folder in (output, *(os.path.join(output, part) for part in _PARTS)):
    real = os.path.realpath(folder)
    if os.path.commonpath((images, real)) == images:
      what = 'which' if folder == output else f'so its part {folder!r}'
      where = 'is' if real == images else 'lies in'
      raise UserError(f'config key prepare.output is {output!r}, {what} {where} '
                      f'data.path: name a folder outside {path!r}')


def _plan(source: table.Encoded, folder: str, short_side: int, quality: int,
          images_per_shard: int) -> _Plan:
  """Cuts a part into shards.

  Args:
    source: the images.
    folder: the folder to write.
    short_side: the new length of the images' shorter sides; 0 leaves them.
    quality: the quality of JPEGs that are made smaller.
    images_per_shard: the number of images, bad ones included, in all shards but the
      last.
  """
  names = bad_lib.unique_names(source.names)
  how = {'source': os.path.realpath(source.name) if source.root else source.name,
         'short_side': short_side,
         'quality': quality if short_side else None,
         'decoded_at': 2 * short_side or None}  # or more, before that
  if source.how != decode.DEFAULT:  # a key that version 0.1 did not write
    how['reading'] = source.how._asdict()
  class_names = list(source.class_names) if source.class_names else None
  shards = [range(first, min(first + images_per_shard, source.size))
            for first in range(0, source.size, images_per_shard)]
  files = [f'images-{k:05d}-of-{len(shards):05d}.array_record'
           for k in range(len(shards))]

  def fingerprint(rows: range) -> str:
    labels = None
    if isinstance(source.labels, np.ndarray):  # else they come with the images
      labels = source.labels[rows.start:rows.stop].tolist()
    return _sha256([how, class_names, names[rows.start:rows.stop], labels,
                    fingerprint_lib.file_states(source, rows), source.identity])

  return _Plan(folder, short_side, quality, how, names, class_names, files, shards,
               list(map(fingerprint, shards)), _sha256([how, len(files)]))


def _prepare(source: table.Encoded, plan: _Plan, mine: list[int],
             threads: int) -> None:
  """Writes one part, or those of its shards that are missing and `mine`.

  If none is missing at all, it checks what is there.
  """
  with writing.saying_why(plan.folder):
    os.makedirs(plan.folder, exist_ok=True)
  done = descriptions.read_metadata(plan.folder)
  if done is not None:
    if done['fingerprint'] != plan.fingerprint:
      raise UserError(f'{plan.folder!r} holds other data, was prepared otherwise, or '
                      'the images have changed since: remove it, or choose '
                      'another config key prepare.output')
    _verify(plan.folder, [done['shards'][k] for k in mine])
    return
  others = sorted(set(range(len(plan.files))) - set(mine))
  if others:
    _check_others(plan)
  todo = _missing(source, plan, mine)
  if len(todo) < len(mine):
    _console.info('%s: %d of %s there, going on', plan.folder, len(mine) - len(todo),
                  wording.count(len(mine), 'shard'))
  _write(source, plan, todo, threads)
  if missing := len(_missing(source, plan, others)):
    _console.info('%s: %d of %s there', plan.folder, len(plan.files) - missing,
                  wording.count(len(plan.files), 'shard'))
    return
  with locks.ending(plan.folder):
    whole = writing.finish(plan.folder, plan.files, fingerprint=plan.fingerprint,
                           **plan.how, class_names=plan.class_names)
  data_lib.tell_bad(source)
  _console.info(
      '%s: %s in %s, %.1f MiB', plan.folder, wording.count(whole['images'], 'image'),
      wording.count(len(plan.files), 'shard'),
      sum(shard['bytes'] for shard in whole['shards']) / 2**20)


def _check_others(plan: _Plan) -> None:
  """Raises UserError if shards of other processes were prepared otherwise."""
  for name in os.listdir(plan.folder):
    if descriptions.OURS.fullmatch(name) and name.endswith('.array_record'):
      sidecar = descriptions.read_sidecar(os.path.join(plan.folder, name))
      if sidecar and sidecar.get('settings') != plan.settings:
        raise UserError(f'{plan.folder!r} holds shards that were prepared otherwise, '
                        f'as {name}: remove it, or choose another config key '
                        'prepare.output')


def _missing(source: table.Encoded, plan: _Plan, wanted: list[int]) -> list[int]:
  """Returns the shards to write; notes the bad images of the shards that are there."""
  todo = []
  for k in wanted:
    path, rows = plan.path(k), plan.rows[k]
    sidecar = descriptions.read_sidecar(path)
    if (sidecar is None or sidecar['fingerprint'] != plan.fingerprints[k]
        or not os.path.exists(path) or os.path.getsize(path) != sidecar['bytes']):
      todo.append(k)
      continue
    for i in rows:
      if plan.names[i] in sidecar['left_out']:
        source.bad.add(i, sidecar['left_out'][plan.names[i]])
  return todo


def _write(source: table.Encoded, plan: _Plan, todo: Sequence[int],
           threads: int) -> None:
  """Writes some shards, one after the other, each with all threads."""
  def make(i: int) -> bytes | BadImage:
    try:
      return shrink.smaller(source.read(i), plan.short_side, plan.quality,
                            source.how)
    except BadImage as error:
      return error

  def records(rows: range, left_out: dict[str, str],
              ) -> Iterator[tuple[str, int | None, bytes]]:
    for i in rows:
      image = next(images)
      if isinstance(image, BadImage):
        left_out[plan.names[i]] = str(image)
        source.bad.add(i, str(image))
      else:
        label = None if source.labels is None else int(source.labels[i])
        yield plan.names[i], label, image
      bar.add(1)

  rows = [i for k in todo for i in plan.rows[k]]
  bar = console_lib.Progress(plan.folder, len(rows))
  images = workers.each(make, rows, threads)
  with (futures.ThreadPoolExecutor(1) as finisher, contextlib.closing(bar),
        contextlib.closing(images)):
    finishing = None
    for k in todo:
      left_out = {}
      finish_shard = writing.write_shard(
          plan.path(k), records(plan.rows[k], left_out), left_out,
          plan.fingerprints[k], plan.settings)
      if finishing is not None:
        finishing.result()
      finishing = finisher.submit(finish_shard)
    if finishing is not None:
      finishing.result()


def _verify(folder: str, shards: list[dict[str, Any]]) -> None:
  """Reads shards of a finished part again, and compares their SHA-256."""
  for shard in shards:
    descriptions.check_shard(folder, shard)
    file = os.path.join(folder, shard['file'])
    if writing.digest(file) != shard['sha256']:
      raise UserError(f'shard {file!r} is damaged: its SHA-256 is not the one in '
                      f'metadata.json; remove {folder!r} and prepare it again')
  _console.info('%s: complete, %s with the right SHA-256', folder,
                wording.count(len(shards), 'shard'))


def _sha256(values: Any) -> str:
  """Returns the SHA-256 of a value as JSON."""
  return hashlib.sha256(json.dumps(values).encode()).hexdigest()
