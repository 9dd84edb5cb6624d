"""Saves checkpoints; a failure is reported and tried again, and does not end a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import contextlib
import logging
import time
from typing import Any

from byol_jax.errors import TransientError
from byol_jax.run.checkpoint import Checkpoints
from byol_jax.storage import retry

_console = logging.getLogger('byol_jax')


class Saver:
  """Saves checkpoints of a run, and handles failures.

  While the run goes on, a failure is a warning, and the next try is at the next
  step after some seconds, more each time. At its end the run tries a few times and
  then gives up with an error.
  """

  def __init__(self, checkpoints: Checkpoints, directory: str,
               clock: Callable[[], float] = time.monotonic,
               sleep: Callable[[float], None] = time.sleep):
    self._checkpoints = checkpoints
    self._directory = directory
    self._clock, self._sleep = clock, sleep
    self._failures = 0  # in a row
    self._retry_at = 0.0
    self._sent: int | None = None  # not known to be on the disk yet

  def wants_retry(self) -> bool:
    """Checks the last save; returns whether it is time to try a failed one again."""
    if self._sent is not None:
      under_way = self._checkpoints.is_saving()  # first: it may fail in between
      if self._guard(self._checkpoints.check) and not under_way:
        self._sent, self._failures = None, 0
    return bool(self._failures) and (
        self._sent is None and self._clock() >= self._retry_at)

  def save(self, step: int, state: Any, meta: Mapping[str, Any]) -> None:
    """Saves as `Checkpoints.save` does; a failure is reported, not raised."""
    if self._guard(lambda: self._checkpoints.save(step, state, meta)):
      self._sent = step

  def save_last(self, step: int, state: Any, meta: Mapping[str, Any]) -> None:
    """Saves a state and waits until it is on the disk.

    Raises:
      TransientError: the state cannot be written.
    """
    def save() -> None:
      self._checkpoints.save(step, state, meta)
      self._checkpoints.wait()

    def may_pass(error: Exception, wait: float) -> bool:
      if isinstance(error, OSError):
        _console.warning('could not save step %d (%s); trying again in %g s',
                         step, error, wait)
      return isinstance(error, OSError)

    try:
      retry.again(save, retry.LAST_SAVE, may_pass, self._sleep)
    except OSError as error:
      raise TransientError(
          f'step {step} could not be saved in {self._directory}: {error}\n'
          f'{self.last_good()}; make room, or mend the storage, and run the same '
          'command again') from error

  def last_good(self) -> str:
    """Returns the name of the checkpoint that the run can go on from.

    Waits for a save under way: it may be the newest.
    """
    try:
      with contextlib.suppress(OSError):  # then an older one is the last good
        self._checkpoints.wait()
      step = self._checkpoints.latest()
    except Exception as error:  # untyped, of a bucket
      return f'the checkpoints cannot be listed ({error})'
    return ('there is no checkpoint yet' if step is None else
            f'the last good checkpoint is of step {step}')

  def _guard(self, act: Callable[[], None]) -> bool:
    try:
      act()
      return True
    except OSError as error:
      waits = retry.BACKGROUND_SAVE.waits
      wait = waits[min(self._failures, len(waits) - 1)]
      self._failures += 1
      self._retry_at = self._clock() + wait
      self._sent = None
      _console.warning(
          'could not save (%s); training goes on, %s; trying again in '
          '%g s', error, self.last_good(), wait)
      return False
