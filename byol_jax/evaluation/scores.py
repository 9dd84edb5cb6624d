"""Classifiers, the choice of one of them, and its figures on test images.

A protocol's `fit` sees training images only, and holds some of them out to choose on.
Test images are first used by `measure`, for the one classifier that was chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from byol_jax.errors import UserError

_Z = 1.959964  # for a 95 % interval
METRICS = ('top1', 'mean_per_class')
# the figures of an evaluation, and their titles
FIGURES = {'top1': 'top-1', 'top5': 'top-5', 'mean_per_class': 'mean per class'}


class Classifier(NamedTuple):
  """A fitted classifier of features.

  Attributes:
    scores: features [M, D] -> [M, C], the likeliest class highest.
    chosen: the values chosen on held-out training images, by name.
    protocol: the fit in words and numbers: JSON.
  """
  scores: Callable[..., np.ndarray]
  chosen: dict[str, Any]
  protocol: dict[str, Any]


class Choice(NamedTuple):
  """The rule by which a protocol chooses, on training images alone.

  Attributes:
    holdout: share of every class of the training images that is held out to choose
      on.
    metric: one of `METRICS`, to be high on the held-out images.
    seed: the seed of the held-out part, and of all other random numbers of the fit.
  """
  holdout: float = 0.1
  metric: str = 'top1'
  seed: int = 0


class Quality(NamedTuple):
  """A candidate's quality on held-out images: more is better.

  Attributes:
    figure: one of `METRICS`, in percent; 0 if it has diverged.
    log_likelihood: the mean of log softmax(scores)[label], which decides between
      equal figures (few images make many); -inf if it has diverged.
  """
  figure: float
  log_likelihood: float


def quality(metric: str, scores: np.ndarray, labels: np.ndarray) -> Quality:
  """Computes a candidate's quality from logits [M, C] and labels int [M]."""
  if not np.isfinite(scores).all():
    return Quality(0.0, -np.inf)
  logits = scores - scores.max(axis=1, keepdims=True).astype(np.float64)
  own = np.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
  likely = own - np.log(np.sum(np.exp(logits), axis=1))
  figure = (mean_per_class(scores, labels) if metric == 'mean_per_class' else
            top_k_accuracy(scores, labels, 1))
  return Quality(figure, float(np.mean(likely)))


def best(qualities: Sequence[Quality], key: str) -> int:
  """Returns the index of the best candidate, the first of equal ones.

  Raises:
    UserError: all have diverged; names the config key of the candidates.
  """
  if all(q.log_likelihood == -np.inf for q in qualities):
    raise UserError(f'every candidate of config key {key} has diverged: list '
                    'smaller ones')
  return max(range(len(qualities)), key=lambda k: qualities[k])


def measure(scores: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
  """Computes a classifier's figures, in percent.

  Args:
    scores: [M, C].
    labels: int [M].

  Returns:
    `top1`; `top5` with more than 5 classes; `mean_per_class`, the mean of the
    accuracies of the classes that occur; `top1_interval`, [low, high], the 95 %
    confidence interval for other test images of this kind (Wilson 1927).

  Raises:
    UserError: scores are not finite.
  """
  diverged = int(np.sum(~np.isfinite(scores).all(axis=1)))
  if diverged:
    raise UserError(f'the classifier has diverged: {diverged} of {len(scores)} test '
                    'images have scores that are not finite; lower the learning rates '
                    'of its section of the config, such as '
                    '--config.linear_eval.learning_rates')
  correct = _among(scores, labels, 1)
  top1 = float(np.mean(correct))
  figures = {'top1': 100 * top1}
  if scores.shape[1] > 5:
    figures['top5'] = top_k_accuracy(scores, labels, 5)
  figures['mean_per_class'] = mean_per_class(scores, labels)
  figures['top1_interval'] = interval(100 * top1, len(labels))
  return figures


def interval(percent: float, n: int) -> list[float]:
  """Returns Wilson's 95 % interval, in percent, of a share measured on n images."""
  p = percent / 100
  middle = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
  half = _Z / (1 + _Z**2 / n) * np.sqrt(p * (1 - p) / n + _Z**2 / (4 * n * n))
  return [100 * float(middle - half), 100 * float(middle + half)]


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
  """Returns the percentage of rows of scores [N, C] with the label among the k best.

  A class with the label's score counts as better if its number is lower.
  """
  return 100 * float(np.mean(_among(scores, labels, k)))


def mean_per_class(scores: np.ndarray, labels: np.ndarray) -> float:
  """Returns the mean accuracy, in percent, over the classes that occur."""
  correct = _among(scores, labels, 1)
  counts = np.bincount(labels)
  right = np.bincount(labels, weights=correct)
  there = counts > 0
  return 100 * float(np.mean(right[there] / counts[there]))


def _among(scores: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
  """Returns whether each label is among the k highest scores, bool [N]; NaN is not."""
  own = np.take_along_axis(scores, labels[:, None], axis=1)
  classes = np.arange(scores.shape[1])
  # not `scores > own`: no number is above NaN, and all labels would be right
  ahead = ~(scores <= own) | ((scores == own) & (classes < labels[:, None]))
  return np.sum(ahead, axis=1) < k
