"""Reads a workdir's account of its run: config, metrics, results, sessions.

A run appends a line to sessions.jsonl whenever it begins or goes on. Damaged and
missing files are named in `Journal.problems`; nothing of them is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
import json
import logging
import math
import os
import shlex
import sys
import time
from typing import Any, NamedTuple

from etils import epath
import jax

from byol_jax import __version__
from byol_jax import wording
from byol_jax.run import metrics as metrics_lib
from byol_jax.storage import files as files_lib

_console = logging.getLogger('byol_jax')

_SESSIONS = 'sessions.jsonl'
_MOST_BYTES = 1 << 28  # of one file; a run's are a thousand times smaller


class Problem(NamedTuple):
  """A file that is missing or damaged, and a sentence about it."""
  file: str
  text: str


class Journal(NamedTuple):
  """The small files of a workdir.

  Attributes:
    workdir: its path, as people read it.
    config: config.json, flat; {} if it is missing.
    results: results.json; {} if it is missing.
    metrics: the lines of metrics.jsonl, by ascending step; None for values that are
      not finite.
    sessions: the lines of sessions.jsonl; runs of older versions have none.
    problems: what is missing or damaged.
  """
  workdir: str
  config: dict[str, Any]
  results: dict[str, Any]
  metrics: list[dict[str, Any]]
  sessions: list[dict[str, Any]]
  problems: list[Problem]

  def last(self, name: str) -> tuple[int, float] | None:
    """Returns the step and value of the newest line that has a finite value."""
    for line in reversed(self.metrics):
      if isinstance(line.get(name), (int, float)):
        return line['step'], line[name]
    return None


def read(folder: str | os.PathLike, workdir: str = '') -> Journal:
  """Reads the files of a run; a bucket, too.

  Args:
    folder: where they lie.
    workdir: the path for people; '' for `folder`.
  """
  place, problems = epath.Path(folder), []
  config = _object(place / 'config.json', problems)
  results = _object(place / 'results.json', problems)
  metrics = _lines(place / 'metrics.jsonl', problems)
  steps = {line['step']: line for line in metrics
           if isinstance(line.get('step'), int)}
  if len(steps) < len(metrics):
    left_out = wording.count(len(metrics) - len(steps), 'line')
    problems.append(Problem('metrics.jsonl', f'metrics.jsonl: left out {left_out} '
                            'without a step, or with one that stands twice'))
  return Journal(
      workdir or os.fspath(folder), files_lib.flatten(config), results,
      [steps[step] for step in sorted(steps)],
      _lines(place / _SESSIONS, problems), problems)


def begin_session(folder: str, start_step: int) -> None:
  """Notes that a session begins: when, where, with which command and versions.

  A line that cannot be written is a warning, and the run goes on without it.
  """
  if jax.process_index():
    return
  # in a notebook the command line is the notebook's
  is_command = os.path.basename(sys.argv[0]) in ('main.py', 'byol_jax')
  line = {
      'began': time.strftime('%Y-%m-%dT%H:%M:%S%z'), 'from_step': start_step,
      'command': shlex.join(['python', '-m', 'byol_jax.main', *sys.argv[1:]])
      if is_command else 'from Python',
      'version': __version__, 'jax': jax.__version__,
      'python': sys.version.split()[0], 'processes': jax.process_count(),
      'device': f'{jax.device_count()} x {jax.devices()[0].device_kind}'}
  try:
    metrics_lib.append_line(os.path.join(folder, _SESSIONS), json.dumps(line))
  except OSError as error:
    _console.warning('cannot write %s in %s (%s); going on without', _SESSIONS, folder,
                     error)


def _object(path: epath.Path, problems: list[Problem]) -> dict[str, Any]:
  """Returns a JSON object; {} and a problem for anything else."""
  data = _bytes(path, problems)
  if data is None:
    return {}
  found = files_lib.parse_json(data)
  if not isinstance(found, Mapping):
    problems.append(Problem(path.name, f'{path.name} is damaged: left out'))
    return {}
  return dict(found)


def _lines(path: epath.Path, problems: list[Problem]) -> list[dict[str, Any]]:
  """Returns the JSON objects of a file, one a line; counts the other lines."""
  data = _bytes(path, problems)
  found = [files_lib.parse_json(line) for line in (data or b'').splitlines()
           if line.strip()]
  # JSON has no value that is not finite; Python's reader takes NaN and 1e999
  kept = [{name: value if _is_usable(value) else None for name, value in line.items()}
          for line in found if isinstance(line, dict)]
  if len(kept) < len(found):
    lines = wording.count(len(found), 'line')
    problems.append(Problem(path.name, f'{path.name}: left out '
                            f'{len(found) - len(kept)} of {lines} as damaged'))
  return kept


def _is_usable(value: Any) -> bool:
  """Returns whether a value is finite, or no number."""
  try:
    return not isinstance(value, (int, float)) or math.isfinite(value)
  except OverflowError:  # a whole number that no float holds
    return False


def _bytes(path: epath.Path, problems: list[Problem]) -> bytes | None:
  """Returns the content of a file; None and a problem if there is none to read."""
  try:
    if path.exists() and path.stat().length > _MOST_BYTES:
      problems.append(Problem(path.name, f'{path.name} is larger than '
                              f'{_MOST_BYTES >> 20} MiB: left out'))
      return None
    return path.read_bytes()
  except FileNotFoundError:
    if path.name != _SESSIONS:  # older versions did not write it
      problems.append(Problem(path.name, f'there is no {path.name}' + (
          ' yet' if path.name == 'results.json' else '')))
  except Exception as error:  # untyped, of a bucket
    problems.append(Problem(
        path.name, f'{path.name} cannot be read ({type(error).__name__})'))
  return None
