"""Checkpoints: saved in the background, and read to the bit or not at all.

A checkpoint holds the leaves of the train state as one flat {name: array}, and a
manifest, JSON (manifest.py). Arrays that are read are compared with the manifest; a
checkpoint that fails is set aside under another name, and the one before it is taken.

With several processes only the first one writes: the others' training does not wait
for a slow disk. orbax does the writing and reading (orbax_repairs.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import logging
import os
from typing import Any, TypeVar

from etils import epath
import jax
import numpy as np

from byol_jax import errors
from byol_jax.devices import trees
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.run import manifest as manifest_lib
from byol_jax.run import orbax_repairs
from byol_jax.run.manifest import DamagedError
from byol_jax.run.manifest import Leaf
from byol_jax.storage import failures
from byol_jax.storage import paths as paths_lib
from byol_jax.storage import retry

_console = logging.getLogger('byol_jax')

State = TypeVar('State')
T = TypeVar('T')


class Checkpoints:
  """The checkpoints of one run, `directory`/<step>.

  With several processes every one makes the same calls with the same values; process 0
  writes, and all must see the same directory.
  """

  def __init__(self, directory: str | os.PathLike, max_to_keep: int | None = None,
               *, keep_every: int | None = None, read_only: bool = False):
    """Opens the directory.

    Args:
      directory: created if it is missing; may be a bucket (gs://...).
      max_to_keep: older checkpoints are removed; None keeps all.
      keep_every: checkpoints of multiples of this step are never removed.
      read_only: for a run's readers. Without it the remains of an interrupted save are
        removed, which would hurt a run that is saving now.

    Raises:
      UserError: the directory cannot be created, or is missing and read_only; or
        read_only, and orbax cannot open what is there.
      TransientError: the storage fails.
    """
    path = os.fspath(directory)
    if not paths_lib.in_bucket(path):
      path = os.path.abspath(path)    # orbax wants it absolute
    self._directory = epath.Path(path)
    self._writes = not read_only and jax.process_index() == 0
    try:
      if read_only and not self._directory.is_dir():
        raise UserError(f'there are no checkpoints in {directory}')
      if self._writes:
        self._directory.mkdir(parents=True, exist_ok=True)
        retry.again(self._set_aside_unopenable, retry.CHECKPOINT)
      self._manager = retry.again(lambda: orbax_repairs.Manager(
          self._directory, max_to_keep=max_to_keep, keep_every=keep_every,
          writes=self._writes), retry.CHECKPOINT)
    except (UserError, TransientError):
      raise
    except Exception as error:  # untyped: tensorstore's, orbax's, the system's
      raise failures.of_storage(f'cannot open the checkpoints in {directory}: '
                                f'{errors.one_line(error)}', error) from error

  def steps(self) -> list[int]:
    """Returns the steps of the complete checkpoints, ascending; damaged ones too."""
    return orbax_repairs.steps(self._directory)

  def is_being_written(self, step: int | None) -> bool:
    """Returns whether a step, or for None any step, has an unfinished checkpoint."""
    return orbax_repairs.is_being_written(self._directory, step)

  def latest(self) -> int | None:
    """Returns the newest complete checkpoint's step; None without any."""
    return max(self.steps(), default=None)

  def save(self, step: int, state: Any, meta: Mapping[str, Any]) -> None:
    """Saves in the background; returns when `state` may be donated.

    A step that is saved already stays as it is. If a write fails in the background, the
    next call of `save`, `check` or `wait` raises the error, and makes the next `save`
    possible.

    Args:
      step: steps done.
      state: a tree of fully replicated jax arrays or numpy arrays, of at most 32 bits.
      meta: a JSON value.

    Raises:
      OSError: the storage failed, now or in the background.
    """
    if not self._writes:
      if jax.process_index() == 0:
        raise ValueError(f'{self._directory} was opened to be read')
      return
    arrays = _to_numpy(trees.named(state))
    manifest = manifest_lib.make(arrays, meta)
    with self._manager.failures():
      self._manager.orbax.check_for_errors()
      if step not in self.steps():
        self._manager.save(step, arrays, manifest)

  def check(self) -> None:
    """Raises OSError if a save has failed in the background; does not wait."""
    if self._writes:
      with self._manager.failures():
        self._manager.orbax.check_for_errors()

  def is_saving(self) -> bool:
    """Returns whether a save is under way in the background."""
    return self._manager.orbax.is_saving_in_progress()

  def wait(self) -> None:
    """Waits until everything is on the disk; raises OSError if that failed."""
    with self._manager.failures():
      self._manager.orbax.wait_until_finished()
    self._manager.clean()

  def close(self) -> None:
    """Waits, then ends orbax's threads; a save that fails is a warning."""
    try:
      self.wait()
    except OSError as error:
      _console.warning('could not save (%s)', error)
    finally:
      self._manager.close()

  def open(self, step: int) -> Opened:
    """Opens a checkpoint to be read.

    Raises:
      UserError: there is no such checkpoint, or a newer byol_jax wrote it.
      DamagedError: its manifest is not as it was written.
      TransientError: the checkpoint cannot be read now.
    """
    steps = self.steps()
    if step not in steps:
      raise UserError(f'there is no checkpoint of step {step} in {self._directory}; '
                      f'there are: {steps or "none"}')
    return Opened(self._directory / str(step), self._manager)

  def restore_latest(self, like: State) -> tuple[Opened, State] | None:
    """Restores the newest sound checkpoint; sets damaged ones aside as <step>.damaged.

    Args:
      like: as for `Opened.restore`.

    Returns:
      The checkpoint, and `like` with its values; None if nothing was ever saved.

    Raises:
      UserError: all checkpoints are damaged; or as `Opened.restore`.
      TransientError: a checkpoint cannot be read now.
    """
    damaged = []
    for step in reversed(self.steps()):
      try:
        opened = Opened(self._directory / str(step), self._manager)
        state = opened.restore(like)
      except DamagedError as error:
        _console.warning('checkpoint %s is damaged: %s',
                         self._directory / str(step), error)
        damaged.append(step)
        continue
      self._set_aside(damaged)
      if damaged:
        self._manager.orbax.reload()
      return opened, state
    # damaged now or earlier: a run must not start again from its beginning by itself
    damaged += [path.name for path in self._directory.glob('*.damaged*')]
    if damaged:
      raise UserError(
          f'every checkpoint in {self._directory} is damaged '
          f'({", ".join(map(str, damaged))}): bring back a copy, or name another '
          '--workdir to begin again')
    return None

  def _set_aside_unopenable(self) -> None:
    """Sets aside the checkpoints that would keep orbax from opening the others."""
    for step in self.steps():
      if name := orbax_repairs.unopenable(self._directory / str(step)):
        _console.warning('checkpoint %s is damaged: %s is not what orbax '
                         'writes', self._directory / str(step), name)
        self._set_aside([step])

  def _set_aside(self, steps: list[int]) -> None:
    """Sets checkpoints aside, so that their steps can be saved again."""
    for step in steps if self._writes else ():
      path = self._directory / str(step)
      try:
        path.rename(_free_name(self._directory / f'{step}.damaged'))
      except OSError as error:
        raise UserError(f'cannot set the damaged checkpoint {path} aside: '
                        f'{errors.one_line(error)}; move it away') from error


class Opened:
  """A checkpoint whose manifest was read, once, and is sound.

  Attributes:
    step: steps done when it was saved.
    leaves: shape and dtype of each saved leaf, by name.
    meta: the value given to `Checkpoints.save`.
    digest: differs between any two checkpoints.
  """

  def __init__(self, folder: epath.Path, manager: orbax_repairs.Manager):
    """Reads the manifest of a complete checkpoint; errors as for `Checkpoints.open`."""
    self.step = int(folder.name)
    self._folder, self._manager = folder, manager
    self._manifest = _insist(folder, lambda: manager.read_manifest(self.step))
    manifest_lib.check(self._manifest)
    self.leaves = manifest_lib.leaves(self._manifest)
    self.meta: dict[str, Any] = self._manifest['meta']
    self.digest: str = self._manifest['sha256']

  def restore(self, like: State) -> State:
    """Reads the whole state.

    Args:
      like: a tree with the structure, shapes and dtypes that the checkpoint must have:
        arrays, or the result of jax.eval_shape.

    Returns:
      `like` with the saved values, as numpy arrays.

    Raises:
      UserError: the checkpoint differs from `like` in any name, shape or dtype; the
        message lists the first differences.
      DamagedError, TransientError: as `Checkpoints.open`.
    """
    expected = trees.spec(like)
    if differences := manifest_lib.differences(self.leaves, expected):
      raise UserError(
          f'checkpoint {self._folder} is of another network or optimizer: use its '
          'config, or another workdir (checkpoint / this run):\n  ' + differences)
    return trees.filled(like, self.read(expected))

  def read(self, like: Mapping[str, Leaf]) -> dict[str, np.ndarray]:
    """Reads the leaves that have a wanted shape and dtype.

    Args:
      like: shape and dtype of each wanted leaf, by name; `leaves` for all.

    Returns:
      The wanted leaves that the checkpoint has in this shape and dtype, by name.

    Raises:
      DamagedError, TransientError: as `Checkpoints.open`.
    """
    wanted = {name: leaf for name, leaf in like.items()
              if self.leaves.get(name) == leaf}
    arrays = _insist(self._folder, lambda: self._manager.read_arrays(self.step, wanted))
    for name, array in arrays.items():
      manifest_lib.check_array(self._manifest, name, array)
    return arrays


def _insist(folder: epath.Path, read: Callable[[], T]) -> T:
  """Reads from a checkpoint; distinguishes damage from storage that fails.

  Raises:
    DamagedError: the stored bytes can be read, but orbax cannot use them.
    TransientError: the stored bytes cannot be read, after several tries.
  """
  def attempt(is_last: bool = False) -> T:
    try:
      return read()
    except (DamagedError, UserError):
      raise
    except Exception as error:  # any type: damage has many
      failure = orbax_repairs.why_unreadable(folder)
      if failure is not None:
        raise TransientError(
            f'checkpoint {folder} cannot be read now ({errors.one_line(failure)}): '
            'mend the storage, and the same command goes on') from error
      if is_last:
        raise DamagedError(f'{type(error).__name__}: {errors.one_line(error)}'
                           ) from error
    return attempt(is_last=True)  # the storage may work again since a moment

  return retry.again(attempt, retry.CHECKPOINT,
                     lambda error, wait: isinstance(error, TransientError))


def _free_name(path: epath.Path) -> epath.Path:
  number, free = 1, path
  while free.exists():
    number += 1
    free = path.with_name(f'{path.name}-{number}')
  return free


def _to_numpy(leaves: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Returns the first shard of each array, by name.

  orbax refuses arrays that only one host holds whole, as pmap returns them
  (https://github.com/google/orbax/issues/844), and x[0] is slow.
  """
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
    if array.dtype.itemsize > 4:  # jax would read it back with 32 bits
      raise ValueError(f'{name} is {array.dtype}: at most 32 bits can be saved')
  return arrays
