"""The share of the global batch that each device takes."""

from __future__ import annotations

import jax
import numpy as np


def example_grid(batch_size: int, num_sub_batches: int,
                 num_devices: int) -> np.ndarray:
  """Returns which global examples each device takes, int32 [devices, N, n].

  Sub-batch k is the k-th contiguous part of the global batch, whatever the
  number of devices: batch statistics are those of a sub-batch, so its members
  must not depend on the machine.

  Args:
    batch_size: global batch size B, a multiple of N * devices.
    num_sub_batches: N.
    num_devices: the number of devices of all hosts.

  Returns:
    Indices into the global batch; [d, k, j] for device d.
  """
  examples = np.arange(batch_size, dtype=np.int32)
  grid = examples.reshape(num_sub_batches, num_devices, -1)
  return np.ascontiguousarray(grid.transpose(1, 0, 2))


def local_example_grid(batch_size: int, num_sub_batches: int) -> np.ndarray:
  """Returns the part of `example_grid` for the devices of this process."""
  grid = example_grid(batch_size, num_sub_batches, jax.device_count())
  here = [i for i, device in enumerate(jax.devices())
          if device.process_index == jax.process_index()]
  return grid[here]
