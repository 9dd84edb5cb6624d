"""The embedded data: balanced and mixed, and its two parts."""

import time

import numpy as np
import pytest

from byol_jax.data.sources import open as open_lib
from byol_jax.errors import UserError


@pytest.mark.parametrize('split, per_class', [('train', 1000), ('test', 200)])
def test_balanced(split, per_class):
  start = time.perf_counter()
  data = open_lib.open_part('fashion_sample', split=split)
  assert time.perf_counter() - start < 1
  assert data.images.shape == (10 * per_class, 28, 28, 1)
  assert data.images.dtype == np.uint8 and data.labels.dtype == np.int32
  np.testing.assert_array_equal(np.bincount(data.labels), [per_class] * 10)
  assert len(data.class_names) == 10 and data.class_names[9] == 'Ankle boot'
  # Mixed, so that any part of it is nearly balanced too.
  assert np.bincount(data.labels[:per_class], minlength=10).min() > 10


def test_there_is_no_other_part():
  with pytest.raises(UserError, match="fashion_sample has .* not 'validation'"):
    open_lib.open_part('fashion_sample', 'validation')
