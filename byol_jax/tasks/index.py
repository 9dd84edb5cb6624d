"""task=index: puts a catalogue into an index, and brings it up to date."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import functools
import logging
import os
from typing import Any

import jax
import ml_collections
import numpy as np

from byol_jax import __version__
from byol_jax import wording
from byol_jax.config import shard as shard_lib
from byol_jax.errors import UserError
from byol_jax.evaluation import checks
from byol_jax.evaluation import subject as subject_lib
from byol_jax.retrieval import index as index_lib
from byol_jax.retrieval import store as store_lib
from byol_jax.run import console as console_lib
from byol_jax.run import workdir as workdir_lib
from byol_jax.storage import files as files_lib
from byol_jax.storage import paths as paths_lib
from byol_jax.tasks import catalogue as catalogue_lib
from byol_jax.tasks import data as data_lib
from byol_jax.tasks import named as named_lib
from byol_jax.tasks import shards as shards_lib
from byol_jax.tasks import showing
from byol_jax.weights import load as weights_lib

_console = logging.getLogger('byol_jax')

_CHUNK = 2048    # images that are put into the table at a time, about
_ASKED = 100     # images by which an approximate search is compared with the exact one
# names, their vectors of length 1 (None for bad images), and thumbnails
_Part = tuple[list[str], list[Any], list[bytes | None]]


def run(config: ml_collections.ConfigDict, workdir: str | None, name: str) -> str:
  """Makes the index, or brings it up to date.

  For arguments and errors see `evaluate.run`.

  Returns:
    Its folder.
  """
  shard = shard_lib.asked(config.shard)
  named = named_lib.load(config, workdir, name)
  if jax.process_count() > 1:
    raise UserError('task=index runs in one process: leave out --distributed, or '
                    'make the index in shards (docs/clusters.md)')
  if paths_lib.in_bucket(named.workdir):
    raise UserError(f'--workdir={named.workdir}: an index is made in a local folder; '
                    'copy it to a bucket afterwards')
  source, split = named.data.data, config.index.split
  data = data_lib.open_part(source, split, key='index.split',
                            seed=named.data.seed)
  shards = shards_lib.Shards(named, data, grows=True)
  if shard:
    with shards.opened(shard) as place:
      if not shards.is_done(shard, place):
        catalogue = catalogue_lib.make(
            named, data, shards.rows(shard), has_columns=False)
        store = _table(named, place.folder, catalogue.kinds)
        counts = _update(catalogue, store, functools.partial(_encoded, named))
        store.compact()
        shards.finish(shard, place, {'index': counts})
    shards.complete(shard)
    return place.workdir
  encoded = functools.partial(_encoded, named)
  if config.shard == shard_lib.MERGE:
    encoded = functools.partial(_of_shards, list(map(shards.folder, shards.checked())))
  catalogue = catalogue_lib.make(named, data, np.arange(data.size))
  with workdir_lib.opened(named.workdir, is_first=True) as folder:
    about = _begun(named, folder)
    store = _table(named, folder, catalogue.kinds)
    counts = _update(catalogue, store, encoded)
    if not store.size:
      raise UserError(f'{data.name} has no image that can be read: mend the files, or '
                      'name another --config.data.path')
    about |= _finish(config, folder, store, is_changed=any(counts.values()))
    about |= {'complete': True, 'images': store.size, 'data': data.name}
    files_lib.write_json(os.path.join(folder, index_lib.ABOUT), about)
  data_lib.tell_bad(data)
  _console.info('%s', ', '.join(
      f'{number:,} {what}' for what, number in counts.items()))
  _console.info('index of %s: %s', wording.count(about['images'], 'image'),
                named.workdir)
  return named.workdir


def _table(named: named_lib.Named, folder: str,
           kinds: dict[str, str]) -> store_lib.Store:
  return store_lib.create(
      os.path.join(folder, index_lib.TABLE), named.inference.feature_size,
      named.config.index.dtype, kinds)


def _begun(named: named_lib.Named, folder: str) -> dict[str, Any]:
  """Writes index.json and the encoder, or checks that they are of this encoder."""
  c, weights = named.config, named.weights
  about = {
      'format': index_lib.FORMAT, 'digest': weights.digest, 'network': weights.network,
      'weights': os.path.abspath(weights.path), 'step': weights.step,
      'image_size': named.inference.spec.image_size,
      'center_share': named.inference.center_share,
      'feature_size': named.inference.feature_size, 'dtype': c.index.dtype,
      'thumbnail': c.index.thumbnail, 'similarity': 'cosine'}
  path = os.path.join(folder, index_lib.ABOUT)
  if os.path.exists(path):
    before = index_lib.read_about(folder)
    for key in ('digest', 'network', 'image_size', 'center_share', 'dtype',
                'thumbnail'):
      if before.get(key) != about[key]:
        raise UserError(
            f'--workdir={named.workdir} holds an index of another '
            f'{"encoder" if key == "digest" else key} ({before.get(key)}, not '
            f'{about[key]}): name another --workdir for a new one')
    if not before.get('complete'):
      before.pop('recall_at_10', None)  # rows came since, maybe, and it was killed
    about = before | about
  about |= {'complete': False, 'version': __version__}
  files_lib.write_json(path, about)
  encoder = os.path.join(folder, index_lib.ENCODER)
  if not os.path.exists(encoder):
    weights_lib.save(weights, encoder)
  return about


def _update(catalogue: catalogue_lib.Catalogue, store: store_lib.Store,
            encoded: Callable[[catalogue_lib.Catalogue, list[str]], Iterator[_Part]],
            ) -> dict[str, int]:
  """Puts in what is new or has changed, and removes what is gone; counts all."""
  known, wanted = store.stamps(), catalogue.stamps
  gone = [name for name in known if name not in wanted]
  same_image = [name for name in wanted
                if name in known and known[name][0] == wanted[name][0]]
  columns_only = [name for name in same_image if known[name] != wanted[name]]
  same = set(same_image)
  todo = [name for name in wanted if name not in same]
  if known:
    _console.info('images: %d there already, %d new or changed, %d gone', len(same),
                  len(todo), len(gone))
  store.delete(gone)
  for names in _chunks(columns_only, _CHUNK):
    before = store.rows(names)
    _put(catalogue, store, names, *(
        [before[name][column] for name in names]
        for column in (store_lib.VECTOR, store_lib.THUMBNAIL)))
  left_out = 0
  for names, x, thumbnails in encoded(catalogue, todo):
    readable = [k for k, vector in enumerate(x) if vector is not None]
    bad = [name for name, vector in zip(names, x) if vector is None]
    store.delete([name for name in bad if name in known])  # it was a picture before
    left_out += len(bad)
    if readable:
      _put(catalogue, store, [names[k] for k in readable], [x[k] for k in readable],
           [thumbnails[k] for k in readable])
  return {'encoded': len(todo) - left_out, 'with other columns': len(columns_only),
          'removed': len(gone), 'left out': left_out}


def _of_shards(folders: list[str], catalogue: catalogue_lib.Catalogue,
               names: list[str]) -> Iterator[_Part]:
  """Yields what shards hold of some images; what none of them holds was bad there."""
  wanted = {name: catalogue.stamps[name][0] for name in names}
  for folder in folders:
    store = store_lib.open_table(os.path.join(folder, index_lib.TABLE))
    for found, images, x, thumbnails in store.parts(_CHUNK):
      keep = [k for k, name in enumerate(found) if wanted.get(name) == images[k]]
      part = [found[k] for k in keep]
      for name in part:
        del wanted[name]
      yield part, list(x[keep]), [thumbnails[k] for k in keep]
  yield list(wanted), [None] * len(wanted), [None] * len(wanted)


def _encoded(named: named_lib.Named, catalogue: catalogue_lib.Catalogue,
             names: list[str]) -> Iterator[_Part]:
  """Encodes some images."""
  if not names:
    return
  data, inference = catalogue.data, named.inference
  rows = np.array([catalogue.rows[name] for name in names])
  networks = subject_lib.make(
      named.weights.kind, named.weights, inference, named.store(), data, rows).networks
  at_a_time = inference.batch_size * jax.local_device_count()
  progress = console_lib.Progress('index', len(names))
  for part in _chunks(names, at_a_time * max(_CHUNK // at_a_time, 1)):
    rows = np.array([catalogue.rows[name] for name in part])
    found = inference(networks, data, rows)
    checks.check_finite(found.x, 'catalogue')
    x = found.x / np.maximum(np.linalg.norm(found.x, axis=1, keepdims=True), 1e-12)
    vector = dict(zip(found.rows.tolist(), x))
    pictures = showing.Showing(data, named.config.index.split,
                               named.data.data.threads)
    yield (part, [vector.get(row) for row in rows.tolist()],
           pictures.thumbnails(rows, named.config.index.thumbnail))
    progress.add(len(part))
  progress.close()


def _put(catalogue: catalogue_lib.Catalogue, store: store_lib.Store, names: list[str],
         vectors: list[Any], thumbnails: list[bytes | None]) -> None:
  rows = [catalogue.rows[name] for name in names]
  image, about = zip(*(catalogue.stamps[name] for name in names))
  store.put({
      store_lib.NAME: names, store_lib.IMAGE: image, store_lib.ABOUT: about,
      store_lib.VECTOR: np.stack(vectors), store_lib.THUMBNAIL: thumbnails,
      **{title: [values[row] for row in rows]
         for title, values in catalogue.columns.items()}})


def _finish(config: ml_collections.ConfigDict, folder: str, store: store_lib.Store,
            is_changed: bool) -> dict[str, Any]:
  """Makes the approximate index where it is due; returns what is known of it."""
  if store.size < config.index.approximate_from and not store.is_approximate:
    store.compact()
    return {'search': 'exact'}
  recall = index_lib.read_about(folder).get('recall_at_10')
  if is_changed or not store.is_approximate or recall is None:
    _console.info('making the approximate index of %d images', store.size)
    store.approximate()
    recall = index_lib.Index.open(folder).exact_recall(_ASKED)
  _console.info('approximate search finds %.1f %% of the 10 nearest that an exact one '
                'finds, by %d images', 100 * recall, _ASKED)
  return {'search': 'approximate', 'recall_at_10': recall}


def _chunks(names: list[str], size: int) -> Iterator[list[str]]:
  for start in range(0, len(names), size):
    yield names[start:start + size]
