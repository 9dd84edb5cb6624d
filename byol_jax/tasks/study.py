"""task=study: a grid of pretrainings, and a table of what each change costs.

Each cell and seed is an ordinary workdir below the study's, cells/NAME-SEED, made by a
process of its own. What lies there is all that the study knows: it goes on after any
end, and several processes may share the cells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
import json
import logging
import os
import sys
import time
from typing import Any, NamedTuple

import ml_collections

import byol_jax
from byol_jax import wording
from byol_jax.config import cells as cells_lib
from byol_jax.config import keys as keys_lib
from byol_jax.config import kinds
from byol_jax.config import schedule
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.evaluation import studies
from byol_jax.evaluation import tally
from byol_jax.pages import drawing
from byol_jax.run import child
from byol_jax.run import console as console_lib
from byol_jax.run import lock as lock_lib
from byol_jax.run import signals
from byol_jax.run import workdir as workdir_lib
from byol_jax.storage import files as files_lib
from byol_jax.storage import paths as paths_lib
from byol_jax.tasks import data as data_lib
from byol_jax.tasks import output
from byol_jax.tasks import side_by_side
from byol_jax.weights import init_from

_console = logging.getLogger('byol_jax')

_TRIES = 2  # of a run that the machine failed
_TELL_SECONDS = 60.0  # between two lines about a run
_WAIT_SECONDS = 5.0  # before another look at runs that other processes hold
_BASE = ('"""The config that the cells of a study start from."""\n\n'
         'from byol_jax.config import base\n\n\ndef get_config():\n  return base()\n')


class _Run(NamedTuple):
  """One run of a cell; its config is that of an ordinary pretraining."""
  cell: str
  seed: int
  workdir: str
  config: ml_collections.ConfigDict

  @property
  def name(self) -> str:
    return f'{self.cell}-{self.seed}'

  def results(self) -> dict[str, Any] | None:
    """Returns its results.json; None where there is none."""
    return files_lib.read_json(os.path.join(self.workdir, 'results.json'))


class _Study(NamedTuple):
  """The plan of a study: its cells, runs and references.

  Attributes:
    config: the study's.
    workdir: the study's.
    axis: what is varied: rows, titles, published figures.
    references: {cell: the cell that it is compared with}.
    left_out: {cell: the cell before it that is the same run}.
    runs: in the order in which they are begun.
  """
  config: ml_collections.ConfigDict
  workdir: str
  axis: studies.Axis
  references: Mapping[str, str]
  left_out: Mapping[str, str]
  runs: Sequence[_Run]


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
  if paths_lib.in_bucket(workdir):
    raise UserError(f'--workdir={workdir}: a study lives in a local folder')
  study = _plan(data_lib.with_source(config), workdir)
  _check_made(study)
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


# ------------------------------------------------------------------------ plan
def _plan(config: ml_collections.ConfigDict, workdir: str) -> _Study:
  """Makes the configs of all runs, and checks what the keys of the study say."""
  asked = config.study
  axis = studies.make(asked.axis, config.train.batch_size)
  if asked.grid:
    published = {row.name: row for row in axis.rows}
    rows = tuple(studies.Row(name, changes, getattr(published.get(name), 'paper', None),
                             '', name)
                 for name, changes in cells_lib.read('study.grid', asked.grid).items())
    if not rows:
      raise UserError(f'config key study.grid is {kinds.shown(asked.grid)}, which has '
                      'no cell; empty, the cells are those of study.axis')
    axis = axis._replace(title='a grid of your own', rows=rows, reference=rows[0].place)
  settings = cells_lib.by_method(asked.by_method)
  alone = {row.changes.get('method.name') for row in axis.rows} - {
      None, config.method.name} - set(settings)
  if alone:
    _console.warning('study.by_method has no settings of %s: the cells differ from '
                     'those of %s in method.name and nothing else',
                     ', '.join(sorted(alone)), config.method.name)
  seeds = range(config.seed, config.seed + asked.seeds)
  rows, left_out, configs = [], {}, {}
  for row in axis.rows:
    changes = cells_lib.with_method(row.changes, config.method.name, settings)
    of_seeds = [cells_lib.make(config, row.name, changes, seed) for seed in seeds]
    same = next((name for name, other in configs.items()
                 if not cells_lib.differences(of_seeds[0], other[0])), None)
    if same:
      left_out[row.name] = same
    else:
      configs[row.name] = of_seeds
      rows.append(row._replace(changes=changes))
  axis = axis._replace(rows=tuple(rows))
  runs = [_Run(name, seed, os.path.join(workdir, 'cells', f'{name}-{seed}'),
               of_seeds[i])
          for i, seed in enumerate(seeds) for name, of_seeds in configs.items()]
  return _Study(config, workdir, axis, _references(axis, asked.reference, left_out),
                left_out, runs)


def _references(axis: studies.Axis, wanted: str,
                left_out: Mapping[str, str]) -> dict[str, str]:
  """Returns the cell that each cell is compared with: on its own line, if possible."""
  by_name = {row.name: row for row in axis.rows}
  wanted = left_out.get(wanted, wanted)
  if wanted and wanted not in by_name:
    raise UserError(f'config key study.reference is {kinds.shown(wanted)}, which is no '
                    f'cell{kinds.nearest(wanted, list(by_name))}: there are '
                    f'{", ".join(by_name)}')
  place = by_name[wanted].place if wanted else axis.reference
  of_line = {row.line: row.name for row in axis.rows if row.place == place}
  other = wanted or next(iter(of_line.values()), axis.rows[0].name)
  return {row.name: of_line.get(row.line, other) for row in axis.rows}


def _check_made(study: _Study) -> None:
  """Checks that runs that have begun have the settings that are asked for now."""
  for at in study.runs:
    old = workdir_lib.old_config(at.workdir)
    if not old:
      continue
    found = {key: value for key, value in old.items() if key.startswith('data_found.')}
    config = init_from.with_preparation(at.config, old)
    config = config.copy_and_resolve_references()
    if config.network.precision == 'auto':
      config.network.precision = old.get('network.precision', 'auto')
    images = found.get('data_found.images')
    if isinstance(images, int):
      config = schedule.resolve(config, images)
    workdir_lib.require_same(
        old, files_lib.flatten(config) | found, f'workdir {at.workdir}',
        keys_lib.free('pretrain'), keys_lib.was())


def _make_folder(study: _Study) -> str:
  """Makes the study's folder; returns the config file that cells start from."""
  base = os.path.join(study.workdir, 'base.py')
  try:
    os.makedirs(os.path.join(study.workdir, 'cells'), exist_ok=True)
    files_lib.write_bytes(base, _BASE.encode())
  except OSError as error:
    raise lock_lib.cannot_write(study.workdir, error) from error
  return base


