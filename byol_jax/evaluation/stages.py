"""Stages of an evaluation, which go on where they stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import json
import logging
import os
import time
from typing import Any, TypeVar

from etils import epath
import jax

from byol_jax.devices import hosts
from byol_jax.run import checkpoint
from byol_jax.run import restore as restore_lib
from byol_jax.run import saving
from byol_jax.run import signals
from byol_jax.storage import files as files_lib

_console = logging.getLogger('byol_jax')

State = TypeVar('State')
_SECONDS = 60.0  # between saves


class Left(BaseException):
  """The exception that leaves a stage on a signal, like KeyboardInterrupt."""


class Stages:
  """The parts of an evaluation that take long, each done once."""

  def __init__(self, workdir: str, folder: str):
    """Opens the stages.

    Args:
      workdir: a directory or bucket, for checkpoints.
      folder: stands for the workdir, for small files (`workdir.opened`).
    """
    self._workdir = workdir
    self._file = os.path.join(folder, 'progress.json')
    self._results = {}
    with contextlib.suppress(OSError, ValueError):
      with open(self._file, encoding='utf-8') as f:
        self._results = json.load(f)

  def once(self, name: str, act: Callable[[], Any]) -> Any:
    """Returns act(), or its JSON result from an earlier session."""
    known = hosts.gather_json(self._results.get(name))[0]  # process 0's
    if known is not None:
      return known
    result = act()
    self._results[name] = result
    if jax.process_index() == 0:
      try:
        files_lib.write_json(self._file, self._results)
      except OSError as error:
        _console.warning('cannot write %s (%s); going on without it',
                         self._file, error)
    return json.loads(json.dumps(result))

  def remove(self) -> None:
    """Removes the checkpoints of a finished evaluation."""
    if jax.process_index():
      return
    folder = epath.Path(self._workdir) / 'checkpoints'
    try:
      for path in folder.iterdir():
        if not path.name[0].isdigit():  # steps of a pretraining begin with one
          path.rmtree()
    except FileNotFoundError:
      pass
    except Exception as error:  # untyped for a bucket
      _console.warning('cannot remove the checkpoints in %s (%s)',
                       self._workdir, error)

  @contextlib.contextmanager
  def opened(self, name: str) -> Iterator[Stage]:
    """Opens a training run until the end of the block.

    Ctrl-C and SIGTERM end the training at its next save. With several processes they
    end each process at once, which loses a minute.

    Args:
      name: includes all values that the steps depend on and `workdir.compare` does not
        check.
    """
    directory = os.path.join(self._workdir, 'checkpoints', name)
    with contextlib.ExitStack() as stack:
      checkpoints = hosts.in_turn('checkpoints', lambda: stack.enter_context(
          contextlib.closing(checkpoint.Checkpoints(directory, 1))))
      asked = (stack.enter_context(signals.deferred()) if jax.process_count() == 1
               else lambda: False)
      yield Stage(name, checkpoints, directory, asked)


class Stage:
  """A training run, whose state is saved every minute and before it leaves."""

  def __init__(self, name: str, checkpoints: checkpoint.Checkpoints, directory: str,
               asked_to_leave: Callable[[], bool]):
    self._name, self._asked_to_leave = name, asked_to_leave
    self._checkpoints = checkpoints
    self._saver = saving.Saver(checkpoints, directory)
    self._saved_at = time.monotonic()

  def restore(self, like: State) -> tuple[int, State]:
    """Returns (steps done, state) to go on from; `like` itself at the beginning."""
    opened, state = restore_lib.together(self._checkpoints, like)
    if not opened:
      return 0, like
    _console.info('%s: going on at step %d', self._name, opened.step)
    return opened.step, state

  def save(self, step: int, state: Any, *, last: bool = False) -> None:
    """Saves the state if it is time; a failure is a warning, except at the last step.

    Raises:
      Left: a signal has come, and this step is saved.
    """
    if last or self._asked_to_leave():
      self._saver.save_last(step, state, {})
      if not last:
        raise Left
    elif time.monotonic() - self._saved_at > _SECONDS or self._saver.wants_retry():
      self._saved_at = time.monotonic()
      self._saver.save(step, state, {})

