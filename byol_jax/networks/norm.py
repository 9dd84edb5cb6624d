"""Cross-replica batch normalization with statistics per view."""

from __future__ import annotations

from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp


def axis_size(axis_name: str | None) -> int:
  """Returns the number of devices of a mapped axis; 1 where there is none."""
  return 1 if axis_name is None else jax.lax.axis_size(axis_name)


def average_over(tree: Any, axis_name: str | None, groups: int = 1) -> Any:
  """Averages a tree over a mapped axis; one device, or no axis, leaves it as it is.

  XLA runs a mean over one CPU device as a copy with a barrier.

  Args:
    tree: arrays, as on this device.
    axis_name: the mapped axis.
    groups: of successive devices, each averaged by itself.
  """
  devices = axis_size(axis_name)
  if devices <= groups or devices == 1:
    return tree
  parts = None if groups == 1 else [
      list(range(first, first + devices // groups))
      for first in range(0, devices, devices // groups)]
  return jax.lax.pmean(tree, axis_name, axis_index_groups=parts)


class BatchNorm(hk.Module):
  """Batch normalization as the paper trains it (section 3.3, appendix J).

  Normalizes by the mean and the biased variance of the global batch: over all
  devices of the mapped axis, and separately for each view. The two views of an
  image batch run through the network as one concatenated batch, which is
  cheaper than two passes (one all-reduce instead of two, larger convolutions),
  but each half is normalized by its own statistics and the running averages
  take in one view after the other, exactly as with two passes.

  Statistics and the normalization itself are float32 (or wider) whatever the
  dtype of the input. Parameters and state have the shapes and names of
  `hk.BatchNorm`: scale and offset [1, ..., 1, C], `mean_ema` and `var_ema` with
  zero-debiased averages. The averages are undefined before the first training
  call.

  With `groups` > 1 the global batch falls into so many groups of successive examples,
  each normalized by itself, whatever the number of devices: 8 imitates a run on 8 GPUs
  without synchronized statistics (MoCo). The running averages take in the mean of the
  groups' statistics.
  """

  def __init__(
      self,
      *,
      decay_rate: float = 0.9,
      eps: float = 1e-5,
      axis_name: str | None = None,
      groups: int = 1,
      create_scale: bool = True,
      create_offset: bool = True,
      scale_init: hk.initializers.Initializer | None = None,
      name: str | None = None,
  ):
    """Builds the module.

    Args:
      decay_rate: decay of the running averages.
      eps: added to the variance.
      axis_name: the mapped axis to average the statistics over; None: local.
      groups: of the global batch, each with statistics of its own; the number of
        devices must divide it, or be a multiple of it.
      create_scale: whether there is a scale (gamma).
      create_offset: whether there is an offset (beta).
      scale_init: initializer of the scale (gamma); None: ones.
      name: the module's name; weight decay and LARS skip modules that have
        'norm' in it.
    """
    super().__init__(name=name)
    self._eps = eps
    self._axis_name = axis_name
    self._groups = groups
    self._create_scale, self._create_offset = create_scale, create_offset
    self._scale_init = scale_init or jnp.ones
    self._mean_ema = hk.ExponentialMovingAverage(decay_rate, name='mean_ema')
    self._var_ema = hk.ExponentialMovingAverage(decay_rate, name='var_ema')

  def __call__(self, x: jax.Array, is_training: bool,
               views: int = 1) -> jax.Array:
    """Normalizes x.

    Args:
      x: [views * n, ..., C], one view after the other.
      is_training: use (and record) the batch's statistics rather than the
        running averages.
      views: how many parts the batch holds, each with statistics of its own: one for
        each view or tile, or 1 for all together.

    Returns:
      An array like x.
    """
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    channels = x.shape[-1]
    ones = (1,) * (x.ndim - 1)
    scale, offset = 1.0, 0.0
    if self._create_scale:
      scale = hk.get_parameter('scale', ones + (channels,), dtype, self._scale_init)
    if self._create_offset:
      offset = hk.get_parameter('offset', ones + (channels,), dtype, jnp.zeros)

    if is_training:
      here = max(self._groups // axis_size(self._axis_name), 1)  # on this device
      grouped = x.reshape(views * here, x.shape[0] // (views * here), *x.shape[1:])
      mean, var = self._batch_statistics(grouped.astype(dtype))
      each = mean, var
      if self._groups > 1:
        each = average_over(tuple(
            jnp.mean(x.reshape(views, here, *x.shape[1:]), 1) for x in each),
                            self._axis_name)
      for view in range(views):
        self._mean_ema(each[0][view])
        self._var_ema(each[1][view])
    else:
      grouped = x[None]
      mean, var = self._mean_ema.average[None], self._var_ema.average[None]

    inverse = scale * jax.lax.rsqrt(var + self._eps)
    out = (grouped.astype(dtype) - mean) * inverse + offset
    return out.astype(x.dtype).reshape(x.shape)

  def _batch_statistics(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns mean and biased variance per group, each [groups, 1, ..., 1, C]."""
    axes = tuple(range(1, x.ndim - 1))
    moments = jnp.stack([jnp.mean(x, axes), jnp.mean(jnp.square(x), axes)])
    moments = average_over(moments, self._axis_name, self._groups)  # one all-reduce
    mean, mean_of_squares = moments
    # rounding takes the variance of a constant channel below zero
    var = jnp.maximum(mean_of_squares - jnp.square(mean), 0.0)
    shape = (x.shape[0],) + (1,) * (x.ndim - 2) + x.shape[-1:]
    return mean.reshape(shape), var.reshape(shape)
