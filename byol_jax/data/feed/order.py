"""The order of the images, as pure functions of (seed, step).

The global position of example `i` of step `step` is `p = step * batch_size + i`.
Position `p` shows image `permutation(seed, p // num_images)[p % num_images]`:
every image exactly once an epoch, also where a batch straddles two epochs, and
the same for every number of hosts, devices and threads. Resuming needs one
integer, the step.

The permutations and draws come from SplitMix64 (Steele et al. 2014), written
out here in 64-bit integer arithmetic: numpy's generators may change their
streams from one version to the next (NEP 19), and a run must not change with
its libraries.
"""

from __future__ import annotations

import functools

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: np.ndarray) -> np.ndarray:
  """Applies SplitMix64's finalizer, a bijection of uint64, elementwise."""
  x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return x ^ (x >> np.uint64(31))


def _hash(*parts: int | np.ndarray) -> np.ndarray:
  """Hashes integers (scalars or broadcastable arrays) into uint64."""
  h = np.zeros((1,), np.uint64)
  with np.errstate(over='ignore'):
    for part in parts:
      h = _mix(h + _GOLDEN + _mix(np.asarray(part).astype(np.uint64) + _GOLDEN))
  return h


@functools.lru_cache(maxsize=2)  # a batch can straddle two epochs
def permutation(seed: int, epoch: int, num_images: int) -> np.ndarray:
  """Returns the order of the images in one epoch, int64 [num_images], read-only."""
  keys = _hash(seed, epoch, np.arange(num_images))
  order = np.argsort(keys, kind='stable')
  order.setflags(write=False)
  return order


def rows(seed: int, step: int, batch_size: int, num_images: int) -> np.ndarray:
  """Returns the images of one step, int64 [batch_size], in the order of the batch.

  Args:
    seed: the run's seed.
    step: the global step, from 0.
    batch_size: the global batch size.
    num_images: the size of the data set.

  Returns:
    Indices into the data set, entry i for global example i.
  """
  positions = step * batch_size + np.arange(batch_size, dtype=np.int64)
  epochs, offsets = np.divmod(positions, num_images)
  result = np.empty(batch_size, np.int64)
  for epoch in np.unique(epochs):
    now = epochs == epoch
    result[now] = permutation(seed, int(epoch), num_images)[offsets[now]]
  return result


def substitute(index: int, attempt: int, num_images: int) -> int:
  """Returns the image to show in place of one that cannot be used.

  Args:
    index: the image that was asked for.
    attempt: 0 at first, then 1, 2, ... while the substitute is bad as well.
    num_images: the size of the data set.

  Returns:
    An index; the same for every seed, step, host and thread.
  """
  return int(_hash(index, attempt)[0] % np.uint64(num_images))


def uniforms(seed: int, step: int, examples: np.ndarray,
             num_draws: int) -> np.ndarray:
  """Draws numbers in [0, 1) for the host's share of the augmentation.

  Args:
    seed: the run's seed.
    step: the global step.
    examples: int [n], global example indices (0 .. batch_size - 1).
    num_draws: how many numbers each example needs.

  Returns:
    float64 [n, num_draws]; row j depends on (seed, step, examples[j]) only.
  """
  examples = np.asarray(examples, np.int64)[:, None]
  bits = _hash(seed, step, examples, np.arange(num_draws)[None, :])
  return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
