"""Which images teach, which choose and which test."""

from __future__ import annotations

import numpy as np

from byol_jax.data.sources import table
from byol_jax.data.sources.table import Encoded
from byol_jax.data.sources.table import Images
from byol_jax.evaluation import encode

Data = Images | Encoded


class Split:
  """The images that figures are measured with.

  Attributes:
    train: labelled images and which of them, int [n].
    test: likewise.
  """

  def __init__(self, train: Data, test: Data | None, *, most: int | None,
               seed: int, pretrained_on: bool = True):
    """Chooses them.

    Args:
      train: labelled training images.
      test: labelled test images; None holds a tenth of `train` out.
      most: at most so many on either side; None for all.
      seed: of the choice.
      pretrained_on: whether pretraining has seen `train`.
    """
    self._held_out = test is None
    self._pretrained_on = pretrained_on
    size = table.size(train)
    most = size + (0 if test is None else table.size(test)) if most is None else most
    if test is not None:
      self.train = (train, encode.subset(size, most, seed))
      self.test = (test, encode.subset(table.size(test), most, seed))
    else:
      held_out = encode.subset(size, min(max(size // 10, 1), most), seed + 1)
      rest = np.setdiff1d(np.arange(size), held_out)
      chosen = rest[encode.subset(len(rest), most, seed)]
      self.train, self.test = (train, chosen), (train, held_out)

  def description(self) -> str:
    """Of the test images, in words, once these have been read."""
    count = len(self.test_labels())
    if not self._held_out:
      return f'{count} test images'
    return (f'no test part: {count} training images, held out from the classifiers'
            + (' but seen, without labels, in pretraining' if self._pretrained_on
               else ''))

  def train_labels(self) -> np.ndarray:
    """Labels of the usable training images, once these have been read."""
    return _labels(*self.train)

  def test_labels(self) -> np.ndarray:
    """Of the test images, likewise."""
    return _labels(*self.test)


def holdout_rows(labels: np.ndarray, fraction: float,
                 seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Splits rows into (kept, held out), the same share of every class.

  A class keeps at least one example, and holds out at least one if it has two.
  """
  rng = np.random.default_rng(seed)
  kept, held_out = [], []
  for c in np.unique(labels):
    rows = rng.permutation(np.flatnonzero(labels == c))
    n = min(max(round(fraction * len(rows)), 1), len(rows) - 1)
    held_out.append(rows[:n])
    kept.append(rows[n:])
  return np.sort(np.concatenate(kept)), np.sort(np.concatenate(held_out))


def labelled_rows(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
  """A share of the rows, the same of every class and at least one: int64 [n]."""
  if fraction >= 1:
    return np.arange(len(labels))
  rng = np.random.default_rng(seed)
  chosen = []
  for c in np.unique(labels):
    rows = rng.permutation(np.flatnonzero(labels == c))
    chosen.append(rows[:max(round(fraction * len(rows)), 1)])
  return np.sort(np.concatenate(chosen))


def _labels(data: Data, rows: np.ndarray) -> np.ndarray:
  return data.labels[encode.usable(data, rows)]
