"""Learns from pairs: a head on frozen features, or the encoder with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import logging
from typing import Any, NamedTuple

import jax
import numpy as np

from byol_jax.data.sources import table
from byol_jax.devices import mapped
from byol_jax.errors import UserError
from byol_jax.evaluation import encode
from byol_jax.evaluation import stages as stages_lib
from byol_jax.evaluation import trainer
from byol_jax.evaluation.features import Features
from byol_jax.networks.model import Model
from byol_jax.retrieval import batches as batches_lib
from byol_jax.retrieval import compound
from byol_jax.retrieval import head as head_lib
from byol_jax.retrieval import metrics
from byol_jax.retrieval import neighbours
from byol_jax.retrieval.batches import Items
from byol_jax.retrieval.pairs import Pairs
from byol_jax.training import supervised

_console = logging.getLogger('byol_jax')

RECALL_AT = (1, 5, 10, 100)
_MOST_CHOOSING = 2000  # held-out pairs that are ranked for each candidate
_MRR = metrics.names(RECALL_AT).index('mrr')


class Settings(NamedTuple):
  """How is learned; each is a key of the config's section pairs, or the seed."""
  dimensions: int
  temperatures: Sequence[float]
  learn_temperature: bool
  learning_rates: Sequence[float]
  epochs: float
  batch_size: int
  popularity: bool
  encoder_rates: Sequence[float]
  encoder_rate: float
  encoder_epochs: float
  freeze_statistics: bool
  seed: int


class Task(NamedTuple):
  """The pairs that are learned from.

  Attributes:
    pairs: each once.
    kept: int64 [n], those that candidates learn from; all learn in the end.
    held_out: int64 [m], those that choose; of other items.
    items: the images of the items.
    groups: int64 [items], the group of near-duplicates of each item.
    stages: keep the work of earlier sessions.
    name: the beginning of the trainings' names.
  """
  pairs: Pairs
  kept: np.ndarray
  held_out: np.ndarray
  items: Items
  groups: np.ndarray
  stages: stages_lib.Stages
  name: str


def ranked(x: np.ndarray, pairs: Pairs, items: Items,
           gallery: np.ndarray) -> neighbours.Measured:
  """Searches the positives of each anchor among images; figures are for `RECALL_AT`.

  Args:
    x: float32 [N, d], by image.
    pairs: what is searched, by what.
    items: the images of the items; the first image of an anchor is the query.
    gallery: int64 [G], images, with all of the positives'.
  """
  place = np.full(len(x), -1)
  place[gallery] = np.arange(len(gallery))
  anchors, which = np.unique(pairs.anchor, return_inverse=True)
  queries = np.array([items.images[item][0] for item in anchors])
  counts = [len(items.images[item]) for item in pairs.positive]
  relevant = place[np.concatenate([items.images[item] for item in pairs.positive])]
  relevance = neighbours.by_pairs(np.repeat(which, counts), relevant,
                                  np.repeat(pairs.weight, counts), len(anchors))
  return neighbours.measure(x[gallery], x[queries], relevance, RECALL_AT,
                            own=place[queries])


def mean_rank(found: neighbours.Measured) -> float:
  """Returns the geometric mean of the ranks of the nearest positives; 1 is best.

  A few positives that are found first decide an MRR. Where clicks have noise it chose
  heads that are worse by several points of MAP@R.
  """
  return float(np.exp(-np.log(found.values[:, _MRR]).mean()))


def _rank(task: Task, x: Callable[[np.ndarray], np.ndarray], num_images: int) -> float:
  """Returns the mean rank of the held-out positives among images of held-out items.

  Args:
    task: the pairs.
    x: images int64 [n] -> embeddings float32 [n, d].
    num_images: N.

  Returns:
    1 if each positive is the nearest; inf if embeddings are not finite.
  """
  pairs = task.pairs.take(task.held_out[:_MOST_CHOOSING])
  used = np.unique(np.concatenate([pairs.anchor, pairs.positive]))
  gallery = np.concatenate([task.items.images[item] for item in used])
  embedded = x(gallery)
  if not np.isfinite(embedded).all():
    return np.inf
  scattered = np.zeros((num_images, embedded.shape[1]), np.float32)
  scattered[gallery] = embedded
  return mean_rank(ranked(scattered, pairs, task.items, gallery))


