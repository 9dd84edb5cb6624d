"""Ends the process at once, from any thread, and says why; what it is said to."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import os
import sys
import threading
from typing import NoReturn, TextIO

_SECONDS_TO_TELL = 5.0


def open_console() -> None:
  """Opens what a daemon or `>&-` has closed of stdin, stdout and stderr, to nowhere."""
  for number, name in enumerate(('stdin', 'stdout', 'stderr')):
    try:
      os.fstat(number)
    except OSError:
      os.open(os.devnull, os.O_RDWR)  # gets this number, the lowest that is free
      setattr(sys, name, open(number, 'w' if number else 'r', encoding='utf-8',
                              closefd=False))


def exit_saying(code: int, text: str, where: TextIO) -> NoReturn:
  """Ends the process at once, from any thread; prints a text if that is possible.

  It may not be: Ctrl-C also ends the `tee` that reads the output, and a closed terminal
  reads nothing more.
  """
  def say():
    if text:
      print(text, file=where)
    sys.stdout.flush()
    sys.stderr.flush()
  end(code, say)


def end(code: int, tell: Callable[[], None]) -> NoReturn:
  """Ends the process at once, from any thread, after a call that reports why.

  The call runs in a thread, and in Python: a full pipe, or a disk that hangs, must not
  keep the process from its end.
  """
  def quietly():
    with contextlib.suppress(Exception):
      tell()
  teller = threading.Thread(target=quietly, daemon=True)
  teller.start()
  teller.join(_SECONDS_TO_TELL)
  os._exit(code)
