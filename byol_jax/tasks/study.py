"""task=study: a grid of pretrainings, and a table of what each change costs.

Each cell and seed is an ordinary workdir below the study's, cells/NAME-SEED, made by a
process of its own. What lies there is all that the study knows: it goes on after any
end, and several processes may share the cells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
import json
import logging
import math
import os
import sys
import time
from typing import Any

import ml_collections

import byol_jax
from byol_jax import wording
from byol_jax.config import cells as cells_lib
from byol_jax.config import keys as keys_lib
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.evaluation import tally
from byol_jax.pages import drawing
from byol_jax.run import child
from byol_jax.run import console as console_lib
from byol_jax.run import lock as lock_lib
from byol_jax.run import signals
from byol_jax.storage import files as files_lib
from byol_jax.tasks import data as data_lib
from byol_jax.tasks import output
from byol_jax.tasks import side_by_side
from byol_jax.tasks import study_plan as plan_lib

_console = logging.getLogger('byol_jax')

_LOG = 'log.txt'  # in a run's workdir
_TRIES = 2  # of a run that the machine failed
_TELL_SECONDS = 60.0  # between two lines about a run
_WAIT_SECONDS = 5.0  # before another look at runs that other processes hold
_BASE = ('"""The config that the cells of a study start from."""\n\n'
         'from byol_jax.config import base\n\n\ndef get_config():\n  return base()\n')


def command(config: ml_collections.ConfigDict, workdir: str, base: str) -> list[str]:
  """Returns the command that makes one run; `base` is a config file of `base()`."""
  return [sys.executable, '-m', 'byol_jax.main', f'--config={base}',
          f'--workdir={workdir}', '--distributed=off', *cells_lib.arguments(config)]


def run(config: ml_collections.ConfigDict, workdir: str) -> None:
  """Makes all runs that are not made yet, and writes the table after each.

  Args:
    config: a valid config; all but its section `study` is the cells'.
    workdir: the study's directory; made if it is missing.

  Raises:
    UserError: the study cannot be as it is asked for, or a run was refused.
    TransientError: a run failed twice.
  """
  study = plan_lib.make(data_lib.with_source(config), workdir)
  plan_lib.check(study)
  base = _make_folder(study)
  for left_out, same in study.left_out.items():
    _console.warning('cell %s is the same run as %s with this config: left out',
                     left_out, same)
  _console.info('study of %s: %s, %s in %s', study.axis.title,
                wording.count(len(study.references), 'cell'),
                wording.count(len(study.runs), 'run'), os.path.join(workdir, 'cells'))
  _write(study, {})
  with signals.on_signals() as leaving:
    leaving.now = signals.Now.AFTER_SAVING  # the child's; then this process leaves
    failed = _Work(study, leaving, base).run()
    left = leaving.is_asked()
  rows = _write(study, failed)
  print(f'\n{tally.table(tally.columns(rows))}\n({_about(study)})')
  _console.info('study: %s; report.html, study.json and study.svg beside it',
                os.path.join(workdir, 'study.md'))
  if left:
    _console.info('left; nothing is lost, and the same command goes on')
  elif failed:
    failures = '; '.join(f'{name}: {ended.message or f"exit code {ended.code}"}'
                         for name, ended in failed.items())
    kind = UserError if any(x.code == 2 for x in failed.values()) else TransientError
    raise kind(f'{len(failed)} of {len(study.runs)} runs failed; {failures}')


# ------------------------------------------------------------------------ work
def _make_folder(study: plan_lib.Plan) -> str:
  """Makes the study's folder; returns the config file that cells start from."""
  base = os.path.join(study.workdir, 'base.py')
  try:
    os.makedirs(os.path.join(study.workdir, 'cells'), exist_ok=True)
    files_lib.write_bytes(base, _BASE.encode())
  except OSError as error:
    raise lock_lib.cannot_write(study.workdir, error) from error
  return base


