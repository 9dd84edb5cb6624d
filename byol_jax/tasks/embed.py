"""task=embed: writes the features of any images to files that other programs read."""

from __future__ import annotations

import logging
import os

import jax
import ml_collections
import numpy as np

from byol_jax.data import fingerprint
from byol_jax.data.sources import table
from byol_jax.devices import hosts
from byol_jax.errors import UserError
from byol_jax.evaluation import embed
from byol_jax.evaluation.features import Features
from byol_jax.evaluation.place import Place
from byol_jax.tasks import data as data_lib
from byol_jax.tasks import subject

_console = logging.getLogger('byol_jax')


def run(config: ml_collections.ConfigDict, workdir: str | None, name: str) -> str:
  """Writes the features and results.json; for arguments see `subject.load`.

  Returns:
    The folder that holds them.

  Raises:
    UserError: a mistake that the user can mend.
    TransientError: the machine or its storage failed.
  """
  named = subject.load(config, workdir, name)
  split = config.embed.split
  with hosts.together('data'):
    data = data_lib.open_split(named.data.data, split, config.seed)
    if data is None:
      raise UserError(f'config key embed.split is {split!r}: the data set has no '
                      'such part')
  with named.opened(data=fingerprint.fingerprint(data)) as place:
    rows = np.arange(table.size(data))
    encoder = named.subject(
        named.weights.kind, named.store(always=True), data, rows)
    features = encoder.features(
        data, rows, is_test=split == named.data.data.test_split,
        title=f'{data.name}, {split}')
    if not np.isfinite(features.x).all():
      raise UserError('features are not finite: the encoder has diverged; use an '
                      'earlier checkpoint')
    with hosts.together('embeddings'):
      if jax.process_index() == 0:
        _write(named, place, data, features)
  if data.bad:
    _console.warning('%s', data.bad.summary())
  _console.info('%d x %d features: %s', *features.x.shape, ', '.join(
      place.named(embed.FILES[kind]) for kind in _formats(config)))
  return place.workdir


def _formats(config: ml_collections.ConfigDict) -> list[str]:
  return [x.strip() for x in config.embed.formats.split(',')]


def _write(named: subject.Named, place: Place, data: table.Data,
           features: Features) -> None:
  """Writes the files with the features, and results.json."""
  rows, x = features
  split = named.config.embed.split
  written = embed.write(
      place.folder, _formats(named.config), x, table.names_of(data, rows, split),
      None if data.labels is None else np.asarray(data.labels[rows]),
      data.class_names)
  place.write_results({
      'embeddings': {'images': len(rows), 'feature_size': x.shape[1],
                     'files': [os.path.basename(path) for path in written]},
      'protocol': named.protocol() | {
          'data': data.name, 'split': split,
          'left_out': data.bad.report() if data.bad else {}}})
