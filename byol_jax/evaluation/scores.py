"""What a classifier is, and the figures that it gets on test images.

A protocol's `fit` sees training images only: whatever it chooses, it chooses on
some that it holds out of them. The test images are first touched by `measure`, for
the one classifier that came out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

_Z = 1.959964  # of a 95 % interval
METRICS = ('top1', 'mean_per_class')


class Classifier(NamedTuple):
  """What `fit` returns.

  Attributes:
    scores: test inputs, of the kind that it was fitted to -> [M, C], the
      likeliest class highest.
    chosen: what was chosen on held-out training images, by name.
    protocol: how, in words and numbers: JSON.
  """
  scores: Callable[..., np.ndarray]
  chosen: dict[str, Any]
  protocol: dict[str, Any]


def measure(scores: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
  """Figures of a classifier, in percent.

  Args:
    scores: [M, C].
    labels: int [M].

  Returns:
    `top1`; `top5` with more than 5 classes; `mean_per_class`, the mean over the
    classes that occur of each one's accuracy; `top1_interval`, [low, high]: where
    the accuracy on other test images of this kind lies with 95 % confidence
    (Wilson 1927).
  """
  correct = _among(scores, labels, 1)
  top1 = float(np.mean(correct))
  figures = {'top1': 100 * top1}
  if scores.shape[1] > 5:
    figures['top5'] = top_k_accuracy(scores, labels, 5)
  figures['mean_per_class'] = mean_per_class(scores, labels)
  n = len(labels)
  middle = (top1 + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
  half = _Z / (1 + _Z**2 / n) * np.sqrt(
      top1 * (1 - top1) / n + _Z**2 / (4 * n * n))
  figures['top1_interval'] = [100 * float(middle - half),
                              100 * float(middle + half)]
  return figures


def figure(metric: str, scores: np.ndarray, labels: np.ndarray) -> float:
  """One of `METRICS`, in percent: what choices are made by."""
  return (mean_per_class(scores, labels) if metric == 'mean_per_class' else
          top_k_accuracy(scores, labels, 1))


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
  """Percentage of rows of scores [N, C] with the label among the k highest.

  A class with the same score as the label's counts as ahead of it if its
  number is lower.
  """
  return 100 * float(np.mean(_among(scores, labels, k)))


def mean_per_class(scores: np.ndarray, labels: np.ndarray) -> float:
  """The mean over the classes that occur of each one's accuracy, in percent."""
  correct = _among(scores, labels, 1)
  counts = np.bincount(labels)
  right = np.bincount(labels, weights=correct)
  there = counts > 0
  return 100 * float(np.mean(right[there] / counts[there]))


def _among(scores: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
  """bool [N]: whether the label is among the k highest scores."""
  own = np.take_along_axis(scores, labels[:, None], axis=1)
  classes = np.arange(scores.shape[1])
  ahead = (scores > own) | ((scores == own) & (classes < labels[:, None]))
  return np.sum(ahead, axis=1) < k
