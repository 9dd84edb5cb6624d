"""metrics.jsonl and TensorBoard events of a run.

Only process 0 writes. A full disk or a vanished directory costs log lines, never
the run: see `RunLog`.
"""

from __future__ import annotations

from collections.abc import Mapping
import contextlib
import json
import logging
import os
import socket
import time
from typing import Any

import jax

from byol_jax.storage import files as files_lib

_console = logging.getLogger('byol_jax')

# the panels in which TensorBoard and others show a value; for others 'train'
_PANEL = {
    **dict.fromkeys(('images_per_second', 'data_wait', 'seconds_left'), 'perf'),
    'knn_top1': 'eval',
    **dict.fromkeys(('projection_std', 'batch_projection_std', 'alignment',
                     'uniformity', 'predictor_explained', 'feature_rank',
                     'projection_rank'), 'collapse')}


class RunLog:
  """metrics.jsonl and TensorBoard events of a run, one line a logged step.

  A resumed run first removes the lines behind its first step, so that every
  step stands once, in TensorBoard, too. A line that cannot be written is lost,
  with one warning; later lines are tried again.
  """

  def __init__(self, workdir: str | os.PathLike, start_step: int, *,
               tensorboard: bool = True):
    """Opens the log.

    Args:
      workdir: an existing directory.
      start_step: steps done before this session; later lines are removed.
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
        _console.warning('cannot write the log in %s (%s); training '
                        'goes on without it', self._workdir, error)

  def write(self, step: int, values: Mapping[str, Any]):
    """Adds one line; must be called once a step, with all values.

    Args:
      step: steps done.
      values: numbers (0-d arrays too) by name; TensorBoard gets all numbers, as
        PANEL/NAME, metrics.jsonl everything that JSON can hold.
    """
    if not self._enabled:
      return
    values = files_lib.plain({'step': int(step)} | dict(values))
    with self._forgiving():
      append_line(self._path, json.dumps(values, allow_nan=False))
      # Only if the line above fitted on the disk.
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
          summary_pb2.Summary.Value(tag=f'{_PANEL.get(name, "train")}/{name}',
                                    simple_value=value)
          for name, value in values.items()
          if name != 'step' and isinstance(value, (int, float))]))
      self._events.flush()
    except OSError:
      # Readers of a file stop at a torn record: go on in another file.
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
  """Imports tensorboardX's modules when needed: it loads torch, if installed.

  Its SummaryWriter is not used: when a full disk has killed the thread that writes, its
  next calls block for good (https://github.com/tensorflow/tensorboard/issues/6167, of
  the same writer).
  """
  from tensorboardX import record_writer
  from tensorboardX.proto import event_pb2
  from tensorboardX.proto import summary_pb2
  return record_writer, event_pb2, summary_pb2


def append_line(path: str, line: str):
  """Appends the whole line or, if the disk is full, nothing."""
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
  """Removes lines behind start_step, and a line that a killed run left torn."""
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
