"""The console of a run: lines, progress, durations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import contextlib
import logging
import math
import os
import re
import shutil
import sys
import time
from typing import TextIO

import jax

_console = logging.getLogger('byol_jax')

EVERY_PROCESS = logging.INFO + 1  # the level of lines that every process shows


def setup_console() -> logging.Logger:
  """Sends `console.info(...)` to stdout, as it is, on process 0 only.

  Other processes show `console.log(EVERY_PROCESS, ...)` and warnings. A warning is
  shown as 'warning: ...', so its text does not begin with that word. Call this after
  jax.distributed.initialize, if that is called.
  """
  _console.handlers = [_Handler()]
  _console.propagate = False
  _console.setLevel(
      logging.INFO if jax.process_index() == 0 else EVERY_PROCESS)
  return _console


@contextlib.contextmanager
def borrowed() -> Iterator[None]:
  """Sets up the console until the end of the block, then leaves it as it was.

  For a program of somebody else, who may have a logging of their own.
  """
  before = _console.handlers, _console.propagate, _console.level
  setup_console()
  try:
    yield
  finally:
    _console.handlers, _console.propagate, level = before
    _console.setLevel(level)


def renews() -> bool:
  """Returns whether a line can take the place of the one before: not in a file."""
  is_notebook = type(sys.stdout).__module__.startswith('ipykernel')
  return is_notebook or sys.stdout.isatty() and os.environ.get('TERM') != 'dumb'


def show(line: str, share: float) -> None:
  """Shows how far a work is: on a terminal in place of the line shown before.

  Other lines appear above it. Call `keep` when the work ends.

  Args:
    line: the text.
    share: the part of the work that is done, from 0 to 1.
  """
  _console.info('%s', line, extra={'share': share})


def keep() -> None:
  """Leaves the progress line, if there is one, where it stands."""
  for handler in _console.handlers:
    if isinstance(handler, _Handler):
      handler.keep()


class _Handler(logging.StreamHandler):
  """Writes lines to stdout; where it can, the line of `show` stays the last one."""

  def __init__(self):
    super().__init__(sys.stdout)
    self.setFormatter(_Lines())
    self._renews, self._standing, self._is_told = renews(), '', False

  def emit(self, record: logging.LogRecord) -> None:
    share = getattr(record, 'share', None)
    blank = '\r' + ' ' * len(self._standing) + '\r'
    try:
      if share is not None and self._renews:
        self._standing = f'{_bar(share)} {self.format(record)}'[:_width(self.stream)]
        self.stream.write(blank + self._standing)
        self.flush()
        return
      if self._standing:
        self.stream.write(blank)
      super().emit(record)
      if self._standing:
        self.stream.write(self._standing)
        self.flush()
    except (OSError, ValueError):  # as logging does
      self.handleError(record)

  def handleError(self, record: logging.LogRecord) -> None:
    """Says nothing where nobody reads any more, as in `| head`; the run goes on.

    It says once that the output cannot be written, as to a full disk.
    """
    error = sys.exc_info()[1]
    if not isinstance(error, OSError):
      super().handleError(record)
    elif not (isinstance(error, BrokenPipeError) or self._is_told):
      self._is_told = True
      with contextlib.suppress(OSError):
        print(f'byol_jax: the output cannot be written ({error.strerror}); going on '
              'without', file=sys.stderr)

  def keep(self) -> None:
    """Ends the standing line."""
    with self.lock:
      if self._standing:
        self._standing = ''
        self.stream.write(self.terminator)
        self.flush()


def _width(stream: TextIO) -> int:
  """Returns the number of characters that fit: a broken line would not renew itself."""
  if not stream.isatty():
    return 200  # a notebook has no width
  return shutil.get_terminal_size((120, 0)).columns - 1


def _bar(share: float, width: int = 20) -> str:
  """Returns a bar, in ASCII: a console may have nothing else."""
  done = round(width * min(max(share, 0.0), 1.0))
  return f'[{"#" * done}{"." * (width - done)}]'


# a name may hold the codes of terminals: they are written out, but for line ends
_CONTROL = {code: f'\\x{code:02x}' for code in (*range(32), 127)
            if chr(code) not in '\n\t'}


class _Lines(logging.Formatter):
  """The format of a line: its text, and a mark if it is a warning."""

  def format(self, record: logging.LogRecord) -> str:
    mark = 'warning: ' if record.levelno >= logging.WARNING else ''
    return mark + super().format(record).translate(_CONTROL)


def duration(seconds: float) -> str:
  """Returns a duration as 0:07:31, or as ? if it is not finite."""
  if not math.isfinite(seconds):
    return '?'
  minutes, seconds = divmod(round(max(seconds, 0)), 60)
  return f'{minutes // 60}:{minutes % 60:02d}:{seconds:02d}'


def seconds_left(line: str) -> float:
  """Returns the seconds behind the ETA of a progress line; NaN for another line."""
  found = re.search(r'ETA (\d+):(\d\d):(\d\d)', line)
  if not found:
    return math.nan
  hours, minutes, seconds = map(int, found.groups())
  return 3600 * hours + 60 * minutes + seconds


def progress_line(step: int, total_steps: int, meaning: str,
                  values: Mapping[str, float]) -> str:
  """Returns one line that shows how far the run is.

  Args:
    step: steps done.
    total_steps: the run's number of steps.
    meaning: range or chance level of the loss.
    values: the step's 'loss', 'learning_rate', 'images_per_second' of all devices
      together, 'seconds_left', 'data_wait' in [0, 1] (the share of the time that the
      step waited for its input); with a target network 'tau', with labels
      'probe_top1' in percent.
  """
  speed = values['images_per_second']
  parts = [
      f'step {step:,}/{total_steps:,}',
      f'{100 * step / max(total_steps, 1):.1f}%',
      f'{speed:,.{0 if speed >= 10 else 1}f} img/s',
      f'ETA {duration(values["seconds_left"])}',
      f'loss {values["loss"]:.3f} ({meaning})',
      # a terminal has no room for what hardly changes
      *([] if renews() else [
          f'lr {values["learning_rate"]:.3g}',
          *([f'tau {values["tau"]:.4f}'] if 'tau' in values else [])]),
      f'wait {100 * values["data_wait"]:.0f}%',
  ]
  if 'probe_top1' in values:
    parts.append(f'probe {values["probe_top1"]:.1f}%')
  return '  '.join(parts)


class Progress:
  """A line that counts up: in place on a terminal, now and then in a log."""

  def __init__(self, title: str, total: int, unit: str = 'img/s'):
    self._title, self._total, self._unit = title, total, unit
    self._done, self._start = 0, time.monotonic()
    self._renews = renews()
    self._next = self._start

  def add(self, count: int) -> None:
    self._done += count
    now = time.monotonic()
    if now < self._next:
      return
    self._next = now + (0.2 if self._renews else 10.0)
    self._show(now)

  def _show(self, now: float) -> None:
    rate = self._done / max(now - self._start, 1e-3)
    left = (self._total - self._done) / max(rate, 1e-3)
    share = self._done / max(self._total, 1)
    show(f'{self._title}  {self._done:,}/{self._total:,}  {100 * share:.0f}%  '
         f'{rate:,.0f} {self._unit}  ETA {duration(left)}', share)

  def close(self) -> None:
    if self._renews:
      self._show(time.monotonic())
      keep()
