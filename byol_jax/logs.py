"""What a run says: console, progress line, metrics.jsonl, TensorBoard, tables.

Only process 0 writes. A full disk or a vanished directory costs log lines, never
the run: see `RunLog`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import contextlib
import json
import logging
import math
import os
import socket
import sys
import time
from typing import Any

import jax

from byol_jax.storage import files as files_lib

console = logging.getLogger('byol_jax')
EVERY_PROCESS = logging.INFO + 1  # the level of what each of them says


def setup_console() -> logging.Logger:
  """Sends `console.info(...)` to stdout, as it is, on process 0 only.

  Of other processes `console.log(EVERY_PROCESS, ...)` and warnings are shown. After
  jax.distributed.initialize, where that is called.
  """
  handler = logging.StreamHandler(sys.stdout)
  handler.setFormatter(logging.Formatter('%(message)s'))
  console.handlers = [handler]
  console.propagate = False
  console.setLevel(
      logging.INFO if jax.process_index() == 0 else EVERY_PROCESS)
  return console


def duration(seconds: float) -> str:
  """0:07:31, or ? where nobody knows."""
  if not math.isfinite(seconds):
    return '?'
  minutes, seconds = divmod(round(max(seconds, 0)), 60)
  return f'{minutes // 60}:{minutes % 60:02d}:{seconds:02d}'


def progress_line(
    *,
    step: int,
    total_steps: int,
    loss: float,
    loss_range: tuple[float, float],
    learning_rate: float,
    tau: float,
    images_per_second: float,
    seconds_left: float,
    data_wait: float,
    probe_top1: float | None = None,
) -> str:
  """One line on where the run is.

  Args:
    step: steps done.
    total_steps: of the run.
    loss: of this step.
    loss_range: lowest and highest possible loss.
    learning_rate: of this step.
    tau: of this step.
    images_per_second: lately, all devices together.
    seconds_left: estimate.
    data_wait: share of the time that the step waited for its input, in [0, 1].
    probe_top1: accuracy of the online probe, percent; None without labels.

  Returns:
    The line.
  """
  percent = 100 * step / max(total_steps, 1)
  speed = f'{images_per_second:,.{0 if images_per_second >= 10 else 1}f}'
  low, high = loss_range
  parts = [
      f'step {step:,}/{total_steps:,}',
      f'{percent:.1f}%',
      f'{speed} img/s',
      f'ETA {duration(seconds_left)}',
      f'loss {loss:.3f} ({low:g}..{high:g})',
      f'lr {learning_rate:.3g}',
      f'tau {tau:.4f}',
      f'wait {100 * data_wait:.0f}%',
  ]
  if probe_top1 is not None:
    parts.append(f'probe {probe_top1:.1f}%')
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
      console.info('%s', line)

  def close(self) -> None:
    if self._is_terminal:
      self._show(time.monotonic())
      print(flush=True)


class Stopwatch:
  """Speed over the last log window, on the wall clock.

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
    """Counts the time within as waiting, from when the devices are idle.

    Steps run ahead of the host: fetching a batch while the last step computes
    costs the run nothing.

    Args:
      busy: says whether the last step still runs; asked at the start and by
        each `look`.
    """
    self._busy, self._idle_since = busy, None
    self.look()
    yield
    if self._idle_since is not None:
      self._waited += self._clock() - self._idle_since

  def look(self) -> None:
    """Notes, while waiting, when the devices become idle."""
    if self._idle_since is None and not self._busy():
      self._idle_since = self._clock()

  @contextlib.contextmanager
  def paused(self):
    start = self._clock()
    yield
    self._paused += self._clock() - start

  def lap(self, step: int, *, batch_size: int,
          total_steps: int) -> dict[str, float]:
    """Ends the window at `step` steps done.

    The step's arrays must be ready (fetch the loss first), or the devices are
    still at work when the clock is read.

    Args:
      step: steps done.
      batch_size: global.
      total_steps: of the run.

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


class RunLog:
  """metrics.jsonl and TensorBoard events of a run, one line a logged step.

  A resumed run first removes the lines behind its first step, so that every
  step stands once; the same goes for what TensorBoard shows. What cannot be
  written is lost with one warning; later lines are tried again.
  """

  def __init__(self, workdir: str | os.PathLike, start_step: int, *,
               tensorboard: bool = True):
    """Opens the log.

    Args:
      workdir: an existing directory.
      start_step: steps done before this session; lines behind it are removed.
      tensorboard: whether to write events too.
    """
    self._workdir = os.fspath(workdir)
    self._path = os.path.join(self._workdir, 'metrics.jsonl')
    self._enabled = jax.process_index() == 0
    self._tensorboard = (_tensorboard_modules() if tensorboard and self._enabled
                         else None)
    self._purge_step = start_step + 1
    self._events = None
    self._warned = False
    if self._enabled:
      with self._forgiving():
        _keep_lines_to(self._path, start_step)

  @contextlib.contextmanager
  def _forgiving(self):
    try:
      yield
    except OSError as error:
      if not self._warned:
        self._warned = True
        console.warning('warning: cannot write the log in %s (%s); training '
                        'goes on without it', self._workdir, error)

  def write(self, step: int, values: Mapping[str, Any]):
    """Adds one line; call once a step, with everything there is to say.

    Args:
      step: steps done.
      values: numbers (0-d arrays too) by name; TensorBoard gets all numbers,
        metrics.jsonl everything that JSON can hold.
    """
    if not self._enabled:
      return
    values = files_lib.plain({'step': int(step)} | dict(values))
    with self._forgiving():
      _append_line(self._path, json.dumps(values, allow_nan=False))
      # Only where the line above fitted on the disk.
      if self._tensorboard:
        self._write_events(step, values)

  def _write_events(self, step: int, values: Mapping[str, Any]):
    record_writer, event_pb2, summary_pb2 = self._tensorboard
    def event(step, **what):
      self._events.write(event_pb2.Event(
          wall_time=time.time(), step=step, **what).SerializeToString())
    try:
      if self._events is None:
        self._events = record_writer.RecordWriter(os.path.join(
            self._workdir, f'events.out.tfevents.{int(time.time())}.'
            f'{socket.gethostname()}.{os.getpid()}.{step}'))
        event(0, file_version='brain.Event:2')
        event(self._purge_step, session_log=event_pb2.SessionLog(
            status=event_pb2.SessionLog.START))
      event(step, summary=summary_pb2.Summary(value=[
          summary_pb2.Summary.Value(tag=name, simple_value=value)
          for name, value in values.items()
          if name != 'step' and isinstance(value, (int, float))]))
      self._events.flush()
    except OSError:
      # A torn record is the end of a file for its readers: go on in another.
      self.close()
      self._purge_step = step + 1
      raise

  def close(self):
    """Closes the events; every line is on the disk already."""
    if self._events is not None:
      with contextlib.suppress(OSError):
        self._events.close()
      self._events = None


def _tensorboard_modules():
  """Imported when needed: tensorboardX loads torch where there is one.

  Not its SummaryWriter: when a full disk has killed the thread that writes, its
  next calls block for good.
  """
  # pylint: disable=g-import-not-at-top
  from tensorboardX import record_writer
  from tensorboardX.proto import event_pb2
  from tensorboardX.proto import summary_pb2
  return record_writer, event_pb2, summary_pb2


def _append_line(path: str, line: str):
  """Appends the whole line or, where the disk is full, nothing."""
  data = line.encode() + b'\n'
  with open(path, 'ab', buffering=0) as f:
    size = f.tell()
    try:
      if f.write(data) != len(data):
        raise OSError('no space left for the whole line')
    except OSError:
      with contextlib.suppress(OSError):
        f.truncate(size)
      raise


def _keep_lines_to(path: str, start_step: int):
  """Removes lines behind start_step, and what a killed run left torn."""
  def keep(line: bytes) -> bool:
    try:
      return line.endswith(b'\n') and json.loads(line)['step'] <= start_step
    except (ValueError, TypeError, KeyError):
      return False

  if not os.path.exists(path):
    return
  if not os.path.isfile(path):
    raise OSError(f'{path} is not a file')  # a device may have no end
  with open(path, 'rb') as f:
    lines = f.readlines()
  kept = [line for line in lines if keep(line)]
  if kept != lines:
    files_lib.write_bytes(path, b''.join(kept))


def results_table(results: Mapping[str, Mapping[str, Any]]) -> str:
  """The table at the end of a run.

  Args:
    results: as in results.json: `raw_pixels`, `untrained` and `byol`, each with
      `knn_top1` and `linear_top1` in percent. What is missing shows as '-'.

  Returns:
    Lines of equal length.
  """
  def cell(name, figure):
    value = results.get(name, {}).get(figure)
    return '-' if value is None else f'{value:.1f}%'

  lines = [f'{"":<20}{"k-NN":>10}{"linear":>10}']
  for name, title in (('raw_pixels', 'raw pixels'),
                      ('untrained', 'untrained encoder'), ('byol', 'BYOL')):
    lines.append(f'{title:<20}{cell(name, "knn_top1"):>10}'
                 f'{cell(name, "linear_top1"):>10}')
  return '\n'.join(lines)
