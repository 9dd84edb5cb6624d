"""Restores the same checkpoint on all processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax

from byol_jax.devices import hosts
from byol_jax.errors import UserError
from byol_jax.run import checkpoint

State = TypeVar('State')


def together(checkpoints: checkpoint.Checkpoints, like: State,
             check: Callable[[checkpoint.Opened], None] = lambda _: None,
             ) -> tuple[checkpoint.Opened | None, State | None]:
  """Returns the checkpoint that all processes take and its state; two Nones for none.

  Process 0 chooses (`Checkpoints.restore_latest`), and calls `check`, which may refuse
  it; the others must be able to read the same checkpoint.
  """
  opened, state = None, None
  with hosts.together('checkpoints'):
    if jax.process_index() == 0:
      opened, state = checkpoints.restore_latest(like) or (None, None)
      if opened:
        check(opened)
  step = hosts.from_first(opened.step if opened else 0)
  with hosts.together('checkpoints'):
    if step and not opened:
      try:
        opened = checkpoints.open(step)
        state = opened.restore(like)
      except checkpoint.DamagedError as error:
        raise UserError(f'cannot read checkpoint {step} as process 0 can ({error})'
                        ) from error
  hosts.agree({f'checkpoint {step}': opened.digest if opened else ''})
  return opened, state
