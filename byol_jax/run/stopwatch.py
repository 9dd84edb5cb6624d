"""The speed of a run, and the time that it waits."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import math
import time


class Stopwatch:
  """The speed over the last log window, on the wall clock.

    watch = Stopwatch(step)            # after the first step: not compilation
    with watch.waiting(busy): batch = ...   # counts while the devices idle, if
                                       # look() is called every few ms
    with watch.paused(): evaluate()    # does not count at all
    watch.lap(step, ...)               # figures of this window; starts the next
  """

  def __init__(self, step: int, clock=time.perf_counter):
    self._clock = clock
    self._step, self._start = step, clock()
    self._waited = self._paused = 0.0
    self._busy = lambda: False
    self._idle_since: float | None = None

  @contextlib.contextmanager
  def waiting(self, busy: Callable[[], bool] = lambda: False):
    """Counts the time in the block as waiting, from the moment the devices are idle.

    Steps run ahead of the host: fetching a batch while the last step computes
    costs the run nothing.

    Args:
      busy: returns whether the last step still runs; called at the start and by
        each `look`.
    """
    self._busy, self._idle_since = busy, None
    self.look()
    yield
    if self._idle_since is not None:
      self._waited += self._clock() - self._idle_since

  def look(self) -> None:
    """Notes when the devices become idle; must be called while waiting."""
    if self._idle_since is None and not self._busy():
      self._idle_since = self._clock()

  @contextlib.contextmanager
  def paused(self):
    start = self._clock()
    yield
    self._paused += self._clock() - start

  def lap(self, step: int, *, batch_size: int,
          total_steps: int) -> dict[str, float]:
    """Ends the window after `step` steps.

    The step's arrays must be ready (fetch the loss first), or the devices are
    still at work when the clock is read.

    Args:
      step: steps done.
      batch_size: the global batch size.
      total_steps: the run's number of steps.

    Returns:
      `images_per_second`, `data_wait` in [0, 1], and `seconds_left`.
    """
    now = self._clock()
    seconds = max(now - self._start - self._paused, 1e-9)
    steps = step - self._step
    wait = min(self._waited / seconds, 1.0)
    self._step, self._start, self._waited, self._paused = step, now, 0.0, 0.0
    return {
        'images_per_second': steps * batch_size / seconds,
        'data_wait': wait,
        'seconds_left': ((total_steps - step) * seconds / steps
                         if steps > 0 else math.inf),
    }
