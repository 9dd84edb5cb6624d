"""Signals (SIGTERM, SIGINT, ...): the first makes a run leave, a second ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import enum
import signal
import socket
import sys
import threading
from typing import Any

from byol_jax import ending

# Schedulers send USR1 and USR2 some time before they end a job (Slurm's --signal, Grid
# Engine's -notify, LSF's -wa).
NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1,
           signal.SIGUSR2)


class Now(enum.Enum):
  """The ways in which a first signal ends the process."""
  AT_ONCE = 'nothing is lost by it: exit code 0'
  INTERRUPTED = 'before its work is done, where the work done is kept: 128 + number'
  AFTER_SAVING = 'by itself, after it has saved; a second signal ends it at once'


class Leaving:
  """The request to leave, set by a signal; `on_signals` yields it.

  Attributes:
    now: the way in which a signal ends the process now.
    number: the last signal's number; 0 before any.
  """

  def __init__(self):
    self._asked = threading.Event()
    self.number = 0
    self.now = Now.AT_ONCE

  def is_asked(self) -> bool:
    """Returns whether a signal has come."""
    return self._asked.is_set()

  def signal(self, number: int) -> None:
    """Handles a signal, in a thread of its own."""
    self.number = number
    if self.now is not Now.AFTER_SAVING:
      _end(self.now, number)
    elif self.is_asked():
      ending.exit_saying(128 + number, '', sys.stderr)
    self._asked.set()


_program: tuple[Leaving, Callable[[], None]] | None = None  # set by `for_good`


def for_good() -> Leaving:
  """Watches for signals from now to the end of the process.

  For programs, before they import modules that take seconds. `on_signals` joins in.
  """
  global _program
  _program = _watch()
  return _program[0]


@contextlib.contextmanager
def on_signals() -> Iterator[Leaving]:
  """Watches for signals until the end of the block.

  A thread watches: Python runs handlers in the main thread only, which may be in the
  compiler for minutes, or wait for a step that will not end.
  """
  if threading.current_thread() is not threading.main_thread():
    yield Leaving()  # only the main thread can handle signals
  elif _program is not None:
    _handle()  # jax.distributed may have set handlers of its own
    leaving = _program[0]
    try:
      yield leaving
    finally:
      leaving.now = Now.AT_ONCE
  else:
    leaving, stop = _watch()
    try:
      yield leaving
    finally:
      stop()


@contextlib.contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
  """Delays a first signal until the end of the block.

  Yields:
    A function that returns whether a signal has come. Then save and leave the block:
    the signal takes effect at its end. A second signal ends the process at once.
  """
  if _program is None:
    yield lambda: False
    return
  leaving = _program[0]
  now, leaving.now = leaving.now, Now.AFTER_SAVING
  try:
    yield leaving.is_asked
  finally:
    leaving.now = now
    if leaving.is_asked() and now is not Now.AFTER_SAVING:
      _end(now, leaving.number)


def _watch() -> tuple[Leaving, Callable[[], None]]:
  """Starts to watch; returns (leaving, a function that stops)."""
  leaving = Leaving()
  ours, signals_end = socket.socketpair()
  signals_end.setblocking(False)

  def watch():
    while number := ours.recv(1):
      if number[0] in NUMBERS:
        leaving.signal(number[0])

  before_fd = signal.set_wakeup_fd(signals_end.fileno(),
                                   warn_on_full_buffer=False)
  before = _handle()
  thread = threading.Thread(target=watch, name='signals', daemon=True)
  thread.start()

  def stop():
    signal.set_wakeup_fd(before_fd)
    for number, handler in before.items():
      if handler is not None:  # None: Python did not set it
        signal.signal(number, handler)
    signals_end.close()
    thread.join()
    ours.close()

  return leaving, stop


def _handle() -> dict[int, Any]:
  """Makes Python write signals to the wake-up descriptor; returns the old handlers."""
  return {number: signal.signal(number, lambda *_: None) for number in NUMBERS
          # keeps nohup's choice; but SIGINT, ignored in background jobs, is handled
          if number != signal.SIGHUP
          or signal.getsignal(number) != signal.SIG_IGN}


def _end(now: Now, number: int) -> None:
  """Ends the process, and says that the same command goes on."""
  if now is Now.AT_ONCE:
    ending.exit_saying(0, 'left; nothing is lost, and the same command goes on',
                       sys.stdout)
  ending.exit_saying(128 + number, 'interrupted; the same command goes on', sys.stderr)
