"""Ends a process that is stuck on a lost peer, a dead device or a dead disk.

jax notices a peer that has died, by its heartbeat, but not one that is alive
and does not step: all others then wait for good.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
import sys
import threading
import time
import traceback

from byol_jax import ending
from byol_jax import errors


class Watchdog:
  """A watchdog that ends the process if the run does not beat every few seconds.

    with Watchdog(600, 'runs/x/stacks.txt') as watchdog:
      watchdog.beat('step 7')
      with watchdog.paused(): ...
  """

  def __init__(self, seconds: float, dump_path: str | os.PathLike):
    """Makes a watchdog that does not watch yet.

    Args:
      seconds: the silence after which the process ends; 0 for never.
      dump_path: the file that gets the stack of every thread; stderr gets it, too.
    """
    self._seconds = seconds
    self._dump_path = os.fspath(dump_path)
    self._stop = threading.Event()
    self._last, self._doing = None, ''  # None: paused
    self._thread = threading.Thread(target=self._watch, name='watchdog',
                                    daemon=True)

  def __enter__(self) -> Watchdog:
    if self._seconds:
      self._thread.start()
    return self

  def __exit__(self, *_) -> None:
    self._stop.set()
    if self._seconds:
      self._thread.join()

  def beat(self, doing: str) -> None:
    """Notes that the run is alive, and what it does next."""
    self._last, self._doing = time.monotonic(), doing

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Stops watching in the block."""
    self._last, before = None, self._last
    try:
      yield
    finally:
      self._last = before and time.monotonic()

  def _watch(self) -> None:
    while not self._stop.wait(min(self._seconds / 10, 10)):
      last = self._last
      if last is not None and time.monotonic() - last > self._seconds:
        self._end()

  def _end(self) -> None:
    message = (f'byol_jax: process {os.getpid()} ends itself: {self._doing} has '
               f'taken more than {self._seconds:g} s (config key '
               'safety.step_timeout); the same command goes on from the last '
               f'checkpoint. What each thread was doing: {self._dump_path}')
    ending.end(errors.EXIT_CODE, lambda: self._tell(message))

  def _tell(self, message: str) -> None:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    stacks = '\n'.join(
        f'Thread {names.get(ident, "?")}:\n'
        + ''.join(traceback.format_stack(frame))
        for ident, frame in sys._current_frames().items())
    with contextlib.suppress(Exception):
      with open(self._dump_path, 'a', encoding='utf-8') as f:
        f.write(f'{time.ctime()}  {message}\n{stacks}\n')
    with contextlib.suppress(Exception):
      print(f'{message}\n{stacks}', file=sys.stderr, flush=True)
