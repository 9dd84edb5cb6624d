"""Figures against scikit-learn and numbers that can be checked by hand."""

import numpy as np
import pytest

from byol_jax.errors import UserError
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


def test_what_is_not_finite_is_wrong():
  said = np.eye(4)[[0, 1, 2, 3]]
  said[0, 0] = said[1, 2] = np.nan  # the label's own score; another's
  said[2] = np.nan
  labels = np.arange(4)
  assert scores.top_k_accuracy(said, labels, 1) == 25
  assert scores.top_k_accuracy(np.full((4, 4), np.nan), labels, 3) == 0
  with pytest.raises(UserError, match='3 of 4 test images have scores that are not'):
    scores.measure(said, labels)


def test_the_best_candidate():
  labels = np.arange(3)
  sure, unsure, wrong = 9 * np.eye(3), np.eye(3), -np.eye(3)
  qualities = [scores.quality('top1', said, labels)
               for said in (wrong, unsure, sure, sure, sure * np.nan)]
  assert [q.figure for q in qualities] == [0, 100, 100, 100, 0]
  expected = -np.log(np.exp(1) / (np.exp(1) + 2))  # softmax by hand
  assert qualities[1].log_likelihood == pytest.approx(-expected)
  assert scores.best(qualities, 'key') == 2  # likelier, and first of equals
  assert scores.best(qualities[4:] + qualities[:1], 'key') == 1  # any before NaN
  with pytest.raises(UserError, match='config key a.b has diverged'):
    scores.best(qualities[4:] * 2, 'a.b')


def test_ties_go_to_the_lower_class():
  said = np.zeros((6, 6))
  assert scores.top_k_accuracy(said, np.arange(6), 1) == pytest.approx(100 / 6)
  assert scores.top_k_accuracy(said, np.arange(6), 5) == pytest.approx(500 / 6)
