"""task=embed: writes the features of any images to files that other programs read."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import logging
import os
from typing import Any

from etils import epath
import jax
import ml_collections
import numpy as np

from byol_jax.config import shard as shard_lib
from byol_jax.data import fingerprint
from byol_jax.data.sources import table
from byol_jax.devices import hosts
from byol_jax.errors import UserError
from byol_jax.evaluation import embed
from byol_jax.evaluation import features as features_lib
from byol_jax.evaluation.features import Features
from byol_jax.evaluation.place import Place
from byol_jax.storage import paths as paths_lib
from byol_jax.tasks import data as data_lib
from byol_jax.tasks import named as named_lib
from byol_jax.tasks import shards as shards_lib

_console = logging.getLogger('byol_jax')


def run(config: ml_collections.ConfigDict, workdir: str | None, name: str) -> str:
  """Writes the features and results.json.

  For arguments and errors see `evaluate.run`.

  Returns:
    The folder that holds them.
  """
  shard = shard_lib.asked(config.shard)
  named = named_lib.load(config, workdir, name)
  with hosts.together('data'):
    data = _data(named)
  shards = shards_lib.Shards(named, data, grows=False)
  with (shards.opened(shard) if shard else
        named.opened(data=fingerprint.fingerprint(data))) as place:
    if config.shard == shard_lib.MERGE:
      place.write_results(_written(named, place, data, _merged(named, data, shards)))
    elif not shard:
      rows = np.arange(data.size)
      place.write_results(_written(named, place, data, _encoded(named, data, rows)))
    elif not shards.is_done(shard, place):
      parts = os.path.join(place.workdir, 'parts')
      results = _written(named, place, data, _encoded(
          named, data, shards.rows(shard), shard, parts))
      epath.Path(parts).rmtree(missing_ok=True)
      shards.finish(shard, place, results)
  if shard:
    shards.complete(shard)
  data_lib.tell_bad(data)
  return place.workdir


def _data(named: named_lib.Named) -> table.Data:
  """Opens the images; those of shards are not decoded before they are encoded."""
  config = named.config
  opened = data_lib.open_part if config.shard else data_lib.load_part
  return opened(named.data.data, config.embed.split, key='embed.split',
                seed=named.data.seed)


def _encoded(named: named_lib.Named, data: table.Data, rows: np.ndarray,
             shard: shard_lib.Shard | None = None, own: str = '') -> Iterator[Features]:
  """Yields features part by part, kept in the store of all tasks or in one's `own`."""
  split = named.config.embed.split
  subject = named.subject(
      named.weights.kind, named.store(always=True, own=own), data, rows)
  return subject.parts(
      data, rows, is_test=split == named.data.data.test_split,
      title=f'{data.name}, {split}' + (f', shard {shard}' if shard else ''))


def _merged(named: named_lib.Named, data: table.Data,
            shards: shards_lib.Shards) -> Iterator[Features]:
  """Yields the features of all shards, read from their files."""
  if paths_lib.in_bucket(named.workdir):
    raise UserError(f'--workdir={named.workdir}: shards are merged in a local folder; '
                    'copy them there, or read them as they are')
  kind = _formats(named.config)[0]
  for shard in shards.checked():
    file = os.path.join(shards.folder(shard), embed.FILES[kind])
    rows, done = features_lib.readable(data, shards.rows(shard)), 0
    for x in embed.read(file):
      yield Features(rows[done:done + len(x)], x)
      done += len(x)


def _formats(config: ml_collections.ConfigDict) -> list[str]:
  return [x.strip() for x in config.embed.formats.split(',')]


def _written(named: named_lib.Named, place: Place, data: table.Data,
             parts: Iterator[Features]) -> dict[str, Any]:
  """Writes the files with the features as they come; returns what results.json says."""
  config = named.config
  split, is_first = config.embed.split, jax.process_index() == 0
  size, images = named.inference.feature_size, 0
  with contextlib.ExitStack() as stack:
    with hosts.together('embeddings'):
      writer = stack.enter_context(embed.Writer(
          place.folder, _formats(config), size, half=config.embed.float16,
          has_labels=data.labels is not None,
          class_names=data.class_names)) if is_first else None
    for rows, x in parts:
      with hosts.together('embeddings'):
        if not np.isfinite(x).all():
          raise UserError('features are not finite: the encoder has diverged; use an '
                          'earlier checkpoint')
        if writer:
          writer.add(x, table.names_of(data, rows, split),
                     None if data.labels is None else np.asarray(data.labels[rows]))
      images += len(rows)
    with hosts.together('embeddings'):
      stack.close()
  files = [embed.FILES[kind] for kind in _formats(config)]
  _console.info('%d x %d features: %s', images, size,
                ', '.join(map(place.named, files)))
  return {
      'embeddings': {'images': images, 'feature_size': size, 'files': files},
      'protocol': named.protocol() | {
          'data': data.name, 'split': split,
          'left_out': data.bad.report() if data.bad else {}}}
