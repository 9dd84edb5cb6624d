"""The plan of a study: its cells and runs, and whether they can be made.

All mistakes are told here, before a run begins: `tasks/study.py` does the work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import logging
import os
from typing import Any, NamedTuple

import ml_collections

from byol_jax import wording
from byol_jax.config import cells as cells_lib
from byol_jax.config import keys as keys_lib
from byol_jax.config import kinds
from byol_jax.config import schedule
from byol_jax.errors import UserError
from byol_jax.evaluation import studies
from byol_jax.run import workdir as workdir_lib
from byol_jax.storage import files as files_lib
from byol_jax.storage import paths as paths_lib
from byol_jax.tasks import data as data_lib
from byol_jax.weights import init_from

_console = logging.getLogger('byol_jax')

_TOLD = 5  # names in a message


class Run(NamedTuple):
  """One run of a cell; its config is that of an ordinary pretraining."""
  cell: str
  seed: int
  workdir: str
  config: ml_collections.ConfigDict

  @property
  def name(self) -> str:
    """Returns the name of its folder."""
    return f'{self.cell}-{self.seed}'

  def results(self) -> dict[str, Any] | None:
    """Returns its results.json; None where there is none."""
    return files_lib.read_json(os.path.join(self.workdir, 'results.json'))


class Plan(NamedTuple):
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
  runs: Sequence[Run]


def make(config: ml_collections.ConfigDict, workdir: str) -> Plan:
  """Makes the configs of all runs, and checks what the keys of the study say.

  Args:
    config: a valid config; all but its section `study` is the cells'.
    workdir: the study's directory.

  Raises:
    UserError: a key of the study, or the config of a cell, cannot be.
  """
  asked, parts = config.study, config.train.accumulation_steps
  if asked.axis == 'batch_size' and not asked.grid and parts > 1:
    raise UserError(f'config key train.accumulation_steps is {parts}, which the cells '
                    'of study.axis=batch_size set themselves: leave it out')
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
  _tell_settings(config, rows, settings)
  runs = [Run(name, seed, os.path.join(workdir, 'cells', f'{name}-{seed}'),
              of_seeds[i])
          for i, seed in enumerate(seeds) for name, of_seeds in configs.items()]
  return Plan(config, workdir, axis, _references(axis, asked.reference, left_out),
              left_out, runs)


def _tell_settings(config: ml_collections.ConfigDict, rows: Sequence[studies.Row],
                   settings: Mapping[str, Mapping[str, Any]]) -> None:
  """Says which settings the cells of a method have of their own."""
  names = {row.changes.get('method.name', config.method.name) for row in rows}
  for name in sorted(names & settings.keys()):
    own = [f'{key}={cells_lib.as_text(value)}' for key, value in settings[name].items()
           if key != 'method.name']
    if own:
      _console.info('cells of %s have of their own: %s', name, ', '.join(own))


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


def check(plan: Plan) -> None:
  """Checks that the study can be made where it is asked for.

  Raises:
    UserError: the folder holds something else, runs have begun with other settings, or
      the images cannot be used, or have no labels.
    TransientError: the images cannot be reached.
  """
  _check_folder(plan)
  _check_made(plan)
  _check_images(plan)


def _check_folder(plan: Plan) -> None:
  """Checks that the folder holds no run and no other study, which would be lost."""
  if paths_lib.in_bucket(plan.workdir):
    raise UserError(f'--workdir={plan.workdir}: a study lives in a local folder')
  if os.path.exists(os.path.join(plan.workdir, 'config.json')):
    raise UserError(f'--workdir={plan.workdir} holds a run, whose page the study would '
                    'write over: name another one')
  others = [name for name in _recorded(plan.workdir).get('cells', ()) if name not in {
      *plan.references, *plan.left_out}]
  if others:
    raise UserError(
        f'--workdir={plan.workdir} holds another study, with the cells '
        f'{wording.some(others, _TOLD)}: name another one, or the same config keys '
        'study.axis and study.grid')


def _recorded(workdir: str) -> dict[str, Any]:
  """Returns study.json of a folder; {} if it is missing, damaged or of other shape."""
  found = files_lib.read_json(os.path.join(workdir, 'study.json')) or {}
  try:
    return {'settings': dict(found['settings']),
            # the row of the untrained encoder has no runs
            'cells': [str(row['name']) for row in found['cells'] if row['runs']]}
  except (LookupError, TypeError, ValueError):
    return {}


def _check_images(plan: Plan) -> None:
  """Opens the images, and what the runs start from, as each run would."""
  sizes, started = {}, set()  # of data that were opened; what runs start from
  for at in plan.runs:
    if at.results() is not None:
      continue
    config = at.config.copy_and_resolve_references()
    config.network.precision = 'float32'  # 'auto' would ask for the devices
    start = str((config.init_from, config.network, config.data.image_size))
    if start not in started and not workdir_lib.old_config(at.workdir):
      init_from.with_preparation(config, {})
      started.add(start)
    data = str(config.data)
    if data not in sizes:
      train, _ = data_lib.open_data(config, decodes=False)
      if train.labels is None:
        raise UserError(f'{train.name}: not all images have a label, and a study '
                        'compares accuracies; name labelled ones in config key '
                        'data.path')
      sizes[data] = train.size
    try:
      schedule.resolve(config, sizes[data])
    except UserError as error:
      raise UserError(f'cell {at.cell} of the study: {error}') from error


def _check_made(plan: Plan) -> None:
  """Checks that runs that have begun have the settings that are asked for now."""
  for at in plan.runs:
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
    try:
      workdir_lib.require_same(
          old, files_lib.flatten(config) | found, f'workdir {at.workdir}',
          keys_lib.free('pretrain'), keys_lib.was())
    except workdir_lib.AnotherRun as error:
      before = _recorded(plan.workdir).get('settings', {}).get('study.by_method', '')
      if before == plan.config.study.by_method:
        raise
      # an older version knew fewer settings of methods
      raise workdir_lib.AnotherRun(
          error.difference, 'this study began with other settings of methods: it goes '
          f"on with --config.study.by_method='{before}'") from error
