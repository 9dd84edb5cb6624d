"""Counts a classifier's hits by class, and the pairs of classes that it confuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_MOST_PAIRS = 20


def by_class(guessed: np.ndarray, labels: np.ndarray, names: Sequence[Any] | None,
             figure: str) -> dict[str, Any]:
  """Returns the entry `by_class` of results.json.

  Args:
    guessed: int [n], the classifier's answers.
    labels: int [n].
    names: of all classes; None where they have none.
    figure: the figure that the answers make up, such as 'knn_top1'.

  Returns:
    'figure', 'of' (its images), 'classes' ([name, images, right] for each class that
    occurs) and 'confused' ([name, name it is taken for, images] of the pairs that are
    confused most often).
  """
  name = lambda c: str(names[c]) if names and c < len(names) else str(c)
  classes, counts = np.unique(labels, return_counts=True)
  right = dict(zip(*np.unique(labels[guessed == labels], return_counts=True)))
  wrong = np.stack([labels, guessed], axis=1)[guessed != labels]
  pairs, images = np.unique(wrong, axis=0, return_counts=True)
  order = np.argsort(-images, kind='stable')[:_MOST_PAIRS]
  return {
      'figure': figure, 'of': len(labels),
      'classes': [[name(c), int(n), int(right.get(c, 0))]
                  for c, n in zip(classes.tolist(), counts)],
      'confused': [[*map(name, pairs[i].tolist()), int(images[i])] for i in order]}
