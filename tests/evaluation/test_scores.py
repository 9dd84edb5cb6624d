"""Figures against scikit-learn and numbers that can be checked by hand."""

import numpy as np
import pytest

from byol_jax.evaluation import scores


def test_equals_scikit_learn():
  metrics = pytest.importorskip('sklearn.metrics')
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 9, 400) ** 2 // 9  # some classes are rare, some missing
  said = rng.standard_normal((400, 9)) + 2 * np.eye(9)[labels]
  figures = scores.measure(said, labels)
  assert figures['top1'] == pytest.approx(
      100 * metrics.accuracy_score(labels, said.argmax(1)))
  assert figures['top5'] == pytest.approx(100 * metrics.top_k_accuracy_score(
      labels, said, k=5, labels=np.arange(9)))
  assert figures['mean_per_class'] == pytest.approx(
      100 * metrics.balanced_accuracy_score(labels, said.argmax(1)))
  assert abs(figures['mean_per_class'] - figures['top1']) > .5


@pytest.mark.parametrize('right, total, low, high', [
    (81, 263, 25.5, 36.6),  # Newcombe 1998, table I, method 3
    (15, 148, 6.2, 16.1),
    (0, 20, 0.0, 16.1),
    (29, 29, 88.3, 100.0),
])
def test_interval(right, total, low, high):
  said = np.stack([np.arange(total) < right, np.arange(total) >= right], 1)
  interval = scores.measure(said, np.zeros(total, int))['top1_interval']
  assert interval == pytest.approx([low, high], abs=.06)


def test_ties_go_to_the_lower_class():
  said = np.zeros((6, 6))
  assert scores.top_k_accuracy(said, np.arange(6), 1) == pytest.approx(100 / 6)
  assert scores.top_k_accuracy(said, np.arange(6), 5) == pytest.approx(500 / 6)
