"""Signals (SIGTERM, SIGINT, ...): the first makes a run leave, a second ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import enum
import signal
import socket
import sys
import threading

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

  def ask(self, number: int) -> None:
    """Notes a signal."""
    self.number = number
    self._asked.set()

  def signal(self, number: int) -> None:
    """Handles a signal to a program, in a thread of its own."""
    self.number = number
    if self.now is not Now.AFTER_SAVING:
      _end(self.now, number)
    elif self.is_asked():
      ending.exit_saying(128 + number, '', sys.stderr)
    self.ask(number)


_program: Leaving | None = None  # set by `for_good`


def for_good() -> Leaving:
  """Watches for signals from now to the end of the process.

  For programs, before they import modules that take seconds. `on_signals` joins in.
  """
  global _program
  _program = _watch()
  return _program


def are_ours() -> bool:
  """Returns whether this process is a program of ours, which has called `for_good`."""
  return _program is not None


@contextlib.contextmanager
def on_signals() -> Iterator[Leaving]:
  """Watches for signals until the end of the block.

  A thread watches: Python runs handlers in the main thread only, which may be in the
  compiler for minutes, or wait for a step that will not end. In a program that has not
  called `for_good`, such as a notebook, see `_as_guest`.
  """
  if threading.current_thread() is not threading.main_thread():
    yield Leaving()  # only the main thread can handle signals
  elif _program is None:
    with _as_guest() as leaving:
      yield leaving
  else:
    _handle()  # jax.distributed may have set handlers of its own
    try:
      yield _program
    finally:
      _program.now = Now.AT_ONCE


@contextlib.contextmanager
def _as_guest() -> Iterator[Leaving]:
  """Watches for signals in a program of somebody else, which only that may end.

  A signal does what it does in that program: SIGINT raises KeyboardInterrupt. It does
  so at once, but where a run wants to save first, at the end of the block; a second
  signal then does so at once.
  """
  leaving, before = Leaving(), {}

  def give_back() -> None:
    for number, handler in before.items():
      signal.signal(number, handler)

  def handle(number: int, _) -> None:
    if leaving.now is Now.AFTER_SAVING and not leaving.is_asked():
      leaving.ask(number)
    else:
      give_back()
      signal.raise_signal(number)

  for number in NUMBERS:
    if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: not Python's
      before[number] = signal.signal(number, handle)
  try:
    yield leaving
  finally:
    give_back()
  if leaving.is_asked():
    signal.raise_signal(leaving.number)


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
  leaving = _program
  now, leaving.now = leaving.now, Now.AFTER_SAVING
  try:
    yield leaving.is_asked
  finally:
    leaving.now = now
    if leaving.is_asked() and now is not Now.AFTER_SAVING:
      _end(now, leaving.number)


def _watch() -> Leaving:
  """Starts to watch, in a thread."""
  leaving = Leaving()
  ours, signals_end = socket.socketpair()
  signals_end.setblocking(False)

  def watch():
    while number := ours.recv(1):
      if number[0] in NUMBERS:
        leaving.signal(number[0])

  signal.set_wakeup_fd(signals_end.detach(), warn_on_full_buffer=False)
  _handle()
  threading.Thread(target=watch, name='signals', daemon=True).start()
  return leaving


def _handle() -> None:
  """Makes Python write signals to the wake-up descriptor."""
  for number in NUMBERS:
    # keeps nohup's choice; but SIGINT, ignored in background jobs, is handled
    if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
      signal.signal(number, lambda *_: None)


def _end(now: Now, number: int) -> None:
  """Ends the process, and says that the same command goes on."""
  if now is Now.AT_ONCE:
    ending.exit_saying(0, 'left; nothing is lost, and the same command goes on',
                       sys.stdout)
  ending.exit_saying(128 + number, 'interrupted; the same command goes on', sys.stderr)


def interrupt() -> None:
  """Makes a first signal end the program with 128 + its number from now on.

  For tasks that keep the work done. In a program of somebody else it changes nothing.
  """
  if _program is not None:
    _program.now = Now.INTERRUPTED
