"""Finds and reports numbers that are not finite, and keeps them from being saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import logging
from typing import Any

import jax
import jax.numpy as jnp

from byol_jax.devices import mapped
from byol_jax.devices import trees
from byol_jax.errors import TransientError
from byol_jax.errors import UserError

_console = logging.getLogger('byol_jax')


class Health:
  """Watches the losses and gradients of a run.

  Attributes:
    skipped: the number of updates left out in this session.
  """

  def __init__(self, on_nonfinite: str, max_skipped: int,
               last_good: Callable[[], str]):
    """Begins to count.

    Args:
      on_nonfinite: 'stop', or 'skip' where the step leaves such updates out.
      max_skipped: the number of updates in a row that may be skipped.
      last_good: names the last good checkpoint, for messages.
    """
    self._on_nonfinite, self._max_skipped = on_nonfinite, max_skipped
    self._last_good = last_good
    self._in_a_row = 0
    self.skipped = 0

  def check(self, step: int, metrics: Mapping[str, Any]) -> None:
    """Checks the metrics of a step; must be called for every step, in order.

    Args:
      step: steps done.
      metrics: the last step's metrics.

    Raises:
      UserError: they are not finite, and the run must stop.
    """
    if float(metrics['finite']):
      self._in_a_row = 0
      return
    self._in_a_row += 1
    self.skipped += 1
    terms = ', '.join(f'{name} {float(metrics[name]):.4g}' for name in (
        'loss', 'probe_loss', 'gradient_norm', 'learning_rate')
                      if name in metrics)
    if self._on_nonfinite == 'skip' and self._in_a_row <= self._max_skipped:
      _console.warning(
          'step %d is not finite (%s): its update was skipped, %d in a '
          'row of at most %d', step, terms, self._in_a_row, self._max_skipped)
      return
    many = (f' and {self._in_a_row - 1} before it'
            if self._on_nonfinite == 'skip' else '')
    raise UserError(
        f'step {step}{many} is not finite: {terms}\n{self._last_good()}, and '
        'nothing was saved since; lower --config.train.base_learning_rate or '
        'lengthen --config.train.warmup_epochs with a new --workdir, or go on '
        "with --config.safety.on_nonfinite='skip'")

  def check_state(self, step: int, state: Any) -> None:
    """Checks that the state is finite.

    A number in it that is not finite may not show in the loss: max(NaN, 0), of a
    ReLU, is 0 on some processors.

    Raises:
      UserError: an array of the state is not finite; names it.
    """
    if bool(_all_finite(state)):
      return
    bad = [name for name, x in trees.named(state).items() if not bool(_all_finite(x))]
    raise UserError(
        f'the state is not finite after step {step}, and is not saved: '
        f'{", ".join(bad[:4])}{" ..." if bad[4:] else ""}\n{self._last_good()}')

  def check_replicas(self, step: int, state: Any) -> None:
    """Checks that all devices, of all hosts, hold the same state.

    Raises:
      TransientError: the devices hold different states.
    """
    if not mapped.replicas_agree(state):
      raise TransientError(
          f'the devices do not hold the same state at step {step}: one of them '
          f'computes wrongly\n{self._last_good()}, and nothing was saved since; '
          'the same command goes on from there, best on other hardware')


@jax.jit
def _all_finite(tree: Any) -> jax.Array:
  return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x))
                            for x in jax.tree.leaves(tree)]))
