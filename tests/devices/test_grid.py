"""The layout of a batch over the devices."""


import jax
import numpy as np
import pytest

from byol_jax.devices import grid as grid_lib


@pytest.mark.parametrize('num_sub_batches', [1, 2, 3])
@pytest.mark.parametrize('num_devices', [1, 2, 4])
def test_example_grid(num_sub_batches, num_devices):
  grid = grid_lib.example_grid(24, num_sub_batches, num_devices)
  assert grid.dtype == np.int32
  assert grid.shape == (num_devices, num_sub_batches,
                        24 // num_devices // num_sub_batches)
  assert sorted(grid.reshape(-1)) == list(range(24))  # each exactly once
  # sub-batch k is the k-th part of the batch, for every number of devices
  part = 24 // num_sub_batches
  for k in range(num_sub_batches):
    assert grid[:, k].reshape(-1).tolist() == list(range(k * part, (k + 1) * part))


def test_example_grid_in_numbers():
  assert grid_lib.example_grid(8, 2, 2).tolist() == [
      [[0, 1], [4, 5]], [[2, 3], [6, 7]]]


def test_the_local_grid_is_the_whole_one_on_one_host():
  n = jax.device_count()
  np.testing.assert_array_equal(grid_lib.local_example_grid(4 * n, 2),
                                grid_lib.example_grid(4 * n, 2, n))