class _Work:
  """The work of one process on a study."""

  def __init__(self, study: plan_lib.Plan, leaving: signals.Leaving, base: str):
    self._study, self._leaving, self._base = study, leaving, base
    self._failed: dict[str, child.Ended] = {}
    self._tries: Counter[str] = Counter()
    self._began = time.monotonic()
    self._done_before = len(study.runs) - len(self._open())
    self._environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, (
        os.path.dirname(os.path.dirname(os.path.abspath(byol_jax.__file__))),
        os.environ.get('PYTHONPATH')))))

  def run(self) -> dict[str, child.Ended]:
    """Makes the runs; returns those that failed, {name: how they ended}."""
    is_waiting = False
    while (left := self._open()) and not self._leaving.is_asked():
      held = []
      for at in left:
        if self._leaving.is_asked():
          break
        try:
          self._claimed(at)
        except lock_lib.InUse:
          held.append(at.name)
      if len(held) == len(left):
        if not is_waiting:
          _console.info('other processes hold what is left: waiting for %s',
                        ', '.join(held))
        until = time.monotonic() + _WAIT_SECONDS
        while time.monotonic() < until and not self._leaving.is_asked():
          time.sleep(0.1)
      is_waiting = len(held) == len(left)
    return self._failed

  def _open(self) -> list[plan_lib.Run]:
    return [at for at in self._study.runs
            if at.name not in self._failed and at.results() is None]

  def _claimed(self, at: plan_lib.Run) -> None:
    """Makes a run, if no other process does; raises InUse if one does."""
    claim = os.path.join(self._study.workdir, 'claims', at.name)
    try:
      for folder in (claim, at.workdir):
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
      raise lock_lib.cannot_write(folder, error) from error
    with lock_lib.lock(claim):
      if at.results() is None:
        with lock_lib.lock(at.workdir):
          pass  # else the child of a study that was killed goes on in it
        self._attempt(at)
      _write(self._study, self._failed)

  def _attempt(self, at: plan_lib.Run) -> None:
    """Runs the command of one run to its end, and notes a failure."""
    self._tries[at.name] += 1
    again = f', try {self._tries[at.name]}' if self._tries[at.name] > 1 else ''
    _console.info('%s  now %s%s', self._progress(), at.name, again)
    log, began = os.path.join(at.workdir, _LOG), time.monotonic()
    ended = child.run(
        command(at.config, at.workdir, self._base), log, self._leaving,
        environment=self._environment,
        tell=lambda line: console_lib.show(
            f'{at.name}  {line}{self._estimate(line, time.monotonic() - began)}',
            1 - len(self._open()) / len(self._study.runs)),
        every_seconds=2.0 if console_lib.renews() else _TELL_SECONDS)
    console_lib.keep()
    for text in ended.warnings:
      _console.warning('%s: %s', at.name, text)
    found = at.results()
    if found is not None and not any(
        'linear_top1' in x or 'knn_top1' in x for x in found.values()
        if isinstance(x, dict)):
      raise UserError(f'{at.workdir} has no accuracy to compare: a study needs images '
                      'with labels')
    if found is not None or self._leaving.is_asked():
      return
    if ended.code == 2 and lock_lib.IN_USE in ended.message:
      self._tries[at.name] -= 1  # the child of a study that was killed was faster
      raise lock_lib.InUse(ended.message)
    if ended.code == 0:
      ended = ended._replace(code=75, message=(
          'it ended without a results.json, or with a damaged one'))
    if ended.code == 2 or self._tries[at.name] >= _TRIES:
      self._failed[at.name] = ended
    _console.warning('%s failed%s (exit code %d): %s (%s)', at.name,
                     '' if at.name in self._failed else ', and is tried again',
                     ended.code, ended.message, log)

  def _progress(self) -> str:
    """Returns a line about the whole study; all processes' runs count."""
    total, left, each = len(self._study.runs), len(self._open()), self._each()
    done = total - left - len(self._failed)
    return (f'study {done}/{total} runs  {100 * done / total:.0f}%  '
            f'{console_lib.duration(each)} a run  ETA '
            f'{console_lib.duration(each * left)}')

  def _each(self) -> float:
    """Returns the seconds from one finished run to the next; NaN before the first."""
    left = len(self._open())
    made = len(self._study.runs) - left - len(self._failed) - self._done_before
    if made > 0:
      return (time.monotonic() - self._began) / made
    # before this process has made one, those of earlier ones tell
    return tally.seconds([at.results() or {} for at in self._study.runs])

  def _estimate(self, line: str, elapsed: float) -> str:
    """Returns when the whole study may end, behind a run's line that has an ETA.

    Args:
      line: the run's.
      elapsed: seconds since the run began.
    """
    left = console_lib.seconds_left(line)
    if math.isnan(left):
      return ''
    each = self._each()
    if math.isnan(each):  # this run is the first one
      each = elapsed + left
    total = left + each * (len(self._open()) - 1)
    return f'  study ETA {console_lib.duration(total)}'


