"""The only file that knows `pmap`.

The train state is replicated *without* a leading device axis (`in_axes=None`,
`out_axes=None`): shapes are the paper's, and `float(metrics['loss'])` works.
JAX takes our word that the replicas agree; `replicas_agree` checks it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

AXIS = 'i'  # the mapped axis: all devices of all hosts


def pmap_update(update: Callable[..., Any],
                devices: Sequence[jax.Device] | None = None):
  """Maps update(state, shared, batch) -> (state, metrics) over the devices.

  Args:
    update: averages over axis `AXIS` all values that must agree between devices.
    devices: None for all; the devices of a described topology, to compile for it.

  Returns:
    A function of the state (replicated, donated), shared (replicated) and a
    batch whose leaves lead with the number of local devices.
  """
  return jax.pmap(update, axis_name=AXIS, in_axes=(None, None, 0),
                  out_axes=None, donate_argnums=0, devices=devices)


def pmap_step(update: Callable[..., Any],
              devices: Sequence[jax.Device] | None = None):
  """Maps an update as `pmap_update` does, and passes a signal on between processes.

  Returns:
    A function of the state, shared, a batch and `signals(asked)`. It returns the
    state, the metrics and float32 []: above 0 if any process is asked to leave, so
    that all leave at the same step.
  """
  def step(state, shared, batch, asked):
    state, metrics = update(state, shared, batch)
    return state, metrics, jax.lax.pmax(asked, AXIS)
  return jax.pmap(step, axis_name=AXIS, in_axes=(None, None, 0, 0),
                  out_axes=None, donate_argnums=0, devices=devices)


def signals(asked: bool) -> jax.Array:
  """Makes the signal to the other processes for a step: float32 [local devices]."""
  return shard(np.full(jax.local_device_count(), asked, np.float32))


def replicate(tree: Any, devices: Sequence[jax.Device] | None = None) -> Any:
  """Puts a tree of arrays on every device, sharded as `pmap_update` wants it."""
  devices = jax.local_devices() if devices is None else devices
  copy = jax.pmap(lambda tree, _: tree, axis_name=AXIS, in_axes=(None, 0),
                  out_axes=None, devices=devices)
  return copy(tree, np.zeros(len(devices), np.int8))


def replicas_agree(tree: Any) -> bool:
  """Returns whether all devices, of all hosts, hold the same bits.

  Each device computes a checksum; only the sums travel. Every process must call this.

  Args:
    tree: arrays of 8, 16 or 32 bits, replicated on the same devices.
  """
  leaves = jax.tree.leaves(tree)
  if not leaves:
    return True
  devices = tuple(shard.device for shard in leaves[0].addressable_shards)
  return bool(_agree(devices)(leaves, np.zeros(len(devices), np.int8)))


@functools.cache  # compiled once
def _agree(devices: tuple[jax.Device, ...]):
  def agree(leaves, _):
    sums = jnp.stack([_checksum(x) for x in leaves])
    return jnp.all(jax.lax.pmax(sums, AXIS) == jax.lax.pmin(sums, AXIS))
  return jax.pmap(
      agree, axis_name=AXIS, in_axes=(None, 0), out_axes=None,
      # None: the devices of all hosts
      devices=None if list(devices) == jax.local_devices() else devices)


def _checksum(x: jax.Array) -> jax.Array:
  """Computes a sum over an array's bits that depends on their places: uint32 []."""
  if x.dtype.itemsize > 4:
    raise ValueError(f'{x.dtype} has more than 32 bits')
  bits = jax.lax.bitcast_convert_type(
      x, jnp.dtype(f'uint{8 * x.dtype.itemsize}')).astype(jnp.uint32).reshape(-1)
  place = jnp.arange(bits.size, dtype=jnp.uint32)
  # the factors are odd, so no flipped bit is multiplied away
  return jnp.sum(bits * (2 * place + 1), dtype=jnp.uint32)


def shard(batch: Any) -> Any:
  """Puts host arrays [local devices, ...] on the local devices."""
  mesh = jax.sharding.Mesh(np.array(jax.local_devices()), (AXIS,))
  spec = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(AXIS))
  return jax.tree.map(lambda x: jax.device_put(x, spec), batch)


def map_batches(fn: Callable[..., Any], each: int | None = None):
  """Maps fn(shared, batch) over this process's devices, for evaluation.

  Args:
    fn: a function of replicated values and one device's part of a batch.
    each: the length of such a part. It is always the same, as results may differ with
      it in their last bits; None for the shortest possible.

  Returns:
    A function (shared, batch) -> numpy outputs. The leaves [b, ...] of `batch` have
    any length, at most each * devices: they are padded, and the padding is cut from
    the outputs.
  """
  devices = jax.local_devices()
  mapped = jax.pmap(fn, axis_name=AXIS, in_axes=(None, 0), devices=devices)

  def call(shared, batch):
    size = jax.tree.leaves(batch)[0].shape[0]
    part = each or -(-size // len(devices))
    def split(x):
      pad = [(0, part * len(devices) - size)] + [(0, 0)] * (x.ndim - 1)
      return np.pad(x, pad).reshape(len(devices), part, *x.shape[1:])
    out = mapped(shared, jax.tree.map(split, batch))
    return jax.tree.map(
        lambda x: np.asarray(x).reshape(-1, *x.shape[2:])[:size], out)

  return call
