"""Starts a run from the weights of another, and logs which arrays are taken."""

from __future__ import annotations

import logging

import jax
import numpy as np

from byol_jax.devices import trees
from byol_jax.errors import UserError
from byol_jax.run import checkpoint
from byol_jax.training.step import TrainState
from byol_jax.weights import find

_console = logging.getLogger('byol_jax')

# a new run takes the networks, but neither step nor momentum
_TAKEN = ('online_params', 'online_state', 'target_params', 'target_state')
_MOST_TOLD = 8


def initialize(state: TrainState, path: str) -> TrainState:
  """Takes over the arrays of a checkpoint that fit by name, shape and dtype.

  Nothing is cast, cut or padded. The arrays that are left as they were are logged. From
  a run without a target network (SimCLR, SimSiam) the target takes the online arrays.

  Args:
    state: the state of step 0.
    path: as for `find.parse`.

  Returns:
    The state with the arrays taken over; step and optimizer stay.

  Raises:
    UserError: there is no such checkpoint, it is damaged, or no array of its
      encoder fits.
  """
  checkpoints, step = find.opened(path, 'init_from')
  fresh = trees.named(state)
  wanted = {name: (tuple(leaf.shape), str(np.dtype(leaf.dtype)))
            for name, leaf in fresh.items() if name.split('.')[0] in _TAKEN}
  try:
    opened = checkpoints.open(step)
    there = opened.leaves
    has_target = any(name.startswith('target_params.') for name in there)
    source = {name: name if has_target else name.replace('target_', 'online_', 1)
              for name in wanted}
    read = opened.read({source[name]: spec for name, spec in wanted.items()})
    # a buffer of its own for each
    taken = {name: read[source[name]].copy() for name in wanted if source[name] in read}
  except checkpoint.DamagedError as error:
    raise UserError(f'config key init_from is {path!r}: the checkpoint is '
                    f'damaged ({error})') from error
  finally:
    checkpoints.close()
  encoder = [name for name in wanted if name.startswith('online_params.encoder')]
  if not any(name in taken for name in encoder):
    raise UserError(
        f'config key init_from is {path!r}: no array of its encoder fits this '
        f'network, {encoder[0]} for example is {there.get(encoder[0], "missing")} '
        f'there and {wanted[encoder[0]]} here; use the same config keys network.*')
  left = [f'{name} ({there.get(source[name], "missing")} there, {spec} here)'
          for name, spec in wanted.items() if name not in taken]
  more = len(left) - _MOST_TOLD
  _console.info(
      'init_from: took %d of %d arrays from step %d of %s%s', len(taken),
      len(wanted), step, path,
      '; left as they were:\n  ' + '\n  '.join(left[:_MOST_TOLD])
      + (f'\n  and {more} more' if more > 0 else '') if left else '')
  return jax.tree.unflatten(jax.tree.structure(state), [
      taken.get(name, leaf) for name, leaf in fresh.items()])