class Learned(NamedTuple):
  """A head of `head.start`'s form, and how it was learned.

  Attributes:
    first: the head that it started from.
    head: the head learned.
    temperature: the temperature chosen; where it learned on, what it began with.
    how: the training in words and numbers: JSON.
  """
  first: dict[str, np.ndarray]
  head: dict[str, np.ndarray]
  temperature: float
  how: dict[str, Any]


def learn_head(x: np.ndarray, task: Task, settings: Settings) -> Learned:
  """Learns a head on frozen features: chooses a point on held-out pairs, then fits all.

  Args:
    x: float32 [N, D], by image.
    task: the pairs.
    settings: how.

  Raises:
    UserError: all candidates diverge.
  """
  def batches(rows: np.ndarray) -> batches_lib.Batches:
    return batches_lib.Batches(
        task.pairs.take(rows), task.items, task.groups, seed=settings.seed,
        batch_size=batches_lib.batch_size(settings.batch_size, len(rows)),
        popularity=settings.popularity)

  def fit(rows: np.ndarray, grid: Sequence[head_lib.Point], name: str):
    return head_lib.fit(
        x, batches(rows), first, grid, epochs=settings.epochs, stages=task.stages,
        learn_temperature=settings.learn_temperature, name=f'{task.name}{name}')

  everything = np.arange(task.pairs.size)
  used = np.unique(batches(everything).images)
  size = min(settings.dimensions or min(x.shape[1], 512), x.shape[1])
  first = head_lib.start(x[used], size)
  grid = head_lib.points(settings.temperatures, settings.learning_rates)
  point, how = grid[0], {}
  if len(grid) > 1:
    rank = lambda head: _rank(
        task, lambda rows: head_lib.finished(head)(x[rows]), len(x))
    ranks = [rank(head) for head in fit(task.kept, grid, 'choosing a head')]
    if not np.isfinite(min(ranks)):
      raise UserError('every candidate of config key pairs.learning_rates has '
                      'diverged: list smaller ones')
    point, start = grid[int(np.argmin(ranks))], rank(first)
    how = {'held_out_pairs': len(task.held_out), 'held_out_rank_of_the_start': start,
           'held_out_rank': {f'temperature {p.temperature:g}, rate {p.learning_rate:g}':
                             value for p, value in zip(grid, ranks)}}
    _console.info(
        '%stemperature %g and rate %g, by a mean rank of %.1f on %d held-out pairs; '
        '%.1f without a head', task.name, point.temperature, point.learning_rate,
        min(ranks), len(task.held_out), start)
    if min(ranks) > start:
      _console.warning('%sno head is better than none on the held-out pairs: list '
                       'other pairs.temperatures, or give more pairs', task.name)
  head, = fit(everything, [point], 'head')
  if not all(np.isfinite(leaf).all() for leaf in head.values()):
    raise UserError('the head has diverged: list a smaller pairs.learning_rates')
  if 'log_temperature' in head:
    how['learned_temperature'] = float(np.exp(head['log_temperature']))
  return Learned(first, head, point.temperature, how | {
      'method': f'linear head of {size} outputs from the identity on standardized '
                'features, symmetric InfoNCE, SGD with Nesterov momentum 0.9',
      'temperature': point.temperature, 'learning_rate': point.learning_rate,
      'epochs': settings.epochs, 'pairs': task.pairs.size,
      'batch_size': batches_lib.batch_size(settings.batch_size, task.pairs.size)})


