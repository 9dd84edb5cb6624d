"""One session of a run, which watches the loop so that nothing learned is lost.

  for step in session.steps():
    batch = session.next(batches)
    if batch is None:
      break                               # a signal came meanwhile; all is saved
    state, metrics, asked = update(state, shared, batch, session.asked())
    session.note(step, state, metrics, asked)
    due = session.due()
    session.settle(due)
    if due.log: ... session.lap()
    if due.measure: ... session.pausing(measure, state)
    if due.saves: session.save(due)       # leaves after a signal
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import logging
import math
import time
from typing import Any, NamedTuple, TypeVar

import jax

from byol_jax.devices import mapped
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.run import signals
from byol_jax.run.health import Health
from byol_jax.run.saving import Saver
from byol_jax.run.stopwatch import Stopwatch
from byol_jax.run.watchdog import Watchdog

_console = logging.getLogger('byol_jax')

T = TypeVar('T')
_RUN_AHEAD = 2  # steps whose result is not yet fetched: more would hide a stuck device


class Cadence(NamedTuple):
  """The numbers of steps between two logs, measurements or saves."""
  log: int
  measure: int
  save: int


class Due(NamedTuple):
  """The work that is due after a step.

  Attributes:
    log: whether to write figures.
    measure: whether to measure the state.
    save: whether a checkpoint is due.
    retry: whether to try again to save, after a failure.
    last: whether this is the run's last step.
    leave: whether a signal has asked this process, or another, to leave.
  """
  log: bool
  measure: bool
  save: bool
  retry: bool
  last: bool
  leave: bool

  @property
  def saves(self) -> bool:
    """Returns whether to call `Session.save`."""
    return self.save or self.retry


class Session:
  """Watches over a loop: signals, waiting, health, saves.

  Attributes:
    left: whether a signal has ended the loop; everything is saved then.
    measuring: seconds spent in `pausing`.
  """

  def __init__(self, start_step: int, total_steps: int, cadence: Cadence, *,
               leaving: signals.Leaving, health: Health, saver: Saver,
               watchdog: Watchdog, meta: Callable[[], dict[str, Any]],
               share: Callable[[], None] | None = None):
    """Begins after `start_step`.

    Args:
      start_step: steps done in earlier sessions.
      total_steps: steps of the whole run.
      cadence: when to log, measure and save.
      leaving: tells whether a signal has come.
      health: looks at every step.
      saver: writes checkpoints.
      watchdog: gets a beat at every step; entered by the caller.
      meta: returns the values to save beside the state.
      share: shares bad images with the other processes; called at the same steps
        everywhere. None if there can be none.
    """
    self.left, self.measuring = False, 0.0
    self._step, self._total, self._cadence = start_step, total_steps, cadence
    self._leaving, self._health, self._saver = leaving, health, saver
    self._watchdog, self._meta, self._share = watchdog, meta, share
    self._alone = jax.process_count() == 1
    self._signals = [mapped.signals(asked) for asked in (False, True)]
    self._leave_at = math.inf  # the same step on every process
    self._in_flight: list[tuple[int, Any, jax.Array]] = []
    self._watch: Stopwatch | None = None  # None: there is nothing to save yet
    self._state = self._metrics = None
    self._started = time.time()

  # ------------------------------------------------------------------ a step
  def steps(self) -> Iterator[int]:
    """Yields the steps that are left to do, counted from 1; ends after leaving."""
    for step in range(self._step + 1, self._total + 1):
      yield step
      if self.left:
        return

  def next(self, batches: Iterator[Any]) -> Any:
    """Takes the next batch; saves the state if there is none.

    Returns:
      The batch; None if a signal came during the wait. The state is then saved, and
      the loop must end.
    """
    with self._kept():
      if self._watch is None:
        batch = next(batches)
      else:
        with self._watch.waiting(lambda: not self._metrics['loss'].is_ready()):
          batch = next(batches)
    if batch is None:
      self._keep()
      self._leave()
    return batch

  def meanwhile(self) -> bool:
    """Checks for signals while the loop waits for input; returns whether to leave.

    One of several processes cannot leave alone: the others wait for its step. If its
    storage hangs for good, the watchdogs end all, and the last checkpoint counts.
    """
    if self._watch is not None:
      self._watch.look()
    return self._alone and self._leaving.is_asked()

  def asked(self) -> jax.Array:
    """Returns the signal to send to the other processes with the next step."""
    return self._signals[self._leaving.is_asked()]

  def note(self, step: int, state: Any, metrics: Any, asked: jax.Array) -> None:
    """Notes a step that is on the devices, and checks the steps before it."""
    self._step, self._state, self._metrics = step, state, metrics
    self._in_flight.append((step, metrics, asked))
    self._look(_RUN_AHEAD)
    if self._watch is None:
      metrics['loss'].block_until_ready()
      _console.info('compiled and first step in %.0f s', time.time() - self._started)
      self._watch = Stopwatch(step)
      self._leaving.now = signals.Now.AFTER_SAVING
    self._watchdog.beat(f'the step after {step}')

  def due(self) -> Due:
    """Returns the work due after this step."""
    step, every = self._step, self._cadence
    last, leave = step == self._total, self.is_leaving()
    measure = (step % every.measure == 0 and not leave) or last
    log = step % every.log == 0 or measure or leave
    save = step % every.save == 0 or last or leave
    return Due(log, measure, save, not save and self._saver.wants_retry(), last, leave)

  def settle(self, due: Due) -> None:
    """Waits for the step and checks it, if work is due; then shares bad images."""
    if due.log or due.saves:
      # before the watch pauses: the step's time counts
      self._look(0)
      self._health.check_state(self._step, self._state)  # the loss may not show it
    if (due.log or due.save) and self._share is not None:
      with self._kept():
        self._share()

  @property
  def has_stepped(self) -> bool:
    """Returns whether a step of this session is done."""
    return self._watch is not None

  def is_leaving(self) -> bool:
    """Returns whether a signal ends the session at this step, on every process."""
    if self._alone:
      return self._leaving.is_asked()
    return self._step >= self._leave_at

  # ------------------------------------------------------------- the work due
  def lap(self, batch_size: int) -> dict[str, float]:
    """Returns the speed since the last lap, and the number of updates left out."""
    return self._watch.lap(
        self._step, batch_size=batch_size, total_steps=self._total) | {
            'skipped_steps': self._health.skipped}

  def pausing(self, act: Callable[..., T], *arguments: Any) -> T:
    """Returns act(*arguments); its time does not count as training."""
    before = time.time()
    with self._kept(), self._watch.paused(), self._watchdog.paused():
      result = act(*arguments)
    self.measuring += time.time() - before
    return result

  def save(self, due: Due) -> None:
    """Saves the state, in the background if the run goes on; then leaves, if asked."""
    with self._watch.paused():
      if due.save:
        self._health.check_replicas(self._step, self._state)
      save = self._saver.save_last if due.last or due.leave else self._saver.save
      save(self._step, self._state, self._meta())
    if due.leave and not due.last:
      self._leave()

  # ------------------------------------------------------------------- within
  def _look(self, most_in_flight: int) -> None:
    """Checks finished steps, until at most so many are in flight."""
    while len(self._in_flight) > most_in_flight:
      step, metrics, asked = self._in_flight.pop(0)
      if bool(asked):
        # every process has checked a step when it is two steps further
        self._leave_at = min(self._leave_at, step + _RUN_AHEAD)
      self._health.check(step, metrics)

  def _keep(self) -> None:
    """Saves the state of the last step that was begun."""
    self._look(0)
    self._health.check_state(self._step, self._state)
    self._saver.save_last(self._step, self._state, self._meta())

  @contextlib.contextmanager
  def _kept(self) -> Iterator[None]:
    """Saves the state if bad images or storage end the run."""
    try:
      yield
    except (UserError, TransientError):
      if self._watch is not None:
        self._keep()
      raise

  def _leave(self) -> None:
    self.left = True
    _console.info('saved step %d and left; the same command goes on from here',
                  self._step)
