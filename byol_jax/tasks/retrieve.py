"""task=retrieve: measures how well an encoder finds what looks alike."""

from __future__ import annotations

from collections.abc import Sequence
import hashlib
import logging
import os
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from byol_jax import wording
from byol_jax.data import fingerprint
from byol_jax.data.records import writing
from byol_jax.data.sources import columns as columns_lib
from byol_jax.data.sources import table
from byol_jax.devices import hosts
from byol_jax.errors import UserError
from byol_jax.evaluation import checks
from byol_jax.evaluation import features as features_lib
from byol_jax.evaluation import figures as figures_lib
from byol_jax.evaluation.subject import Subject
from byol_jax.retrieval import judgements
from byol_jax.retrieval import metrics
from byol_jax.retrieval import neighbours
from byol_jax.tasks import data as data_lib
from byol_jax.tasks import named as named_lib

_console = logging.getLogger('byol_jax')

_SHOWN = ('map_at_r', 'map', 'mrr', 'ndcg_at_10')  # beside Recall@K


class Part(NamedTuple):
  """A part of the images: its data, its name, and the list that it comes from."""
  data: table.Data
  split: str
  path: str


def run(config: ml_collections.ConfigDict, workdir: str | None, name: str) -> None:
  """Measures an encoder and its baselines, and writes results.json.

  For arguments and errors see `evaluate.run`.
  """
  named = named_lib.load(config, workdir, name)
  with hosts.together('data'):
    gallery, queries = _open(named)
  parts = {'gallery': gallery} | ({'queries': queries} if queries else {})
  found = named_lib.facts(**{name: part.data for name, part in parts.items()})
  # a query is not its own result; of files the names alone would be compared here
  if found.get('queries') == found['gallery'] and gallery.data.root is None:
    queries = None
  with hosts.together('pairs'):
    if config.retrieve.pairs:
      found['pairs'] = _digest(config.retrieve.pairs)
    if config.retrieve.product:
      values = [str(value).encode() for part in parts.values()
                for value in _values(named, part, np.arange(part.data.size))]
      found['product'] = hashlib.sha256(b'\0'.join(values)).hexdigest()[:16]
  with named.opened(**found) as place:
    results = place.results()
    if results is None:
      results = _measure(named, gallery, queries)
      place.write_results(results)
    else:
      _console.info('measured before: %s', place.named('results.json'))
    data_lib.tell_bad(*(part.data for part in parts.values()))
    _console.info('\n%s', table_of(results))
    _console.info('results: %s', place.named('results.json'))


def _open(named: named_lib.Named) -> tuple[Part, Part | None]:
  """Opens the gallery and, unless each image is a query, the queries."""
  c, data = named.config.retrieve, named.data.data

  def opened(key: str, splits: Sequence[str], data: ml_collections.ConfigDict) -> Part:
    for split in splits:
      part = data_lib.load_part(data, split, seed=named.data.seed)
      if part is not None:
        return Part(part, split, data.path if split == 'train' else data.test_path)
    raise UserError(f'config key retrieve.{key} is {splits[0]!r}: the data set has no '
                    'such part; a folder without parts is train')

  # by default the test part; a folder without parts is searched as it is
  test, train = data.test_split or 'test', data.train_split
  splits = [c.gallery] if c.gallery != 'test' else [test, train]
  gallery = opened('gallery', splits, data)
  if not (c.queries or c.queries_path):
    return gallery, None
  if c.queries_path:
    data = data.copy_and_resolve_references()
    data.path = data.test_path = c.queries_path
  return gallery, opened('queries', [c.queries or 'train'], data)


def _measure(named: named_lib.Named, gallery: Part,
             queries: Part | None) -> dict[str, Any]:
  """Returns the content of results.json."""
  config, method = named.config, named.weights.kind
  kinds = tuple(figures_lib.kinds(method))[:None if config.evaluation.baselines else 1]
  store, results = named.store(), {'method': method}
  recall_at = [int(k) for k in config.retrieve.recall_at]
  protocol = {}
  for kind in kinds:
    rows = np.arange(gallery.data.size)
    subject = named.subject(kind, store, gallery.data, rows)
    g, q = (_features(named, subject, part) for part in (gallery, queries or gallery))
    relevance, own = _relevance(named, gallery, g.rows, queries, q.rows)
    measured = neighbours.measure(g.x, q.x, relevance, recall_at, own)
    if not len(measured.queries):
      raise UserError('no query has a relevant image in the gallery: '
                      'check the labels, config key retrieve.product or retrieve.pairs')
    figures = metrics.summary(
        measured.values, metrics.names(recall_at), config.seed)
    results[kind] = {f'retrieve_{name}': x for name, x in figures.items()} | {
        'near_duplicates': int(np.sum(
            measured.cosines[:, :1] >= config.retrieve.duplicate))}
    protocol = {
        'gallery_images': len(g.rows), 'queries': len(measured.queries),
        'queries_without_relevant': len(q.rows) - len(measured.queries),
        'equal_bytes': _equal(gallery.data, g.rows, queries and queries.data, q.rows)
                       if not protocol else protocol['equal_bytes']}
  left_out = data_lib.left_out(gallery=gallery.data, queries=queries and queries.data)
  return results | {'task': 'retrieve', 'protocol': named.protocol() | protocol | {
      'data': gallery.data.name,
      'asked': queries.data.name if queries else 'each image against all others',
      'relevant': config.retrieve.pairs or config.retrieve.product or 'label',
      'similarity': 'cosine, exact; of equal ones the first image of the gallery',
      'interval': '95 %, bootstrap over queries, 1,000 resamples',
      'near_duplicates_from': config.retrieve.duplicate, 'left_out': left_out}}


