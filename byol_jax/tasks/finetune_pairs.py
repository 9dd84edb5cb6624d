"""task=finetune_pairs: an encoder learns from what people click, buy or put together.

What comes out is an encoder as any other, encoder.safetensors, with a linear head
inside.
"""

from __future__ import annotations

from collections.abc import Callable
import hashlib
import logging
import os
from typing import Any

import jax
import ml_collections
import numpy as np

from byol_jax.config import schedule
from byol_jax.data.sources import table
from byol_jax.devices import hosts
from byol_jax.errors import UserError
from byol_jax.evaluation import checks
from byol_jax.evaluation import figures as figures_lib
from byol_jax.evaluation import stages as stages_lib
from byol_jax.evaluation import subject as subject_lib
from byol_jax.evaluation.features import Features
from byol_jax.evaluation.features import Store
from byol_jax.evaluation.place import Place
from byol_jax.retrieval import batches
from byol_jax.retrieval import compound
from byol_jax.retrieval import groups as groups_lib
from byol_jax.retrieval import head as head_lib
from byol_jax.retrieval import learn
from byol_jax.retrieval import metrics
from byol_jax.retrieval import neighbours
from byol_jax.retrieval.pairs import Pairs
from byol_jax.tasks import data as data_lib
from byol_jax.tasks import evaluate
from byol_jax.tasks import named as named_lib
from byol_jax.tasks import pairs as pairs_lib
from byol_jax.training import build
from byol_jax.weights import find
from byol_jax.weights import load as weights_lib
from byol_jax.weights import whole

_console = logging.getLogger('byol_jax')

_TOLD = {'R@1': 'recall_any_at_1', 'R@10': 'recall_any_at_10',
         'R@100': 'recall_any_at_100', 'MAP@R': 'map_at_r', 'MRR': 'mrr',
         'rank': 'mean_rank'}
_STATES = {'without': 'without pairs', 'standardized': 'standardized',
           'with': 'with pairs'}

Encode = Callable[[table.Data, np.ndarray, bool], Features]  # data, rows, is_test
Embed = Callable[[np.ndarray], np.ndarray]  # features [n, D] -> [n, d]


def run(config: ml_collections.ConfigDict, workdir: str | None, name: str) -> None:
  """Learns from pairs, and writes encoder.safetensors and results.json.

  For arguments and errors see `evaluate.run`.
  """
  named = named_lib.load(config, workdir, name)
  _check(named)
  with hosts.together('data'):
    train, test = data_lib.open_data(named.data)
    items = pairs_lib.items(config, train, named.data.data.train_split)
    pairs, counts = pairs_lib.read(config, train, items)
    found = named_lib.facts(data=train, test=test)
  digest = hashlib.sha256(b''.join(
      np.ascontiguousarray(x).tobytes()
      for x in (*pairs, *items.owners) if x is not None))
  with named.opened(pairs=digest.hexdigest()[:16], **found) as place:
    results = place.results()
    if results is None:
      stages = stages_lib.Stages(place.workdir, place.folder)
      results = _learn(named, place, train, test, items, pairs, counts, stages)
      place.write_results(results)
      stages.remove()
    data_lib.tell_bad(train, test)
    _console.info('\n%s', _table(results))
    _console.info('encoder: %s', place.named(f'encoder{find.SUFFIX}'))


def _check(named: named_lib.Named) -> None:
  """Raises UserError for keys that do not fit together."""
  c = named.config.pairs
  if c.train != 'head' and named.config.evaluation.baselines:
    raise UserError('config key evaluation.baselines is True, but baselines have heads '
                    "only: leave it out with pairs.train other than 'head'")
  if c.byol_weight and (c.train != 'encoder' or c.statistics == 'frozen'):
    raise UserError("config key pairs.byol_weight needs pairs.train='encoder', which "
                    "learns, and pairs.statistics other than 'frozen'")
  if c.byol_weight and named.weights.config.method.name != 'byol':
    raise UserError('config key pairs.byol_weight needs weights of a run of BYOL, not '
                    f'of {named.weights.config.method.name}')


