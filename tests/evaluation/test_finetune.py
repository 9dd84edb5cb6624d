"""The grid of a fine-tuning (its training: test_trainer.py, test_evaluate_training.py)."""

import jax
import pytest

from byol_jax.errors import UserError
from byol_jax.evaluation import finetune


def test_each_point_once_in_the_users_order():
  grid = finetune.Grid((.1, .01, .1), (2,), (0., 1e-4))
  assert [tuple(point.values()) for point in grid.points()] == [
      (.1, 2, 0), (.1, 2, 1e-4), (.01, 2, 0), (.01, 2, 1e-4)]
  assert list(grid.points()[0]) == ['learning_rate', 'epochs', 'weight_decay']


@pytest.mark.parametrize('asked, images, expected', [
    (0, 12_811, 1024), (0, 1_281_167, 1024), (0, 500, 32), (0, 100, 16), (0, 10, 8),
    (48, 100, 48), (48, 40, 32)])
def test_the_batch(asked, images, expected):
  """12,811 images are 1 % of ImageNet: 12 steps of 1024."""
  grid = finetune.Grid((.1,), (1,), (0.,), batch_size=asked)
  assert grid.batch_of(images) == expected


def test_devices_that_cannot_share_it():
  assert jax.device_count() == 8
  with pytest.raises(UserError, match='8 devices cannot share the batches of 12'):
    finetune.Grid((.1,), (1,), (0.,), batch_size=12).batch_of(100)