def _features(named: named_lib.Named, subject: Subject,
              part: Part) -> features_lib.Features:
  """Returns the features of a part, those of other evaluations where there are any."""
  found = subject.features(part.data, np.arange(part.data.size),
                           is_test=part.split == named.data.data.test_split)
  if not len(found.rows):
    raise UserError(f'{part.data.name} has no image that can be read: mend the files, '
                    'or name another --config.data.path')
  checks.check_finite(found.x, part.split)
  return found


def _relevance(named: named_lib.Named, gallery: Part, g_rows: np.ndarray,
               queries: Part | None, q_rows: np.ndarray,
               ) -> tuple[neighbours.Relevance, np.ndarray]:
  """Returns what is relevant to each query, and the gallery's row that is the query."""
  c, asked = named.config.retrieve, queries or gallery
  names = [table.names_of(part.data, rows, part.split)
           for part, rows in ((asked, q_rows), (gallery, g_rows))]
  if queries is None:
    own = np.arange(len(g_rows))
  else:
    roots = [part.data.root for part in (asked, gallery)]
    row_of = {} if None in roots else {
        _place(roots[1], name): row for row, name in enumerate(names[1])}
    own = np.array([row_of.get(_place(roots[0], name), -1) if row_of else -1
                    for name in names[0]], np.int64)
  if c.pairs:
    judged = judgements.read(c.pairs, *names)
    return neighbours.by_pairs(judged.queries, judged.items, judged.weights,
                               len(q_rows)), own
  values = [_values(named, part, rows) for part, rows in (
      (asked, q_rows), (gallery, g_rows))]
  if values[0].dtype.kind != values[1].dtype.kind:
    raise UserError('the classes of the queries and of the gallery are not alike: one '
                    'has names, the other numbers')
  return neighbours.by_label(*values), own


def _place(root: str | None, name: str) -> str:
  return os.path.realpath(os.path.join(root, name)) if root else name


def _values(named: named_lib.Named, part: Part, rows: np.ndarray) -> np.ndarray:
  """Returns what relevant images have in common: [n], texts or numbers."""
  data, product = part.data, named.config.retrieve.product
  if product:
    columns = columns_lib.read_columns(
        part.path, path_column=named.data.data.path_column or None)
    if product not in columns:
      raise UserError(f'config key retrieve.product is {product!r}, but {part.path!r} '
                      f'has the columns {", ".join(columns) or "none"}')
    return np.array(columns[product])[rows]
  if data.labels is None:
    raise UserError(f'{data.name} has no labels: say what is relevant by '
                    '--config.retrieve.pairs, or a column of a list by '
                    '--config.retrieve.product')
  labels = np.asarray(data.labels[rows])
  if not data.class_names:
    return labels
  return np.where(labels < 0, '', np.array(data.class_names)[labels])


def _digest(path: str) -> str:
  try:
    return writing.digest(path)[:16]
  except OSError as error:
    raise UserError(f'config key retrieve.pairs is {path!r}: {error.strerror}'
                    ) from error


def _equal(gallery: table.Data, g_rows: np.ndarray, queries: table.Data | None,
           q_rows: np.ndarray) -> int:
  """Returns how many queries have the same bytes as another image of the gallery."""
  seen: dict[bytes, set[Any]] = {}
  for row, digest in fingerprint.contents(gallery, g_rows):
    seen.setdefault(digest, set()).add(_identity(gallery, row))
  asked = queries or gallery
  return sum(bool(seen.get(digest, set()) - {_identity(asked, row)})
             for row, digest in fingerprint.contents(asked, q_rows))


def _identity(data: table.Data, row: int) -> Any:
  """Returns what tells an image from others: its place, or its data and row."""
  return _place(data.root, data.names[row]) if data.root else (id(data), row)


def table_of(results: dict[str, Any]) -> str:
  """Returns the figures as a table, a row for each encoder, and what was measured."""
  protocol, kinds = results['protocol'], figures_lib.kinds(
      figures_lib.method_of(results))
  figures = next(results[kind] for kind in kinds if kind in results)
  recalls = [name.removeprefix('retrieve_recall_any_at_') for name in figures
             if name.startswith('retrieve_recall_any_at_')
             and not name.endswith('_interval')]
  columns = {f'recall_any_at_{k}': f'R@{k}' for k in recalls} | dict(
      zip(_SHOWN, ('MAP@R', 'mAP', 'MRR', 'NDCG@10')))
  lines = [f'{"":<20}' + ''.join(f'{title:>9}' for title in columns.values())
           + f'  95 % of R@{recalls[0]}']
  shares = [f'{"share of relevant":<20}' + ''.join(f'{f"@{k}":>9}' for k in recalls)]
  for kind, title in kinds.items():
    if kind in results:
      row = results[kind]
      low, high = row[f'retrieve_recall_any_at_{recalls[0]}_interval']
      lines.append(f'{title:<20}' + ''.join(
          f'{row[f"retrieve_{name}"]:>9.2f}' for name in columns)
          + f'  {low:.2f} to {high:.2f}')
      shares.append(f'{title:<20}' + ''.join(
          f'{row[f"retrieve_recall_share_at_{k}"]:>9.2f}' for k in recalls))
  without = protocol['queries_without_relevant']
  first = next(kind for kind in kinds if kind in results)
  return '\n'.join([
      *lines, '', *shares, '',
      f'percent; {wording.count(protocol["queries"], "query", ",")}, a gallery of '
      f'{wording.count(protocol["gallery_images"], "image", ",")}' + (
          f'; not counted, as nothing is relevant there: {without:,}'
          if without else ''),
      f'duplicates: {wording.count(protocol["equal_bytes"], "query", ",")} with the '
      f'bytes of another image; {results[first]["near_duplicates"]:,} with one at '
      f'cosine {protocol["near_duplicates_from"]:g} or above'])
