"""The only file that knows `pmap`: devices, shards and what feeds them.

The train state is replicated *without* a leading device axis (`in_axes=None`,
`out_axes=None`): shapes are the paper's, and `float(metrics['loss'])` works.
JAX takes our word that the replicas agree; `replicas_agree` checks it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
import functools
import os
import queue
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

AXIS = 'i'  # the mapped axis: all devices of all hosts
_SLICE = 0.005  # seconds of waiting for input

_YNN = '--xla_cpu_experimental_ynn_fusion_type'


def set_compiler_flags() -> None:
  """Adds to XLA_FLAGS what makes this program faster.

  To be called before the first computation. In jax 0.10.2 on a CPU the
  convolutions of XLA's newer library, YNN, use one thread where there are fewer
  than 128 channels; 0.12 has that mended. No other version is told: XLA aborts
  at a flag that it does not know. What the user set stays.
  """
  flags = os.environ.get('XLA_FLAGS', '')
  if jax.__version_info__ == (0, 10, 2) and _YNN not in flags:
    os.environ['XLA_FLAGS'] = f'{flags} {_YNN}=LIBRARY_FUSION_TYPE_REDUCE'.strip()


def pin_numbers() -> None:
  """Fixes jax's generator and its widths, whatever the environment says.

  A run must not change with its libraries or with an exported JAX_* variable. The
  numbers of one key are a prefix of more numbers of that key only with
  `jax_threefry_partitionable`, so that a new augmentation, which draws more, leaves
  the draws of old runs as they were.
  """
  jax.config.update('jax_threefry_partitionable', True)
  jax.config.update('jax_default_prng_impl', 'threefry2x32')
  jax.config.update('jax_enable_x64', False)


def pmap_update(update: Callable[..., Any],
                devices: Sequence[jax.Device] | None = None):
  """Maps update(state, shared, batch) -> (state, metrics) over the devices.

  Args:
    update: averages over axis `AXIS` what must agree between devices.
    devices: None for all; a described topology's devices to compile for it.

  Returns:
    A function of the state (replicated, donated), shared (replicated) and a
    batch whose leaves lead with the number of local devices.
  """
  return jax.pmap(update, axis_name=AXIS, in_axes=(None, None, 0),
                  out_axes=None, donate_argnums=0, devices=devices)


def replicate(tree: Any, devices: Sequence[jax.Device] | None = None) -> Any:
  """Puts a tree of arrays on every device, sharded as `pmap_update` wants it."""
  devices = jax.local_devices() if devices is None else devices
  copy = jax.pmap(lambda tree, _: tree, axis_name=AXIS, in_axes=(None, 0),
                  out_axes=None, devices=devices)
  return copy(tree, np.zeros(len(devices), np.int8))


def replicas_agree(tree: Any) -> bool:
  """Whether every device, of all hosts, holds the same bits.

  Each sums up its own; only the sums travel. Every process must call this.

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
      # None is all hosts' devices
      devices=None if list(devices) == jax.local_devices() else devices)


def _checksum(x: jax.Array) -> jax.Array:
  """uint32 []: a sum over the bits of an array, in which the place counts."""
  if x.dtype.itemsize > 4:
    raise ValueError(f'{x.dtype} has more than 32 bits')
  bits = jax.lax.bitcast_convert_type(
      x, jnp.dtype(f'uint{8 * x.dtype.itemsize}')).astype(jnp.uint32).reshape(-1)
  place = jnp.arange(bits.size, dtype=jnp.uint32)
  # odd factors: no flipped bit is multiplied away
  return jnp.sum(bits * (2 * place + 1), dtype=jnp.uint32)


def example_grid(batch_size: int, num_sub_batches: int,
                 num_devices: int) -> np.ndarray:
  """Which global examples each device takes, int32 [devices, N, n].

  Sub-batch k is the k-th contiguous part of the global batch, whatever the
  number of devices: batch statistics are those of a sub-batch, so its members
  must not depend on the machine.

  Args:
    batch_size: global batch size B, a multiple of N * devices.
    num_sub_batches: N.
    num_devices: over all hosts.

  Returns:
    Indices into the global batch; [d, k, j] for device d.
  """
  examples = np.arange(batch_size, dtype=np.int32)
  grid = examples.reshape(num_sub_batches, num_devices, -1)
  return np.ascontiguousarray(grid.transpose(1, 0, 2))


def local_example_grid(batch_size: int, num_sub_batches: int) -> np.ndarray:
  """The part of `example_grid` for the devices of this process."""
  grid = example_grid(batch_size, num_sub_batches, jax.device_count())
  here = [i for i, device in enumerate(jax.devices())
          if device.process_index == jax.process_index()]
  return grid[here]


def shard(batch: Any) -> Any:
  """Puts host arrays [local devices, ...] on the local devices."""
  mesh = jax.sharding.Mesh(np.array(jax.local_devices()), (AXIS,))
  spec = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(AXIS))
  return jax.tree.map(lambda x: jax.device_put(x, spec), batch)


def prefetch(batches: Iterable[Any], size: int = 2,
             meanwhile: Callable[[], bool | None] = lambda: None,
             stop: threading.Event | None = None) -> Iterator[Any]:
  """Shards batches in a thread, `size` ahead of the consumer.

  An exception of `batches` is raised where the consumer takes the batch. The
  thread ends when the consumer closes the iterator.

  Args:
    batches: trees of host arrays [local devices, ...].
    size: how many batches may wait on the devices.
    meanwhile: called every few milliseconds while the consumer waits; with True
      it ends the wait.
    stop: set when the consumer closes, for `batches` that look at it: else the
      thread ends only once it has the batch that it waits for.

  Yields:
    The batches, on the devices; None where `meanwhile` has ended a wait.
  """
  waiting: queue.Queue[Any] = queue.Queue(maxsize=size)
  stop = stop or threading.Event()
  done = object()

  def put(item) -> bool:
    while not stop.is_set():
      try:
        waiting.put(item, timeout=0.1)
        return True
      except queue.Full:
        pass
    return False

  def fill():
    try:
      for batch in batches:
        if not put((shard(batch), None)):
          return
      put((done, None))
    except Exception as error:  # handed to the consumer
      put((done, error))

  thread = threading.Thread(target=fill, name='prefetch', daemon=True)
  thread.start()
  try:
    while True:
      try:
        item, error = waiting.get(timeout=_SLICE)
      except queue.Empty:
        if meanwhile():
          yield None
        continue
      if error is not None:
        raise error
      if item is done:
        return
      yield item
  finally:
    stop.set()
    thread.join(timeout=10)  # not at work when the process ends


def map_batches(fn: Callable[..., Any], each: int | None = None):
  """Maps fn(shared, batch) over this process's devices, for evaluation.

  Args:
    fn: a function of replicated values and one device's part of a batch.
    each: how long such a part is: always the same, as results may differ in their
      last bits with it; None for as short as it can be.

  Returns:
    A function (shared, batch) -> numpy outputs, where `batch` leaves [b, ...]
    have any length, at most each * devices: what is missing is padded and cut
    from the outputs.
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