# ---------------------------------------------------------------------- learning
def _learn(named: named_lib.Named, place: Place, train: table.Data,
           test: table.Data | None, items: batches.Items, pairs: Pairs,
           counts: dict[str, int], stages: stages_lib.Stages) -> dict[str, Any]:
  """Learns with each kind of encoder, and returns the content of results.json."""
  config, method = named.config, named.weights.kind
  from_scratch = config.pairs.train == 'scratch'
  kinds = [figures_lib.UNTRAINED if from_scratch else method]
  if config.evaluation.baselines:
    kinds = list(figures_lib.kinds(method))
  store, results, hows = named.store(), {'method': method}, {}
  first = _encoded(named, kinds[0], train, store)
  log, parts = _divided(config, train, test, first[1], items, pairs, counts)
  for kind in kinds:
    subject, found = first if kind == kinds[0] else _encoded(named, kind, train, store)
    prefix = f'{kind.replace("_", " ")}, ' if len(kinds) > 1 else ''
    task = learn.Task(log.train, parts.kept, parts.held_out, log.items, log.groups,
                      stages, prefix)
    measured, learned, networks = _of_kind(
        named, subject, _scattered(found, train.size), task, log, train, test)
    name = 'scratch' if from_scratch else kind
    results[name], hows[name] = measured, learned.how
    if kind == kinds[0]:
      _save(named, place, networks, head_lib.finished(learned.head))
  return results | {'counts': log.counts,
                    'protocol': _protocol(named, train, log, parts.by, hows)}


def _encoded(named: named_lib.Named, kind: str, train: table.Data, store: Store,
             ) -> tuple[subject_lib.Subject, Features]:
  """Returns one kind of encoder, and its features of all training images."""
  rows = np.arange(train.size)
  subject = named.subject(kind, store, train, rows)
  found = subject.features(train, rows, is_test=False)
  checks.check_finite(found.x)
  return subject, found


def _divided(config: ml_collections.ConfigDict, train: table.Data,
             test: table.Data | None, found: Features, items: batches.Items,
             pairs: Pairs, counts: dict[str, int],
             ) -> tuple[pairs_lib.Log, groups_lib.Parts]:
  """Returns the pairs to learn from and to test on, and the held-out ones of the first.

  `found` are the features of the first encoder, of the images that can be read.
  """
  readable = np.zeros(train.size, bool)
  readable[found.rows] = True
  log = pairs_lib.divided(config, train, test, _scattered(found, train.size), readable,
                          items, pairs, counts)
  return log, groups_lib.divide(log.train, log.groups, config.pairs.holdout,
                                config.seed, by_time=False)


def _of_kind(named: named_lib.Named, subject: subject_lib.Subject, x: np.ndarray,
             task: learn.Task, log: pairs_lib.Log, train: table.Data,
             test: table.Data | None,
             ) -> tuple[dict[str, dict[str, Any]], learn.Learned, Any]:
  """Learns with one kind of encoder; returns figures, what was learned, networks.

  `x` are the features of all training images, zero for those that cannot be read.
  """
  config, settings = named.config, _settings(named.config)
  learned, networks = learn.learn_head(x, task, settings), subject.networks
  measured = _figures(
      lambda data, rows, is_test: subject.features(data, rows, is_test=is_test),
      {'without': lambda x: x, 'standardized': head_lib.finished(learned.first),
       'with': head_lib.finished(learned.head)}, log, train, test)
  if config.pairs.train != 'head':
    networks, learned = learn.learn_encoder(
        train, networks, named.inference,
        lambda decay: evaluate.trainable(named.weights.config, decay), learned, task,
        settings, _beside(named))
    measured['head'] = measured['with']
    measured |= _figures(
        lambda data, rows, _: named.inference(networks, data, rows),
        {'with': head_lib.finished(learned.head)}, log, train, test)
  return measured, learned, networks


def _protocol(named: named_lib.Named, train: table.Data, log: pairs_lib.Log,
              chosen_by: str, hows: dict[str, Any]) -> dict[str, Any]:
  """Returns how was learned and measured, for results.json."""
  config = named.config
  return named.protocol() | {
      'task': config.task, 'data': train.name, 'pairs': config.pairs.path or (
          f'{config.pairs.made} made of the labels, {config.pairs.noise:g} of them '
          'noise'),
      'training_pairs': log.train.size,
      'test_pairs': 0 if log.test is None else log.test.pairs.size,
      'divided_by': log.by,
      'chosen_by': 'geometric mean rank of the positives of held-out pairs, divided by '
                   f'{chosen_by}',
      'seed': config.seed, 'learned': hows}


