"""Checkpoints: orbax behind save, restore and latest.

A checkpoint holds two items: `state`, the leaves of the train state as one flat
{name: array}, and `manifest`, JSON (manifest.py). What is read is compared with
its manifest to the bit; a checkpoint that fails is set aside under another
name, and the one before it is taken.

Of several processes the first one writes, alone: no barrier stands between a
slow disk and the others' training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import contextlib
import logging
import os
import time
from typing import Any, TypeVar

from etils import epath
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from byol_jax import errors
from byol_jax.devices import trees
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.run import manifest as manifest_lib
from byol_jax.run import orbax_repairs
from byol_jax.run.manifest import DamagedError
from byol_jax.storage import failures
from byol_jax.storage import paths as paths_lib
from byol_jax.storage import retry

_console = logging.getLogger('byol_jax')

State = TypeVar('State')
T = TypeVar('T')


class Checkpoints:
  """The checkpoints of one run, `directory`/<step>.

  With several processes every one makes the same calls with the same values;
  process 0 writes, and all must see the same directory.
  """

  def __init__(self, directory: str | os.PathLike, max_to_keep: int | None = None,
               *, keep_every: int | None = None, read_only: bool = False):
    """Opens the directory.

    Args:
      directory: created if it is missing; may be a bucket (gs://...).
      max_to_keep: older checkpoints are removed; None keeps all.
      keep_every: checkpoints of multiples of this step are never removed.
      read_only: for a run's readers. Otherwise what an interrupted save has
        left behind is removed, which would hurt a run that is saving now.

    Raises:
      UserError: the directory cannot be created, or is missing and read_only;
        or read_only, and orbax cannot open what is there.
    """
    path = os.fspath(directory)
    if not paths_lib.in_bucket(path):
      path = os.path.abspath(path)    # orbax wants it absolute
    self._directory = epath.Path(path)
    self._writes = not read_only and jax.process_index() == 0
    self._max_to_keep, self._keep_every = max_to_keep, keep_every
    self._manager = None
    try:
      if read_only and not self._directory.is_dir():
        raise UserError(f'there are no checkpoints in {directory}')
      if self._writes:
        self._directory.mkdir(parents=True, exist_ok=True)
      retry.again(self._set_aside_unopenable, retry.CHECKPOINT)
      self._manager = retry.again(self._open, retry.CHECKPOINT)
    except (UserError, TransientError):
      raise
    except Exception as error:  # untyped: tensorstore's, orbax's, the system's
      raise failures.of_storage(f'cannot open the checkpoints in {directory}: '
                                f'{errors.one_line(error)}', error) from error

  def _open(self) -> ocp.CheckpointManager:
    policies = [preservation_policy.LatestN(self._max_to_keep)]
    if self._keep_every:
      policies.append(preservation_policy.EveryNSteps(self._keep_every))
    me, several = jax.process_index(), jax.process_count() > 1
    alone = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me} if several else None,
        barrier_sync_key_prefix=f'process{me}' if several else None)
    return ocp.CheckpointManager(
        self._directory,
        item_handlers={
            'state': ocp.PyTreeCheckpointHandler(multiprocessing_options=alone),
            'manifest': ocp.JsonCheckpointHandler(
                multiprocessing_options=alone)},
        options=ocp.CheckpointManagerOptions(
            preservation_policy=preservation_policy.AnyPreservationPolicy(
                policies),
            cleanup_tmp_directories=self._writes, create=False,
            multiprocessing_options=alone))

  def steps(self) -> list[int]:
    """The steps of the complete checkpoints, ascending; damaged ones too."""
    if not self._directory.is_dir():
      return []
    found = []
    # not orbax's list: it takes 007 and files for checkpoints
    for path in self._directory.iterdir():
      if path.name.isdecimal() and str(int(path.name)) == path.name:
        # ValueError: orbax's, of a folder that a run has removed meanwhile
        with contextlib.suppress(FileNotFoundError, ValueError):
          if path.is_dir() and ocp.utils.is_checkpoint_finalized(path):
            found.append(int(path.name))
    return sorted(found)

  def is_being_written(self, step: int | None) -> bool:
    """Whether there is an unfinished checkpoint of a step; None for any."""
    return any(self._directory.glob(
        f'{"*" if step is None else step}.orbax-checkpoint-tmp*'))

  def latest(self) -> int | None:
    """The newest complete checkpoint's step; None without any."""
    return max(self.steps(), default=None)

  def save(self, step: int, state: Any, meta: Mapping[str, Any]) -> None:
    """Saves in the background; returns when `state` may be donated.

    A step that is saved already is left as it is. A write that fails in the
    background is raised by the next call of `save`, `check` or `wait`, which
    also makes the next `save` possible.

    Args:
      step: steps done.
      state: a tree of fully replicated jax arrays or numpy arrays, of at most
        32 bits.
      meta: what JSON can hold.

    Raises:
      OSError: the storage failed, now or in the background.
    """
    if not self._writes:
      if jax.process_index() == 0:
        raise ValueError(f'{self._directory} was opened to be read')
      return
    arrays = _to_numpy(trees.named(state))
    manifest = manifest_lib.make(arrays, meta)
    with self._failures():
      self._manager.check_for_errors()
      if step in self.steps():
        return
      # orbax copies numpy arrays before it returns, and refuses empty ones
      arrays = {name: array for name, array in arrays.items() if array.size}
      self._manager.save(
          step,
          args=ocp.args.Composite(state=ocp.args.PyTreeSave(arrays),
                                  manifest=ocp.args.JsonSave(manifest)),
          # else a step below the latest would be skipped without a word
          force=True)

  def check(self) -> None:
    """OSError if a save has failed in the background; does not wait."""
    if self._writes:
      with self._failures():
        self._manager.check_for_errors()

  def is_saving(self) -> bool:
    """Whether a save is under way in the background."""
    return self._manager.is_saving_in_progress()

  def wait(self) -> None:
    """Returns when everything is on the disk; OSError if that failed."""
    with self._failures():
      self._manager.wait_until_finished()
    self._clean()

  @contextlib.contextmanager
  def _failures(self):
    """Turns what orbax raises into OSError, and makes it able to save again."""
    try:
      yield
    except Exception as error:  # untyped, as above
      with contextlib.suppress(Exception):  # the next call finds it as it is
        self._reopen()
      raise OSError(errors.one_line(error)) from error

  def _reopen(self) -> None:
    """A new manager: the old one keeps its error, and its leavings the disk."""
    with contextlib.suppress(Exception):
      self._manager.close()
    self._clean()
    self._manager = self._open()

  def _clean(self) -> None:
    """Removes what failed saves have left; while none is under way."""
    if self._writes:
      with contextlib.suppress(Exception):
        for left in self._directory.glob('*.orbax-checkpoint-tmp*'):
          left.rmtree()

  def restore_latest(self, like: State) -> tuple[int, State] | None:
    """The newest checkpoint that is what it was when it was written.

    Damaged ones are named, and set aside as <step>.damaged.

    Args:
      like: as for `restore`.

    Returns:
      Its step, and `like` with its values; None if nothing was ever saved.

    Raises:
      UserError: there are checkpoints, all damaged; or as `restore`.
    """
    damaged = []
    for step in reversed(self.steps()):
      try:
        state = self.restore(step, like)
      except DamagedError as error:
        _console.warning('WARNING: checkpoint %s is damaged: %s',
                         self._directory / str(step), error)
        damaged.append(step)
        continue
      self._set_aside(damaged)
      return step, state
    # in this session or an earlier one: never from the beginning by itself
    damaged += [path.name for path in self._directory.glob('*.damaged*')]
    if damaged:
      raise UserError(
          f'every checkpoint in {self._directory} is damaged '
          f'({", ".join(map(str, damaged))}): bring back a copy, or name another '
          '--workdir to begin again')
    return None

  def restore(self, step: int, like: State) -> State:
    """Reads a checkpoint.

    Args:
      step: one that exists.
      like: a tree with the structure, shapes and dtypes that the checkpoint
        must have: arrays, or what jax.eval_shape returns.

    Returns:
      `like` with the saved values, as numpy arrays.

    Raises:
      UserError: there is no such checkpoint, or it differs from `like` in any
        name, shape or dtype; the message lists the first differences.
      DamagedError: it is not what it was when it was written.
    """
    expected = {name: (tuple(leaf.shape), str(np.dtype(leaf.dtype)))
                for name, leaf in trees.named(like).items()}
    manifest = self._manifest(step)
    differences = manifest_lib.differences(manifest_lib.leaves(manifest), expected)
    if differences:
      raise UserError(
          f'checkpoint {self._directory / str(step)} is of another network or '
          'optimizer: use its config, or another workdir (checkpoint / this '
          f'run):\n  {differences}')
    arrays = self._read(step, manifest, expected)
    return jax.tree.unflatten(jax.tree.structure(like), list(arrays.values()))

  def read(self, step: int,
           like: Mapping[str, manifest_lib.Leaf]) -> dict[str, np.ndarray]:
    """Reads the leaves of a checkpoint that have a wanted shape and dtype.

    Args:
      step: one that exists.
      like: shape and dtype of each wanted leaf, by name.

    Returns:
      Those that the checkpoint has, of that very shape and dtype, by name.

    Raises:
      UserError: there is no such checkpoint.
      DamagedError: it is not what it was when it was written.
    """
    manifest = self._manifest(step)
    saved = manifest_lib.leaves(manifest)
    return self._read(step, manifest, {
        name: leaf for name, leaf in like.items() if saved.get(name) == leaf})

  def leaves(self, step: int) -> dict[str, manifest_lib.Leaf]:
    """Shape and dtype of each saved leaf, by name."""
    return manifest_lib.leaves(self._manifest(step))

  def meta(self, step: int) -> dict[str, Any]:
    """What the caller of `save` gave as meta."""
    return self._manifest(step)['meta']

  def digest(self, step: int) -> str:
    """What tells a checkpoint from every other."""
    return self._manifest(step)['sha256']

  def close(self) -> None:
    """Waits, then lets go of orbax's threads; a save that fails is a warning."""
    try:
      self.wait()
    except OSError as error:
      _console.warning('WARNING: could not save (%s)', error)
    finally:
      with contextlib.suppress(Exception):
        self._manager.close()

  def _manifest(self, step: int) -> dict[str, Any]:
    if step not in self.steps():
      raise UserError(f'there is no checkpoint of step {step} in '
                      f'{self._directory}; there are: '
                      f'{self.steps() or "none"}')
    def read():
      for item, name in (('manifest', 'metadata'), ('state', '_METADATA')):
        if not orbax_repairs.is_small_json(self._directory / str(step) / item / name):
          raise DamagedError(f'{item}/{name} is damaged')
      return self._manager.restore(step, args=ocp.args.Composite(
          manifest=ocp.args.JsonRestore()))['manifest']
    manifest = self._ask(step, read)
    manifest_lib.check(manifest)
    return manifest

  def _read(self, step: int, manifest: Mapping[str, Any],
            wanted: Mapping[str, manifest_lib.Leaf]) -> dict[str, np.ndarray]:
    """The wanted leaves, which the manifest has, compared with it."""
    values = {name: np.zeros(shape, dtype)
              for name, (shape, dtype) in wanted.items() if 0 in shape}
    # jax's types, not numpy's: for those orbax compares the stored shape before
    # it reads, and a forged array cannot fill the memory
    here = jax.sharding.SingleDeviceSharding(_reading_device())
    targets = {name: jax.ShapeDtypeStruct(shape, dtype, sharding=here)
               for name, (shape, dtype) in wanted.items() if 0 not in shape}
    def read():
      stored = self._manager.item_metadata(step)['state'].tree
      for name, target in targets.items():
        # a chunk is unpacked whole, whatever the shape of its array
        if name in stored and stored[name].storage.chunk_shape != target.shape:
          raise DamagedError(f'{name} is not stored as byol_jax stores it')
      return self._manager.restore(step, args=ocp.args.Composite(
          state=ocp.args.PyTreeRestore(
              targets, partial_restore=True,
              restore_args=ocp.checkpoint_utils.construct_restore_args(targets)))
                                   )['state']
    if targets:
      values |= self._ask(step, read)
    for name in wanted:
      if not isinstance(values[name], (np.ndarray, jax.Array)):
        raise DamagedError(f'{name} is missing')
      values[name] = np.asarray(values[name])
      manifest_lib.check_array(manifest, name, values[name])
    return {name: values[name] for name in wanted}

  def _ask(self, step: int, act: Callable[[], T]) -> T:
    """Reads; tells damage from a storage that fails.

    Raises:
      DamagedError: what is stored can be read, but not by orbax.
      TransientError: it cannot be read at all, again and again.
    """
    folder, readable = self._directory / str(step), 0
    for wait in (*retry.CHECKPOINT.waits, None, None):
      try:
        return act()
      except (DamagedError, UserError):
        raise
      except Exception as error:  # of any type, after damage of any kind
        failure = orbax_repairs.why_unreadable(folder)
        readable += failure is None
        if readable > 1:  # the first time it may have come back just now
          raise DamagedError(f'{type(error).__name__}: {errors.one_line(error)}'
                             ) from error
        if failure is not None:
          if wait is None:
            raise TransientError(
                f'checkpoint {folder} cannot be read now ({errors.one_line(failure)}): '
                'mend the storage, and the same command goes on') from error
          time.sleep(wait)
    raise AssertionError('not reached')

  def _set_aside_unopenable(self) -> None:
    """Those whose metadata orbax, which reads it first of all, does not survive."""
    for step in self.steps():
      path = self._directory / str(step) / '_CHECKPOINT_METADATA'
      # orbax can do without
      if self._writes and path.exists() and not orbax_repairs.is_small_json(path):
        _console.warning('WARNING: checkpoint %s is damaged: %s is not what orbax '
                         'writes', path.parent, path.name)
        self._set_aside([step])

  def _set_aside(self, steps: list[int]) -> None:
    """Renames checkpoints, so that their steps can be saved again."""
    if not self._writes:
      return
    for step in steps:
      path = self._directory / str(step)
      try:
        path.rename(_free_name(self._directory / f'{step}.damaged'))
      except OSError as error:
        raise UserError(f'cannot set the damaged checkpoint {path} aside: '
                        f'{errors.one_line(error)}; move it away') from error
    if steps and self._manager is not None:
      self._manager.reload()


def _free_name(path: epath.Path) -> epath.Path:
  number, free = 1, path
  while free.exists():
    number += 1
    free = path.with_name(f'{path.name}-{number}')
  return free


def _reading_device() -> jax.Device:
  """A processor where there is one: what is read goes on to numpy."""
  try:
    return jax.local_devices(backend='cpu')[0]
  except RuntimeError:  # JAX_PLATFORMS leaves it out
    return jax.local_devices()[0]


def _to_numpy(leaves: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Shard 0 of each: orbax refuses a pod's host-local arrays, x[0] is slow."""
  for leaf in leaves.values():
    if isinstance(leaf, jax.Array) and not leaf.is_fully_replicated:
      raise ValueError('only replicated arrays can be saved, not '
                       f'{leaf.sharding} of shape {leaf.shape}')
  shards = {name: leaf.addressable_shards[0].data
            if isinstance(leaf, jax.Array) else leaf
            for name, leaf in leaves.items()}
  arrays = {name: np.asarray(leaf)
            for name, leaf in jax.device_get(shards).items()}
  for name, array in arrays.items():
    if array.dtype.itemsize > 4:  # would come back as jax holds it
      raise ValueError(f'{name} is {array.dtype}: at most 32 bits can be saved')
  return arrays
