"""Divides images into parts to learn from, to choose on and to test on."""

from __future__ import annotations

import numpy as np

from byol_jax import wording
from byol_jax.data.sources import table
from byol_jax.errors import UserError
from byol_jax.evaluation import encode


class Split:
  """The training and test images of an evaluation.

  Attributes:
    train: labelled images and which of them, int [n].
    test: likewise.
  """

  def __init__(self, train: table.Data, test: table.Data | None, *,
               most: int | None, seed: int, pretrained_on: bool = True):
    """Chooses the images.

    Args:
      train: labelled training images.
      test: labelled test images; None holds a tenth of `train` out.
      most: the most images in either part; None for all.
      seed: the seed of the choice.
      pretrained_on: whether pretraining has seen `train`.
    """
    self._held_out = test is None
    self._pretrained_on = pretrained_on
    size = train.size
    most = size + (0 if test is None else test.size) if most is None else most
    if test is not None:
      self.train = (train, encode.subset(size, most, seed))
      self.test = (test, encode.subset(test.size, most, seed))
    else:
      held_out = encode.subset(size, min(max(size // 10, 1), most), seed + 1)
      rest = np.setdiff1d(np.arange(size), held_out)
      chosen = rest[encode.subset(len(rest), most, seed)]
      self.train, self.test = (train, chosen), (train, held_out)

  def description(self, num_test: int) -> str:
    """Returns a text about the test images, `num_test` of which could be read."""
    if not self._held_out:
      return wording.count(num_test, 'test image')
    seen = ' but seen, without labels, in pretraining' if self._pretrained_on else ''
    return (f'no test part: {wording.count(num_test, "training image")}, held out from '
            f'the classifiers{seen}')


def holdout_rows(labels: np.ndarray, fraction: float, seed: int,
                 key: str) -> tuple[np.ndarray, np.ndarray]:
  """Splits rows into (kept, held out), the same share of every class.

  A class keeps at least one example, and holds out at least one if it has two.

  Raises:
    UserError: nothing is held out to choose the value of config key `key` on.
  """
  rng = np.random.default_rng(seed)
  kept, held_out = [], []
  for c in np.unique(labels):
    rows = rng.permutation(np.flatnonzero(labels == c))
    n = min(max(round(fraction * len(rows)), 1), len(rows) - 1)
    held_out.append(rows[:n])
    kept.append(rows[n:])
  if not sum(map(len, held_out)):
    raise UserError(f'config key {key} has several values to choose from, but no class '
                    'has two training images: list one')
  return np.sort(np.concatenate(kept)), np.sort(np.concatenate(held_out))


def labelled_rows(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
  """Chooses a share of the rows of every class, at least one: int64 [n]."""
  if fraction >= 1:
    return np.arange(len(labels))
  rng = np.random.default_rng(seed)
  chosen = []
  for c in np.unique(labels):
    rows = rng.permutation(np.flatnonzero(labels == c))
    chosen.append(rows[:max(round(fraction * len(rows)), 1)])
  return np.sort(np.concatenate(chosen))

