"""The figures at the end of a run."""

import numpy as np
import pytest

from byol_jax.data.sources.table import Images
from byol_jax.evaluation import final
from byol_jax.evaluation import knn
from byol_jax.evaluation import splits
from byol_jax.evaluation.features import Features


def test_a_class_for_each_image_does_not_end_the_run():
  """Folders of one image each: a run must not fail when it is done."""
  rng = np.random.default_rng(0)
  def images(n):
    return Images(rng.integers(0, 256, (n, 4, 4, 3), np.uint8),
                  np.arange(n).astype(np.int32), None, 'ids')
  features = lambda data, rows: Features(
      rows, data.images[rows].reshape(len(rows), -1) / 255)
  split = splits.Split(images(6), images(6), most=None, seed=0)
  figures, protocol, by_class = final.measure(features, split, voting=knn.Voting(20, .07), seed=0)
  assert set(figures) == {'knn_top1', 'linear_top1'}
  assert protocol['linear']['l2'] == 1e-3 and protocol['knn']['k'] == 6
  right, count = (sum(row[i] for row in by_class['classes']) for i in (2, 1))
  assert (by_class['figure'], count) == ('knn_top1', by_class['of'])
  assert 100 * right / count == pytest.approx(figures['knn_top1'])
