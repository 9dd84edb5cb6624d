"""Fake data: random, and the same each time."""

import numpy as np
import pytest

from byol_jax.data.sources import open as open_lib
from byol_jax.errors import UserError


def test_fake():
  def fake(split='train', **options):
    options = dict(image_size=7, num_images=20, num_classes=3) | options
    return open_lib.open_part('fake', split, **options)
  one, two = fake(), fake()
  assert one.images.shape == (20, 7, 7, 3) and one.images.dtype == np.uint8
  np.testing.assert_array_equal(one.images, two.images)
  assert one.labels.dtype == np.int32 and set(one.labels) == {0, 1, 2}
  other = fake(seed=1)
  test = fake('test')
  assert (other.images != one.images).any() and (test.images != one.images).any()
  assert fake(num_classes=0).labels is None
  with pytest.raises(UserError, match='not 0 images'):
    fake(num_images=0)
