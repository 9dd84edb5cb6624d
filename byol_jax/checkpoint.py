"""Checkpoints: orbax behind save, restore and latest.

A checkpoint holds two items: `state`, the leaves of the train state as one flat
{name: array}, and `meta`, JSON: the caller's own and a list of the leaves'
names, shapes and dtypes. `restore` compares that list with what the run
expects before it reads an array, because orbax by itself casts dtypes and, into
numpy arrays, returns other shapes than asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
import os
from typing import Any, TypeVar

from etils import epath
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from byol_jax.errors import UserError

State = TypeVar('State')
_MOST_DIFFERENCES = 5


class Checkpoints:
  """The checkpoints of one run, `directory`/<step>.

  With several processes every one makes the same calls with the same values;
  process 0 writes, and all must see the same directory.
  """

  def __init__(self, directory: str | os.PathLike, max_to_keep: int | None = None,
               *, read_only: bool = False):
    """Opens the directory.

    Args:
      directory: created if it is missing; may be a bucket (gs://...).
      max_to_keep: older checkpoints are removed; None keeps all.
      read_only: for a run's readers. Otherwise what an interrupted save has
        left behind is removed, which would hurt a run that is saving now.

    Raises:
      UserError: the directory cannot be created, or is missing and read_only.
    """
    path = os.fspath(directory)
    if '://' not in path:
      path = os.path.abspath(path)    # orbax wants it absolute
    self._directory = epath.Path(path)
    try:
      if read_only and not self._directory.is_dir():
        raise UserError(f'there are no checkpoints in {directory}')
      if not read_only:
        self._directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
      raise UserError(
          f'cannot write checkpoints to {directory}: {error}') from error
    self._read_only = read_only
    self._manager = ocp.CheckpointManager(
        self._directory,
        options=ocp.CheckpointManagerOptions(
            preservation_policy=preservation_policy.LatestN(max_to_keep),
            cleanup_tmp_directories=not read_only,
            create=False))

  def latest(self) -> int | None:
    """The newest complete checkpoint's step; None without any."""
    return self._manager.latest_step()

  def save(self, step: int, state: Any, meta: Mapping[str, Any]):
    """Saves in the background; returns when `state` may be donated.

    A step that is saved already is left as it is. A failed write is raised by
    the next call of `save` or `wait`.

    Args:
      step: steps done.
      state: a tree of fully replicated jax arrays or numpy arrays.
      meta: what JSON can hold.
    """
    if self._read_only:
      raise ValueError(f'{self._directory} was opened to be read')
    if step in self._manager.all_steps():
      return
    names, leaves = _flatten(state)
    leaves = _to_numpy(leaves)
    meta = {'meta': dict(meta), 'leaves': _specs(names, leaves)}
    # orbax copies numpy arrays before it returns, and refuses empty ones
    arrays = {name: leaf for name, leaf in zip(names, leaves) if leaf.size}
    self._manager.save(
        step,
        args=ocp.args.Composite(state=ocp.args.StandardSave(arrays),
                                meta=ocp.args.JsonSave(meta)),
        # else a step below the latest would be skipped without a word
        force=True)

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
    """
    names, leaves = _flatten(like)
    expected = _specs(names, leaves)
    differences = _differences(self._read_meta(step)['leaves'], expected)
    if differences:
      more = len(differences) - _MOST_DIFFERENCES
      raise UserError(
          f'checkpoint {self._directory / str(step)} is of another network or '
          'optimizer: use its config, or another workdir (checkpoint / this '
          'run):\n  ' + '\n  '.join(differences[:_MOST_DIFFERENCES])
          + (f'\n  and {more} more' if more > 0 else ''))
    values = {name: np.zeros(leaf.shape, leaf.dtype)
              for name, leaf in zip(names, leaves)}
    targets = {name: value for name, value in values.items() if value.size}
    values.update(self._manager.restore(
        step, args=ocp.args.Composite(
            state=ocp.args.StandardRestore(targets)))['state'])
    restored = [np.asarray(values[name]) for name in names]
    if _specs(names, restored) != expected:
      raise UserError(f'checkpoint {self._directory / str(step)} is damaged: '
                      'its arrays are not what its list of leaves says')
    return jax.tree.unflatten(jax.tree.structure(like), restored)

  def meta(self, step: int) -> dict[str, Any]:
    """What the caller of `save` gave as meta."""
    return self._read_meta(step)['meta']

  def wait(self):
    """Returns when everything is on the disk; raises what went wrong."""
    self._manager.wait_until_finished()

  def close(self):
    """Waits, then lets go of orbax's threads."""
    self.wait()
    self._manager.close()

  def _read_meta(self, step: int) -> dict[str, Any]:
    if step not in self._manager.all_steps():
      raise UserError(f'there is no checkpoint of step {step} in '
                      f'{self._directory}; there are: '
                      f'{sorted(self._manager.all_steps()) or "none"}')
    return self._manager.restore(
        step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))['meta']


def _flatten(tree: Any) -> tuple[list[str], list[Any]]:
  """Names such as 'online_params.projector/linear.w', and the leaves."""
  paths_and_leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  names = [jax.tree_util.keystr(path, simple=True, separator='.')
           for path, _ in paths_and_leaves]
  if len(set(names)) != len(names):
    raise ValueError('two leaves of the state have the same name')
  return names, [leaf for _, leaf in paths_and_leaves]


def _to_numpy(leaves: list[Any]) -> list[np.ndarray]:
  """Shard 0 of each: orbax refuses a pod's host-local arrays, x[0] is slow."""
  for leaf in leaves:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_replicated:
      raise ValueError('only replicated arrays can be saved, not '
                       f'{leaf.sharding} of shape {leaf.shape}')
  shards = [leaf.addressable_shards[0].data if isinstance(leaf, jax.Array)
            else leaf for leaf in leaves]
  return [np.asarray(leaf) for leaf in jax.device_get(shards)]


def _specs(names: list[str], leaves: list[Any]) -> list[list[Any]]:
  """[name, shape, dtype] of each leaf, as JSON gives them back."""
  return [[name, list(leaf.shape), str(np.dtype(leaf.dtype))]
          for name, leaf in zip(names, leaves)]


def _differences(saved: list[list[Any]],
                 expected: list[list[Any]]) -> list[str]:
  """One line for each leaf that is missing, unknown or of another kind."""
  saved = {name: f'{dtype}{shape}' for name, shape, dtype in saved}
  expected = {name: f'{dtype}{shape}' for name, shape, dtype in expected}
  return [f'{name}: {saved.get(name, "missing")} / '
          f'{expected.get(name, "missing")}'
          for name in dict.fromkeys([*expected, *saved])
          if saved.get(name) != expected.get(name)]
