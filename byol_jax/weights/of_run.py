"""Reads the encoder of a run's checkpoint, and passes over damaged checkpoints."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import numpy as np

from byol_jax import errors
from byol_jax.devices import trees
from byol_jax.errors import UserError
from byol_jax.run import checkpoint
from byol_jax.weights import find

_console = logging.getLogger('byol_jax')


def read(path: str, network: str,
         ) -> tuple[Any, dict[str, dict[str, dict[str, np.ndarray]]], str, int]:
  """Reads an encoder from a run's checkpoint.

  Args:
    path: as for `find.parse`; where no step is named, the newest sound one is taken.
    network: 'online' or 'target'.

  Returns:
    The config, the leaves {'params': ..., 'state': ...}, the network and the step.

  Raises:
    UserError: there is no such checkpoint, it is damaged, or it lacks the network.
  """
  damaged = []
  while True:
    checkpoints, step = find.opened(path, 'weights', without=damaged)
    with contextlib.closing(checkpoints):
      try:
        opened = checkpoints.open(step)
        arrays = opened.read({
            name: leaf for name, leaf in opened.leaves.items() if name.startswith(
                (f'{network}_params.encoder', f'{network}_state.encoder'))})
        break
      except (checkpoint.DamagedError, UserError) as error:
        # a checkpoint that is gone has a newer one: a run keeps its newest
        if not find.is_gone(checkpoints, step, error):
          damaged.append(step)
          _tell_damaged(checkpoints, path, damaged, error)
        elif find.parse(path)[1] is not None:
          raise UserError(
              f'cannot read checkpoint {step} of {path!r}: the run removed it '
              'meanwhile; take a newer one, or let the run keep more '
              '(checkpoint.keep)') from error
  if not arrays and network == 'target':
    raise UserError(f'config key evaluation.network is {network!r}, but the method of '
                    f'{path!r} has no target network: set it to online')
  found = trees.nested(arrays)
  return opened.meta.get('config'), {
      kind: found.get(f'{network}_{kind}', {}) for kind in ('params', 'state')
  }, network, step


def _tell_damaged(checkpoints: checkpoint.Checkpoints, path: str, damaged: list[int],
                  error: Exception) -> None:
  """Warns that an older checkpoint is taken; raises UserError if none may be."""
  if isinstance(error, UserError):  # a newer byol_jax wrote it
    raise UserError(f'cannot read checkpoint {damaged[-1]} of {path!r}: {error}'
                    ) from error
  what = (f'damaged{", or being removed by the run" if error.__cause__ else ""} '
          f'({errors.one_line(error)})')
  others = [x for x in checkpoints.steps() if x not in damaged]
  if find.parse(path)[1] is not None or not others:
    raise UserError(
        f'config key weights is {path!r}: checkpoint {damaged[-1]} is {what}; '
        f'the others: {find.listed(others)}') from error
  _console.warning('checkpoint %d of %s is %s: taking %d, the one '
                   'before it', damaged[-1], path, what, others[-1])
