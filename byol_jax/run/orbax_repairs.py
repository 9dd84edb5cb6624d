"""orbax with its repairs: the only file of run/ that imports it.

Each repair says what it works around, and where that was reported. "No issue known" is
followed by a way to see it, with orbax-checkpoint 0.12.8.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
import contextlib
import json
import logging
import os
from typing import Any

from etils import epath
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from byol_jax import errors
from byol_jax.run.manifest import DamagedError
from byol_jax.run.manifest import Leaf

_MOST_METADATA = 8 << 20  # bytes of a JSON file; a ResNet-200 takes less than 1 MiB
_UNFINISHED = 'orbax-checkpoint-tmp'


class Manager:
  """orbax's CheckpointManager for one process, which can save again after a failure.

  A checkpoint has two items: `state`, {name: array}, and `manifest`, JSON.

  Attributes:
    orbax: the present manager, for calls that need no repair.
  """

  def __init__(self, directory: epath.Path, *, max_to_keep: int | None,
               keep_every: int | None, writes: bool):
    """Opens a directory; see `Checkpoints`. Only one of all processes `writes`."""
    self._directory, self._writes = directory, writes
    policies = [preservation_policy.LatestN(max_to_keep)]
    if keep_every:
      policies.append(preservation_policy.EveryNSteps(keep_every))
    # several processes would wait for one another at each call
    me, several = jax.process_index(), jax.process_count() > 1
    self._alone = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me} if several else None,
        barrier_sync_key_prefix=f'process{me}' if several else None)
    self._options = ocp.CheckpointManagerOptions(
        preservation_policy=preservation_policy.AnyPreservationPolicy(policies),
        cleanup_tmp_directories=writes, create=False,
        multiprocessing_options=self._alone)
    self.orbax = self._open()

  def _open(self) -> ocp.CheckpointManager:
    return ocp.CheckpointManager(
        self._directory, options=self._options, item_handlers={
            'state': ocp.PyTreeCheckpointHandler(multiprocessing_options=self._alone),
            'manifest': ocp.JsonCheckpointHandler(multiprocessing_options=self._alone)})

  def save(self, step: int, arrays: Mapping[str, np.ndarray],
           manifest: Mapping[str, Any]) -> None:
    """Begins to write; returns when `arrays` may change."""
    self.orbax.save(
        step,
        args=ocp.args.Composite(
            # no empty arrays: https://github.com/google/orbax/issues/2587
            state=ocp.args.PyTreeSave(
                {name: array for name, array in arrays.items() if array.size}),
            manifest=ocp.args.JsonSave(manifest)),
        # else a step below the latest would be skipped without a warning:
        # https://github.com/google/orbax/issues/527
        force=True)

  def close(self) -> None:
    """Ends orbax's threads; ignores their errors."""
    with contextlib.suppress(Exception):
      self.orbax.close()

  @contextlib.contextmanager
  def failures(self) -> Iterator[None]:
    """Turns orbax's errors in the block into OSErrors, and makes it able to save again.

    A manager raises the error of a failed save for ever, and leaves its files on the
    disk, so a new one takes its place (the behaviour since
    https://github.com/google/orbax/issues/605).
    """
    try:
      yield
    except Exception as error:  # untyped: tensorstore's, orbax's, the system's
      with contextlib.suppress(Exception):  # the next call finds it as it is
        self.close()
        self.clean()
        self.orbax = self._open()
      raise OSError(errors.one_line(error)) from error

  def clean(self) -> None:
    """Removes the files of failed saves; must not be called during a save."""
    if self._writes:
      with contextlib.suppress(Exception):
        for left in self._directory.glob(f'*.{_UNFINISHED}*'):
          left.rmtree()

  def read_manifest(self, step: int) -> Any:
    """Reads the item `manifest`; raises DamagedError if it would fill the memory."""
    for item, name in (('manifest', 'metadata'), ('state', '_METADATA')):
      if not is_small_json(self._directory / str(step) / item / name):
        raise DamagedError(f'{item}/{name} is damaged')
    return self.orbax.restore(step, args=ocp.args.Composite(
        manifest=ocp.args.JsonRestore()))['manifest']

  def read_arrays(self, step: int,
                  wanted: Mapping[str, Leaf]) -> dict[str, np.ndarray]:
    """Reads arrays of the item `state`.

    Args:
      step: a checkpoint.
      wanted: shape and dtype by name, as its manifest has them.

    Returns:
      The arrays by name, in the order of `wanted`.

    Raises:
      DamagedError: an array is missing, or not stored as `save` stores it.
      Exception: damage may raise any type.
    """
    # jax's types, not numpy's: for those orbax compares the stored shape before it
    # reads, and a forged array cannot fill the memory
    here = jax.sharding.SingleDeviceSharding(_reading_device())
    targets = {name: jax.ShapeDtypeStruct(shape, dtype, sharding=here)
               for name, (shape, dtype) in wanted.items() if 0 not in shape}
    values = {}
    if targets:
      with _forgiving_loops():
        values = self._restore(step, targets)
    for name in targets:
      if not isinstance(values.get(name), (np.ndarray, jax.Array)):
        raise DamagedError(f'{name} is missing')
    return {name: np.asarray(values.get(name, np.zeros(shape, dtype)))
            for name, (shape, dtype) in wanted.items()}

  def _restore(self, step: int, targets: Mapping[str, jax.ShapeDtypeStruct],
               ) -> Mapping[str, Any]:
    """Reads the arrays of `targets` that there are."""
    stored = self.orbax.item_metadata(step)['state'].tree
    for name, target in targets.items():
      # a chunk is unpacked whole, whatever the shape of its array (no issue known: in
      # the .zarray of a small array write large `chunks`, and a chunk of zeros)
      if name in stored and stored[name].storage.chunk_shape != target.shape:
        raise DamagedError(f'{name} is not stored as byol_jax stores it')
    restore_args = ocp.checkpoint_utils.construct_restore_args(targets)
    return self.orbax.restore(step, args=ocp.args.Composite(
        state=ocp.args.PyTreeRestore(
            targets, partial_restore=True, restore_args=restore_args)))['state']


