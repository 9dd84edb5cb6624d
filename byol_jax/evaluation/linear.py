"""Linear evaluation: a classifier on frozen features by stochastic gradients.

The paper's protocol (appendix C.1): SGD with Nesterov momentum 0.9, 80 epochs, no
regularization, five learning rates. All rates are trained in one pass over the
images, as one product; the rate is chosen on held-out training images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import functools
import logging
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from byol_jax.data.feed import order
from byol_jax.evaluation import scores as scores_lib
from byol_jax.evaluation import splits
from byol_jax.evaluation import stages as stages_lib
from byol_jax.evaluation.scores import Classifier
from byol_jax.run import console as console_lib

_console = logging.getLogger('byol_jax')

MOMENTUM = 0.9
PAPER_BATCH = 1024
SMALL_BATCH, SMALL = 256, 100_000  # for fewer images, where 1024 makes too few steps
_STEPS_AT_A_TIME = 64


class Schedule(NamedTuple):
  """The learning rates, epochs and batch of the classifier.

  Attributes:
    learning_rates: the rates to choose from. A cosine takes each to 0.
    epochs: passes over the training images.
    batch_size: B; 0 for the paper's 1024, or 256 for fewer than 100,000 images;
      never more than the number of images.
    refit: whether the chosen rate is trained once more, on all training images, or
      the classifier that was chosen is the result.
  """
  learning_rates: Sequence[float]
  epochs: float = 80.0
  batch_size: int = 0
  refit: bool = True

  def batch_of(self, num_images: int, num_train: int) -> int:
    """Returns the batch size for some of the `num_train` training images."""
    automatic = SMALL_BATCH if num_train < SMALL else PAPER_BATCH
    return min(self.batch_size or automatic, num_images)


class Source(Protocol):
  """A source of batches of features: `Cached` or `crops.Crops`."""
  labels: np.ndarray  # int32 [N], the training images'
  feature_size: int

  def batches(self, rows: np.ndarray, start_step: int, num_steps: int,
              batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields features float32 [m, B, D] and labels int32 [m, B] of m steps."""


class Cached:
  """A source of features that were computed once."""

  def __init__(self, features: np.ndarray, labels: np.ndarray, seed: int):
    """Takes float32 [N, D], int32 [N] and the seed of the order."""
    self._features, self.labels, self._seed = features, labels, seed
    self.feature_size = features.shape[1]

  def batches(self, rows, start_step, num_steps, batch_size):
    """Yields features and labels as `Source`, in pretraining's order, `order.rows`."""
    for start in range(start_step, start_step + num_steps, _STEPS_AT_A_TIME):
      steps = range(start, min(start + _STEPS_AT_A_TIME, start_step + num_steps))
      chosen = rows[np.stack([order.rows(self._seed, step, batch_size, len(rows))
                              for step in steps])]
      yield self._features[chosen], self.labels[chosen]


class _Heads(NamedTuple):
  """R linear classifiers and their momentum."""
  w: jax.Array           # [D, R, C]
  b: jax.Array           # [R, C]
  w_momentum: jax.Array
  b_momentum: jax.Array


def _init(seed: int, feature_size: int, num_rates: int, num_classes: int) -> _Heads:
  """Draws the same initial weights for all rates: truncated normal / sqrt(D)."""
  w = jax.random.truncated_normal(
      jax.random.PRNGKey(seed), -2, 2, (feature_size, 1, num_classes))
  w = jnp.repeat(w / np.sqrt(feature_size), num_rates, axis=1)
  b = jnp.zeros((num_rates, num_classes))
  return _Heads(w, b, jnp.zeros_like(w), jnp.zeros_like(b))


def _logits(w: jax.Array, b: jax.Array, x: jax.Array) -> jax.Array:
  """Returns logits [n, R, C] for features [n, D]."""
  product = jnp.matmul(x, w.reshape(len(w), -1),
                       precision=jax.lax.Precision.HIGHEST)
  return product.reshape(-1, *b.shape) + b


@functools.partial(jax.jit, donate_argnums=0)
def _train_steps(heads: _Heads, step, features, labels, rates, total) -> _Heads:
  """Does m steps: features [m, B, D], labels [m, B], rates [R]."""
  def loss(wb, x, y):
    log_likely = jax.nn.log_softmax(_logits(*wb, x))
    own = jnp.take_along_axis(log_likely, y[:, None, None], axis=2)
    return -jnp.sum(jnp.mean(own, axis=0))  # each rate's gradient is its own

  def one(carry, batch):
    heads, step = carry
    grads = jax.grad(loss)((heads.w, heads.b), *batch)
    progress = step.astype(jnp.float32) / total
    rate = rates[:, None] * 0.5 * (1 + jnp.cos(jnp.pi * progress))
    moved = []
    for p, m, g in zip(heads[:2], heads[2:], grads):
      m = MOMENTUM * m + g
      moved.append((p - rate * (MOMENTUM * m + g), m))
    (w, mw), (b, mb) = moved
    return (_Heads(w, b, mw, mb), step + 1), None

  (heads, _), _ = jax.lax.scan(one, (heads, step), (features, labels))
  return heads


