"""SIGTERM and SIGINT: leave at the next step boundary; a second one, at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import os
import signal
import socket
import sys
import threading

NUMBERS = (signal.SIGTERM, signal.SIGINT)


class Leaving:
  """What `on_signals` yields.

  Attributes:
    now: what to do on a signal while there is nothing to save; does not return.
      None while there is.
  """

  def __init__(self):
    self._asked = threading.Event()
    self.now: Callable[[], None] | None = leave

  def is_asked(self) -> bool:
    """Whether a signal has come."""
    return self._asked.is_set()

  def signal(self, number: int) -> None:
    """A signal has come; in a thread of its own."""
    if self.now is not None:
      self.now()
    elif self.is_asked():
      _exit(number)
    self._asked.set()


@contextlib.contextmanager
def on_signals() -> Iterator[Leaving]:
  """Watches for signals until the end of the block.

  A thread does: Python runs handlers in the main thread only, which may sit
  for minutes in the compiler or wait for a step that will not end.
  """
  leaving = Leaving()
  if threading.current_thread() is not threading.main_thread():
    yield leaving  # signals are the main thread's
    return
  ours, signals_end = socket.socketpair()
  signals_end.setblocking(False)

  def watch():
    while number := ours.recv(1):
      if number[0] in NUMBERS:
        leaving.signal(number[0])

  before_fd = signal.set_wakeup_fd(signals_end.fileno(),
                                   warn_on_full_buffer=False)
  before = {number: signal.signal(number, lambda *_: None) for number in NUMBERS}
  thread = threading.Thread(target=watch, name='signals', daemon=True)
  thread.start()
  try:
    yield leaving
  finally:
    signal.set_wakeup_fd(before_fd)
    for number, handler in before.items():
      signal.signal(number, handler)
    signals_end.close()
    thread.join()
    ours.close()


def leave() -> None:
  """Ends the process in order, where nothing is lost by it."""
  print('left; everything is saved, and the same command goes on', flush=True)
  sys.stderr.flush()
  os._exit(0)  # pylint: disable=protected-access


def _exit(number: int) -> None:
  """Ends the process as the signal would have, without waiting for anything."""
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(128 + number)  # pylint: disable=protected-access
