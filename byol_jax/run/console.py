"""The console of a run: lines, progress, durations."""

from __future__ import annotations

from collections.abc import Mapping
import logging
import math
import sys
import time

import jax

_console = logging.getLogger('byol_jax')

EVERY_PROCESS = logging.INFO + 1  # the level of lines that every process shows


def setup_console() -> logging.Logger:
  """Sends `console.info(...)` to stdout, as it is, on process 0 only.

  Other processes show `console.log(EVERY_PROCESS, ...)` and warnings. A warning is
  shown as 'warning: ...', so its text does not begin with that word. Call this after
  jax.distributed.initialize, if that is called.
  """
  handler = logging.StreamHandler(sys.stdout)
  handler.setFormatter(_Lines())
  _console.handlers = [handler]
  _console.propagate = False
  _console.setLevel(
      logging.INFO if jax.process_index() == 0 else EVERY_PROCESS)
  return _console


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
      f'lr {values["learning_rate"]:.3g}',
      *([f'tau {values["tau"]:.4f}'] if 'tau' in values else []),
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
    self._is_terminal = sys.stdout.isatty()
    self._next = self._start

  def add(self, count: int) -> None:
    self._done += count
    now = time.monotonic()
    if now < self._next:
      return
    self._next = now + (0.2 if self._is_terminal else 10.0)
    self._show(now)

  def _show(self, now: float) -> None:
    rate = self._done / max(now - self._start, 1e-3)
    left = (self._total - self._done) / max(rate, 1e-3)
    line = (f'{self._title}  {self._done:,}/{self._total:,}  '
            f'{100 * self._done / max(self._total, 1):.0f}%  {rate:,.0f} {self._unit}  '
            f'ETA {duration(left)}')
    if self._is_terminal:
      print(f'\r{line}\x1b[K', end='', flush=True)
    else:
      _console.info('%s', line)

  def close(self) -> None:
    if self._is_terminal:
      self._show(time.monotonic())
      print(flush=True)