def learn_encoder(
    data: table.Data, networks: Any, inference: encode.Inference,
    make_model: Callable[[float], Model], learned: Learned, task: Task,
    settings: Settings, beside: compound.Compound | None = None,
) -> tuple[Any, Learned]:
  """Goes on with encoder and head together, from a head that was learned.

  Args:
    data: the images.
    networks: (params, state) of the encoder to start from.
    inference: says how images are prepared, and runs it.
    make_model: as for `finetune.fit`.
    learned: the head, and the temperature.
    task: the pairs.
    settings: how.
    beside: BYOL's loss on the same images, or None. It has networks of its own.

  Returns:
    (params, state) and the head.

  Raises:
    UserError: all candidates diverge, or the devices cannot share a batch.
  """
  train = _trainer(data, networks, inference, make_model, learned, task, settings,
                   beside)

  def fit(rows: np.ndarray, rate: float, name: str):
    batch = batches_lib.batch_size(settings.batch_size, len(rows))
    if batch % jax.device_count():
      raise UserError(f'config key pairs.batch_size: {jax.device_count()} devices '
                      f'cannot share the batches of {batch} that {len(rows)} pairs '
                      'make')
    (params, head), state = train(
        rows, f'{task.name}{name}', batch_size=batch, weight_decay=0.0,
        learning_rate=rate / settings.encoder_rate, epochs=settings.encoder_epochs)
    return (params, state['online'] if beside else state), head

  rates = list(dict.fromkeys(map(float, settings.encoder_rates)))
  rate, figures = rates[0], {}
  if len(rates) > 1:
    for candidate in rates:
      trained, head = fit(task.kept, candidate, f'encoder, rate {candidate:g}')
      figures[f'rate {candidate:g}'] = _rank(
          task, lambda rows, networks=trained, head=head: _embedded(
              inference(networks, data, rows), rows, head), data.size)
    rate = min(rates, key=lambda rate: figures[f'rate {rate:g}'])
    _console.info('%sencoder: rate %g, by a mean rank of %.1f on %d held-out pairs',
                  task.name, rate, figures[f'rate {rate:g}'], len(task.held_out))
  trained, head = fit(np.arange(task.pairs.size), rate, 'encoder')
  if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((trained, head))):
    raise UserError('the encoder has diverged: list smaller pairs.encoder_rates')
  return trained, learned._replace(head=head, how=learned.how | {
      'encoder': 'trained with the head, from the head learned on its frozen features',
      'encoder_learning_rate': rate, 'encoder_rate': settings.encoder_rate,
      'encoder_epochs': settings.encoder_epochs, 'encoder_held_out_rank': figures,
      'byol_weight': beside.weight if beside else 0,
      'statistics': 'frozen' if settings.freeze_statistics else 'of the global batch'})


def _trainer(data: table.Data, networks: Any, inference: encode.Inference,
             make_model: Callable[[float], Model], learned: Learned, task: Task,
             settings: Settings, beside: compound.Compound | None) -> trainer.Trainer:
  """Returns what trains encoder and head; for arguments see `learn_encoder`."""
  feed = batches_lib.Feed(
      data, beside.spec if beside else inference.spec, task.pairs, task.items,
      task.groups, seed=settings.seed, popularity=settings.popularity,
      threads=inference.threads, all_views=beside is not None)
  temperature = None if 'log_temperature' in learned.head else learned.temperature
  loss = supervised.pairs(temperature, mapped.AXIS)
  if beside:
    make_plain, networks, loss = make_model, beside.start(), beside.loss(loss)
    make_model = lambda decay: beside.wrapped(make_plain(decay))
  return trainer.Trainer(
      feed, networks, learned.head, make_model, loss,
      encoder_rate=settings.encoder_rate, seed=settings.seed, stages=task.stages,
      freeze_statistics=settings.freeze_statistics)


def _embedded(features: Features, rows: np.ndarray,
              head: dict[str, np.ndarray]) -> np.ndarray:
  """Returns embeddings of the images `rows`, all of which could be read before."""
  if len(features.rows) != len(rows):
    raise UserError('images that could be read before cannot be read now: start again')
  order = np.argsort(features.rows)
  x = features.x[order][np.searchsorted(features.rows[order], rows)]
  return head_lib.finished(head)(x)