def _settings(config: ml_collections.ConfigDict) -> learn.Settings:
  c = config.pairs
  freeze = c.statistics == 'frozen' or (
      c.statistics == 'auto' and c.train == 'encoder' and not c.byol_weight)
  return learn.Settings(
      freeze_statistics=freeze, seed=config.seed,
      **{key: c[key] for key in learn.Settings._fields if key in c})


def _beside(named: named_lib.Named) -> compound.Compound | None:
  """Returns BYOL beside the pairs, with the run's heads, target and views."""
  weight, trained = named.config.pairs.byol_weight, named.weights.config
  if not weight:
    return None
  with hosts.together('weights'):
    networks = whole.read(named.weights)
  spec = build.view_spec(trained)._replace(
      image_size=named.inference.spec.image_size, jigsaw=None)
  return compound.Compound(
      weight, trained.train.tau_base ** schedule.tau_power(trained), networks, spec)


def _save(named: named_lib.Named, place: Place, networks: Any,
          head: head_lib.Head) -> None:
  """Writes the encoder with the head inside."""
  params, state = jax.tree.map(np.asarray, networks)
  path = os.path.join(place.folder, f'encoder{find.SUFFIX}')
  with hosts.together('encoder'):
    if jax.process_index() == 0:
      weights_lib.save(weights_lib.with_head(
          named.weights, params, state, head.w, head.b), path)


# ----------------------------------------------------------------------- figures
def _scattered(features: Features, size: int) -> np.ndarray:
  """Returns features by image, float32 [size, D]; zero for images without any."""
  x = np.zeros((size, features.x.shape[1]), np.float32)
  x[features.rows] = features.x
  return x


def _figures(features: Encode, embeds: dict[str, Embed], log: pairs_lib.Log,
             train: table.Data, test: table.Data | None) -> dict[str, dict[str, Any]]:
  """Returns the figures of each kind of embeddings, of test pairs and test images.

  The positive of a test pair is searched among the images of all items. A test image
  is searched among the others; images of its label are relevant.
  """
  called, result = metrics.names(learn.RECALL_AT), {name: {} for name in embeds}
  if log.test is not None:
    pairs, items, is_test = log.test
    data = test if is_test else train
    size = data.size
    found = features(data, np.arange(size), is_test)
    gallery = np.intersect1d(items.owners[0], found.rows)
    if is_test:  # an item is an image, which may be unreadable
      pairs = pairs.take(np.isin(pairs.anchor, gallery)
                         & np.isin(pairs.positive, gallery))
    x = _scattered(found, size)
    for name, embed in embeds.items():
      ranked = learn.ranked(embed(x), pairs, items, gallery)
      result[name]['test_pairs'] = metrics.summary(ranked.values, called) | {
          'mean_rank': learn.mean_rank(ranked)}
  if test is not None and test.labels is not None:
    rows, x = features(test, np.arange(test.size), True)
    labels = np.asarray(test.labels[rows])
    for name, embed in embeds.items():
      z = embed(x)
      found = neighbours.measure(z, z, neighbours.by_label(labels, labels),
                                 learn.RECALL_AT, own=np.arange(len(rows)))
      if len(found.values):
        result[name]['test_images'] = metrics.summary(found.values, called)
  return result


def _table(results: dict[str, Any]) -> str:
  """Returns a table with a row for each encoder, without pairs and with them."""
  titles = figures_lib.kinds(results['method']) | {'scratch': 'from scratch'}
  lines = []
  for what, title in (('test_images', 'test images, by label'),
                      ('test_pairs', 'test pairs')):
    shown = [key for key in _TOLD if what == 'test_pairs' or key != 'rank']
    rows = [(f'{titles[kind]}, {name}', results[kind][state][what])
            for kind in titles if kind in results
            for state, name in {**_STATES, 'head': 'with a head alone'}.items()
            if what in results[kind].get(state, {})]
    if rows:
      lines.append(f'{title:<40}' + ''.join(f'{key:>8}' for key in shown))
      lines += [f'{name:<40}' + ''.join(
          f'{figures[_TOLD[key]]:>8.2f}' for key in shown) for name, figures in rows]
  return '\n'.join(lines) or 'no test pairs and no test images: nothing was measured'
