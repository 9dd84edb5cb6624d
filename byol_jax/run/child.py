"""Runs a command as a process of its own, with a log, and hands signals on to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import os
import signal
import subprocess
import time
from typing import NamedTuple

from byol_jax.run import signals

_POLL_SECONDS = 0.2
_MOST_READ = 1 << 16  # bytes at the end of a log
_MOST_SHOWN = 400  # characters of a line
_WARNING, _MOST_WARNINGS = b'warning: ', 20


class Ended(NamedTuple):
  """How a command ended.

  Attributes:
    code: its exit code; a negative one is a signal's number.
    message: its last error, '' for none.
    warnings: what it warned of.
  """
  code: int
  message: str
  warnings: tuple[str, ...] = ()


def run(command: Sequence[str], log: str, leaving: signals.Leaving, *,
        environment: Mapping[str, str], tell: Callable[[str], None],
        every_seconds: float) -> Ended:
  """Runs a command until it ends.

  The command has a session of its own: Ctrl-C reaches this process alone, which hands
  the first signal on, once, and waits.

  Args:
    command: the program and its arguments.
    log: the file to which its output is added.
    leaving: this process's signals.
    environment: the command's.
    tell: called now and then with the last line of the output.
    every_seconds: how often.
  """
  with open(log, 'ab') as output:
    begin = output.tell()
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        env=dict(environment), start_new_session=True)
  reported_at, handed_on = time.monotonic(), False
  try:
    while child.poll() is None:
      if leaving.is_asked() and not handed_on:
        child.send_signal(leaving.number or signal.SIGTERM)
        handed_on = True
      if time.monotonic() - reported_at > every_seconds:
        reported_at = time.monotonic()
        if lines := _lines(log, begin):
          tell(lines[-1][:_MOST_SHOWN])
      time.sleep(_POLL_SECONDS)
  finally:
    if child.poll() is None:  # this process fails: its child saves and leaves
      child.terminate()
  return Ended(child.returncode, _error(_lines(log, begin)), warnings(log, begin))


def warnings(log: str, begin: int = 0) -> tuple[str, ...]:
  """Returns what a command warned of (`console.setup_console`), each once.

  Args:
    log: the file of its output; () where it is missing.
    begin: the place in it to begin at.
  """
  found = {}
  try:
    with open(log, 'rb') as f:
      f.seek(begin)
      for line in f:
        if line.startswith(_WARNING) and len(found) < _MOST_WARNINGS:
          text = line.removeprefix(_WARNING).decode(errors='replace').strip()
          found[text[:_MOST_SHOWN]] = None
  except OSError:
    pass
  return tuple(found)


def _lines(log: str, begin: int) -> list[str]:
  """Returns the last lines of a log that were written behind a place."""
  try:
    with open(log, 'rb') as f:
      f.seek(max(begin, os.fstat(f.fileno()).st_size - _MOST_READ))
      text = f.read().decode(errors='replace')
  except OSError:
    return []
  return [line for line in text.splitlines() if line.strip()]


def _error(lines: Sequence[str]) -> str:
  """Returns what byol_jax said last, or the last line of a traceback."""
  for i in reversed(range(len(lines))):
    if lines[i].startswith('byol_jax: '):
      return ' '.join([lines[i].removeprefix('byol_jax: '), *lines[i + 1:]]
                      )[:_MOST_SHOWN]
  return lines[-1].strip()[:_MOST_SHOWN] if lines else ''
