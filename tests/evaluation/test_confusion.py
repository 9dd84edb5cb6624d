"""Hits by class, counted by hand."""

import numpy as np

from byol_jax.evaluation import confusion


def test_by_class():
  labels = np.array([0, 0, 0, 2, 2, 1])
  guessed = np.array([0, 2, 2, 2, 0, 0])
  assert confusion.by_class(guessed, labels, ('a', 'b'), 'knn_top1') == {
      'figure': 'knn_top1', 'of': 6,
      'classes': [['a', 3, 1], ['b', 1, 0], ['2', 2, 1]],
      'confused': [['a', '2', 2], ['b', 'a', 1], ['2', 'a', 1]]}
  assert confusion.by_class(labels, labels, None, 'x')['confused'] == []


def test_many_pairs_are_cut():
  labels = np.arange(3000)
  found = confusion.by_class((labels + 1) % 3000, labels, None, 'x')
  assert len(found['classes']) == 3000 and len(found['confused']) == 20