# --------------------------------------------------------------------- results
def _write(study: plan_lib.Plan,
           failed: Mapping[str, child.Ended]) -> list[dict[str, Any]]:
  """Writes study.json, .md, .svg and report.html; returns the rows of the table."""
  cells = []
  for row in study.axis.rows:
    runs = []
    for at in study.runs:
      if at.cell == row.name:
        found, ended = at.results(), failed.get(at.name)
        state = 'failed' if ended else 'open' if found is None else 'done'
        runs.append(tally.Run(at.seed, os.path.join('cells', at.name), state,
                              found or {}, ended.message if ended else '',
                              child.warnings(os.path.join(at.workdir, _LOG))))
    cells.append(tally.Cell(row.name, row.line, row.place, study.references[row.name],
                            row.paper, row.changes, runs))
  rows = tally.summary(cells, study.axis.untrained)
  asked = study.config.study
  picture = drawing.svg(
      rows, figure=asked.figure, title=study.axis.title,
      subtitle=f'change of {tally.FIGURES[asked.figure]} top-1, '
               + wording.count(asked.seeds, 'seed'))
  settings = cells_lib.differences(study.config, keys_lib.base())
  text = (f'# Study: {study.axis.title}\n\n'
          f'{tally.markdown(tally.columns(rows))}\n\n{_about(study)}\n\n'
          + ''.join(f'- {name} failed: {ended.message}\n'
                    for name, ended in failed.items())
          + ''.join(f'- {row["name"]}-{run["seed"]} warns: {warning}\n'
                    for row in rows for run in row['runs']
                    for warning in run.get('warnings', ()))
          + ''.join(f'- {name} is left out: with this config it is the same run as '
                    f'{same}.\n' for name, same in study.left_out.items())
          + '\n![](study.svg)\n\nAll cells have these settings, beside what '
          'study.json says of each:\n\n```json\n'
          f'{json.dumps(files_lib.plain(settings), indent=2)}\n```\n')
  page = lambda: side_by_side.of_study(study.workdir, output.made())
  for name, data in (
      ('study.json', {
          'axis': asked.axis if not asked.grid else None, 'title': study.axis.title,
          'published': study.axis.source, 'figure': asked.figure,
          'settings': settings, 'left_out': study.left_out, 'cells': rows}),
      ('study.md', text), ('study.svg', picture),
      (output.REPORT, page)):  # it reads study.json
    path = os.path.join(study.workdir, name)
    with files_lib.writing(path):
      if isinstance(data, dict):
        files_lib.write_json(path, data)
      else:
        data = data() if callable(data) else data
        files_lib.write_bytes(path, data.encode())
  return rows


def _about(study: plan_lib.Plan) -> str:
  """Returns the words below the table."""
  published = any(row.paper is not None for row in study.axis.rows)
  return ('top-1 in percent, mean and deviation over seeds; change: points, seed by '
          'seed, to the reference'
          + f'; paper: {study.axis.source}; ImageNet, ResNet-50, linear' * published)