def fit(
    source: Source,
    held_out_features: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    schedule: Schedule,
    choice: scores_lib.Choice,
    *,
    num_classes: int,
    stages: stages_lib.Stages,
    name: str = '',
) -> Classifier:
  """Fits a classifier with the best of some learning rates.

  Args:
    source: yields batches of features of the training images.
    held_out_features: rows -> (features float32 [n, D], labels int32 [n]) of
      training images as they are evaluated: centred, not cut at random.
    schedule: learning rates, epochs and batch.
    choice: chooses the rate; at most 10,009 images (the paper's number) are held out.
    num_classes: C.
    stages: keep the work of earlier sessions.
    name: this training's name among the stages.

  Returns:
    The classifier of features [M, D]; chosen: 'learning_rate'.

  Raises:
    UserError: there is nothing to choose on.
  """
  rates = sorted(set(map(float, schedule.learning_rates)))
  num_train = len(source.labels)
  train = functools.partial(_train, source, schedule, choice.seed, num_classes, stages)
  rate, heads, figures, chosen_on = rates[0], None, {}, 'nothing: one value given'
  trained_on = num_train
  if len(rates) > 1:
    fraction = min(choice.holdout, 10_009 / num_train)
    kept, held_out = splits.holdout_rows(source.labels, fraction, choice.seed,
                                         'linear_eval.learning_rates')
    heads = train(f'{name}choosing', kept, rates)
    best, figures = _best(heads, *held_out_features(held_out), rates, choice.metric,
                          name)
    rate = rates[best]
    heads = jax.tree.map(lambda x: x[..., best:best + 1, :], heads)
    chosen_on = (f'{len(held_out)} held-out training images, stratified; between '
                 'equals by their cross-entropy')
    trained_on = num_train if schedule.refit else len(kept)
  if heads is None or schedule.refit:
    heads = train(f'{name}all', np.arange(num_train), [rate])

  def scores(features: np.ndarray) -> np.ndarray:
    return np.asarray(_logits(heads.w, heads.b, features))[:, 0]

  return Classifier(scores, {'learning_rate': rate}, {
      'method': 'linear classifier, SGD with Nesterov momentum',
      'momentum': MOMENTUM,
      'epochs': schedule.epochs,
      'batch_size': schedule.batch_of(trained_on, num_train),
      'learning_rate': rate,
      'learning_rates': rates,
      'schedule': 'cosine to 0',
      'learning_rate_chosen_on': chosen_on,
      f'held_out_{choice.metric}': figures,
      'trained_on': trained_on,
      'weight_decay': 0,
      'seed': choice.seed,
      'train_images': num_train,
      'feature_size': source.feature_size,
      'num_classes': num_classes,
  })


def _train(source: Source, schedule: Schedule, seed: int, num_classes: int,
           stages: stages_lib.Stages, name: str, rows: np.ndarray,
           rates: Sequence[float]) -> _Heads:
  """Trains a classifier for each rate, all on the same batches."""
  batch = schedule.batch_of(len(rows), len(source.labels))
  total = max(int(schedule.epochs * len(rows) // batch), 1)
  heads = _init(seed, source.feature_size, len(rates), num_classes)
  with stages.opened(f'{name}, {total} steps of {batch}') as stage:
    step, heads = stage.restore(heads)
    heads = jax.tree.map(jnp.array, heads)
    bar = console_lib.Progress(f'{name}: steps', total - step, 'step/s')
    for features, labels in source.batches(rows, step, total - step, batch):
      heads = _train_steps(heads, jnp.int32(step), features, labels,
                           jnp.asarray(rates, jnp.float32), total)
      step += len(features)
      stage.save(step, heads, last=step == total)
      bar.add(len(features))
    bar.close()
  return jax.tree.map(np.asarray, heads)


def _best(heads: _Heads, x: np.ndarray, labels: np.ndarray, rates: Sequence[float],
          metric: str, name: str) -> tuple[int, dict[str, float]]:
  """Returns the index of the best rate on held-out images, and each rate's figure."""
  logits = np.asarray(_logits(heads.w, heads.b, x))
  qualities = [scores_lib.quality(metric, logits[:, k], labels)
               for k in range(len(rates))]
  best = scores_lib.best(qualities, 'linear_eval.learning_rates')
  _console.info('%slearning rate %g, by %.2f %% of %d held-out training images',
                name, rates[best], qualities[best].figure, len(labels))
  return best, {f'{r:g}': q.figure for r, q in zip(rates, qualities)}