# ------------------------------------------------------------------------ work
class _Work:
  """The work of one process on a study."""

  def __init__(self, study: _Study, leaving: signals.Leaving, base: str):
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

  def _open(self) -> list[_Run]:
    return [at for at in self._study.runs
            if at.name not in self._failed and at.results() is None]

  def _claimed(self, at: _Run) -> None:
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

  def _attempt(self, at: _Run) -> None:
    """Runs the command of one run to its end, and notes a failure."""
    self._tries[at.name] += 1
    again = f', try {self._tries[at.name]}' if self._tries[at.name] > 1 else ''
    _console.info('%s  now %s%s', self._progress(), at.name, again)
    log = os.path.join(at.workdir, 'log.txt')
    ended = child.run(
        command(at.config, at.workdir, self._base), log, self._leaving,
        environment=self._environment,
        tell=lambda line: console_lib.show(
            f'{at.name}  {line}', 1 - len(self._open()) / len(self._study.runs)),
        every_seconds=2.0 if console_lib.renews() else _TELL_SECONDS)
    console_lib.keep()
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
    total, left = len(self._study.runs), len(self._open())
    done = total - left - len(self._failed)
    made = done - self._done_before
    # before this process has made one, those of earlier ones tell
    each = ((time.monotonic() - self._began) / made if made > 0 else
            tally.seconds([at.results() or {} for at in self._study.runs]))
    return (f'study {done}/{total} runs  {100 * done / total:.0f}%  '
            f'{console_lib.duration(each)} a run  ETA '
            f'{console_lib.duration(each * left)}')


# --------------------------------------------------------------------- results
def _write(study: _Study, failed: Mapping[str, child.Ended]) -> list[dict[str, Any]]:
  """Writes study.json, .md, .svg and report.html; returns the rows of the table."""
  cells = []
  for row in study.axis.rows:
    runs = []
    for at in study.runs:
      if at.cell == row.name:
        found, ended = at.results(), failed.get(at.name)
        state = 'failed' if ended else 'open' if found is None else 'done'
        runs.append(tally.Run(at.seed, os.path.join('cells', at.name), state,
                              found or {}, ended.message if ended else ''))
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


def _about(study: _Study) -> str:
  """Returns the words below the table."""
  published = any(row.paper is not None for row in study.axis.rows)
  return ('top-1 in percent, mean and deviation over seeds; change: points, seed by '
          'seed, to the reference'
          + f'; paper: {study.axis.source}; ImageNet, ResNet-50, linear' * published)