def steps(directory: epath.Path) -> list[int]:
  """Returns the steps of the complete checkpoints, ascending; damaged ones too.

  orbax's own list is that of a manager, from its last look. Older versions had 007, and
  files, in it; 0.12.8 has not.
  """
  found = []
  for path in directory.iterdir() if directory.is_dir() else ():
    if path.name.isdecimal() and str(int(path.name)) == path.name:
      # ValueError: orbax's, for a folder that a run has removed meanwhile
      with contextlib.suppress(FileNotFoundError, ValueError):
        if path.is_dir() and ocp.utils.is_checkpoint_finalized(path):
          found.append(int(path.name))
  return sorted(found)


def is_being_written(directory: epath.Path, step: int | None) -> bool:
  """Returns whether a step, or for None any step, has an unfinished checkpoint."""
  return any(directory.glob(f'{"*" if step is None else step}.{_UNFINISHED}*'))


def unopenable(step_folder: epath.Path) -> str | None:
  """Returns the file of a checkpoint that keeps orbax from opening any; None without.

  orbax reads the metadata of every checkpoint before anything else, and crashes on
  a list, or a nest of lists (no issue known: write [] into _CHECKPOINT_METADATA, and
  open the manager). It works without the file.
  """
  path = step_folder / '_CHECKPOINT_METADATA'
  return path.name if path.exists() and not is_small_json(path) else None


def is_small_json(path: epath.Path) -> bool:
  """Returns whether a file holds a JSON object too small to fill the memory."""
  try:
    # not stat: https://github.com/google/etils/issues/790
    with path.open('rb') as f:
      data = f.read(_MOST_METADATA + 1)
    return len(data) <= _MOST_METADATA and isinstance(json.loads(data), dict)
  except (ValueError, RecursionError):
    return False


def why_unreadable(folder: epath.Path) -> Exception | None:
  """Returns the error that keeps a folder's files from being read; None without.

  orbax and tensorstore raise the same ValueErrors for a disk that fails and for bytes
  that are damaged: only reading the bytes shows which it is.
  """
  try:
    for path in folder.iterdir():
      if path.is_dir():
        if error := why_unreadable(path):
          return error
      else:
        path.read_bytes()
    return None
  except FileNotFoundError:
    return None  # waiting is of no use
  except Exception as error:
    return error


def silence() -> None:
  """Drops the pages that orbax prints about a failed save, whose error is raised, too.

  Only for programs: it changes the output of the whole process.
  """
  logging.getLogger('absl').addFilter(
      lambda record: f'{os.sep}orbax{os.sep}' not in record.pathname)
  logging.getLogger('asyncio').setLevel(logging.CRITICAL)
  asyncio.set_event_loop_policy(_ForgivingLoops())


class _ForgivingLoops(asyncio.DefaultEventLoopPolicy):
  """A policy of event loops that accept calls after their end, and drop them."""

  def new_event_loop(self):
    return _forgiving(super().new_event_loop())


def _forgiving(loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
  """Makes a loop accept calls after its end, and drop them; returns the loop.

  When one array cannot be written or read, orbax closes its loop; each array that ends
  later makes tensorstore print a traceback, since a closed loop raises (as in
  https://github.com/python/asyncio/issues/258; no issue of orbax or tensorstore known:
  save many arrays to a disk that gets full, or cut the files of a checkpoint).
  """
  call = loop.call_soon_threadsafe
  def forgiving(*args, **kwargs):
    if loop.is_closed():
      return None
    return call(*args, **kwargs)
  with contextlib.suppress(AttributeError):  # of a kind that takes none
    loop.call_soon_threadsafe = forgiving
  return loop


@contextlib.contextmanager
def _forgiving_loops() -> Iterator[None]:
  """Makes the loops that begin in the block forgiving, whatever their policy.

  For a caller's own program, which `silence` would change for good.
  """
  policy = asyncio.get_event_loop_policy()
  make = policy.new_event_loop
  with contextlib.suppress(AttributeError):
    policy.new_event_loop = lambda: _forgiving(make())
  try:
    yield
  finally:
    with contextlib.suppress(AttributeError):  # another thread may have done it
      del policy.new_event_loop


def _reading_device() -> jax.Device:
  """Returns a CPU device if there is one, since arrays go on to numpy from there."""
  try:
    return jax.local_devices(backend='cpu')[0]
  except RuntimeError:  # JAX_PLATFORMS leaves it out
    return jax.local_devices()[0]
