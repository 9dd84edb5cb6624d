"""A table over several runs: task=compare."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
import logging
import re
from typing import Any, NamedTuple

from etils import epath
import numpy as np

from byol_jax.errors import UserError
from byol_jax.storage import files as files_lib

_console = logging.getLogger('byol_jax')

_TARGET = ' target'
_NUMBER = re.compile(r' \(\d+\)$')   # of a second evaluation, of another config
_KINDS = {'raw_pixels': 'raw pixels', 'untrained': 'untrained', 'byol': 'BYOL'}
_OF_THE_RUN = ('knn', 'linear')  # figures of results.json of a pretraining
# a table each, the last one where it is what choices were made by
_METRICS = {'top1': 'top-1', 'top5': 'top-5', 'mean_per_class': 'mean per class'}
# of a protocol, beside the classifier's: what figures of one column should share
_SHARED = ('network', 'metric', 'images', 'image_size', 'center_share', 'data')
# what a classifier finds, or is told of one run only; the rest should be alike
_FOUND = ('l2', 'learning_rate', 'iterations', 'converged', 'chosen', 'seed', 'seeds',
          'test_classes_without_training_images')


class _Figures(NamedTuple):
  """What one evaluation says of one encoder, with how it came about."""
  row: tuple[str, str, str]   # workdir, step, encoder
  column: str
  values: dict[str, tuple[float, float | None]]   # by metric, with the spread
  protocol: dict[str, Any]
  group: str                  # the same for runs that differ in their seed only
  seed: str


def run(workdirs: str) -> None:
  """Prints the table.

  Args:
    workdirs: of pretrainings, with their evaluations, or of evaluations; separated
      by commas; * stands for many.

  Raises:
    UserError: there is nothing to compare.
  """
  figures = []
  for folder in _folders(workdirs):
    found = _of_run(folder)
    if not found:
      _console.warning('%s has no results yet', folder)
    figures += found
  if not figures:
    raise UserError(f'config key compare.workdirs is {workdirs!r}: none of them has '
                    'a results.json; evaluate them first, for example with '
                    '--config=configs/knn.py --config.weights=WORKDIR')
  print('\n\n'.join(filter(None, (_table(figures, metric) for metric in _METRICS))))
  for line in _differences(figures):
    print(line)


def _folders(workdirs: str) -> list[epath.Path]:
  folders = []
  for part in filter(None, (x.strip() for x in workdirs.split(','))):
    if '*' in part:
      root = part[:part.index('*')].rpartition('/')[0]
      found = [x for x in sorted(epath.Path(root or '.').glob(
          part[len(root):].lstrip('/'))) if x.is_dir()]
    else:
      found = [epath.Path(part)]
    if not found or not all(x.is_dir() for x in found):
      raise UserError(f'config key compare.workdirs names {part!r}: there is no such '
                      'folder')
    folders += [x for x in found if x not in folders]
  return folders


def _of_run(folder: epath.Path) -> list[_Figures]:
  """Of a pretraining's workdir and the evaluations in it, or of an evaluation's."""
  found = _of_results(folder, folder)
  evaluations = folder / 'evaluations'
  if evaluations.is_dir():
    for path in sorted(evaluations.iterdir()):
      if path.is_dir():
        found += _of_results(path, folder)
  return found


def _of_results(path: epath.Path, workdir: epath.Path) -> list[_Figures]:
  file = path / 'results.json'
  results = _read(file)
  if results is None:
    return []
  # of an evaluation the pretraining's config says more
  config = _read(workdir / 'config.json') or {}
  # without a config nobody knows that it differs in its seed only
  group = str(sorted((key, str(value)) for key, value in files_lib.flatten(
      config).items() if key != 'seed' and not key.startswith('data_found.'))
              ) if config else str(path)
  try:
    return _figures(results, path, workdir, group, str(config.get('seed')))
  except (AttributeError, TypeError, ValueError, LookupError, OverflowError):
    _leave_out(file)  # someone's hand was in it
    return []


def _figures(results: dict[str, Any], path: epath.Path, workdir: epath.Path,
             group: str, seed: str) -> list[_Figures]:
  protocol, task = results.get('protocol', {}), results.get('task')
  step = str(protocol['step'] if 'step' in protocol else results['run']['steps'])
  name = _column(results, path, step) if task else ''
  figures = []
  for kind, encoder in _KINDS.items():
    row = results.get(kind, {})
    if kind == 'byol' and protocol.get('network') == 'target':
      encoder += _TARGET
    for told in ([task] if task else _OF_THE_RUN):
      values = {}
      for metric in _METRICS:
        value, spread = (row.get(f'{told}_{metric}{end}') for end in ('', '_std'))
        if value is not None and (metric, protocol.get('metric')) != (
            'mean_per_class', 'top1'):
          values[metric] = (float(value), None if spread is None else float(spread))
      if values:
        how = (protocol['classifiers'].get(kind, {}) if task else
               protocol.get(f'{kind}_classifiers', {}).get(told, {}))
        figures.append(_Figures(
            (str(workdir), step, encoder), name if task else f'{told} (run)', values,
            _of_first_seed(how) | {
                key: protocol[key] for key in _SHARED if key in protocol},
            group, seed))
  return figures


def _column(results: dict[str, Any], path: epath.Path, step: str) -> str:
  """The evaluation's name: NAME of NAME-STEP; 'NAME (2)' of NAME-STEP-2."""
  found = re.fullmatch(rf'(.+)-{step}(?:-(\d+))?', path.name)
  if path.parent.name == 'evaluations' and found:
    return found[1] + (f' ({found[2]})' if found[2] else '')
  labels = {str(how['labels']) for how in map(
      _of_first_seed, results['protocol']['classifiers'].values()) if 'labels' in how}
  return '_'.join([str(results['task']), *labels])  # finetune_0.1


def _of_first_seed(how: Any) -> dict[str, Any]:
  """A classifier's protocol, which is a list over several seeds."""
  return how[0] if isinstance(how, list) else how


def _read(path: epath.Path) -> dict[str, Any] | None:
  """A JSON object; None, and a word, where there is something else."""
  try:
    found = files_lib.parse_json(path.read_bytes())
  except FileNotFoundError:
    return None
  except OSError:
    found = None
  if isinstance(found, dict):
    return found
  _leave_out(path)
  return None


def _leave_out(path: epath.Path) -> None:
  _console.warning('%s is not what byol_jax writes: left out', path)


def _table(figures: list[_Figures], metric: str) -> str:
  """The figures by one metric; '' where nothing has it."""
  figures = [figure for figure in figures if metric in figure.values]
  columns = list(dict.fromkeys(figure.column for figure in figures))
  cells = {(figure.row, figure.column): _cell(*figure.values[metric])
           for figure in figures}
  runs = list(dict.fromkeys(figure.row[:2] for figure in figures))
  kinds = list(_KINDS.values())
  rows = sorted({figure.row for figure in figures}, key=lambda row: (
      runs.index(row[:2]), kinds.index(row[2].removesuffix(_TARGET)), row[2]))
  lines = [[*row, *(cells.get((row, column), '-') for column in columns)]
           for row in rows]
  # runs that differ in their seed only: {group: {column: {seed: value}}}
  groups: Mapping[tuple, dict[str, dict[str, float]]] = defaultdict(
      lambda: defaultdict(dict))
  for figure in figures:
    groups[figure.group, *figure.row[1:]][figure.column][figure.seed] = (
        figure.values[metric][0])
  for (_, step, encoder), of_columns in groups.items():
    seeds = set().union(*of_columns.values())
    if len(seeds) > 1:
      lines.append([f'mean of {len(seeds)} seeds', step, encoder, *(
          _mean(list(of_columns[column].values())) if column in of_columns else '-'
          for column in columns)])
  if not lines:
    return ''
  head = ['workdir', 'step', 'encoder', *(
      f'{column} {_METRICS[metric]}' for column in columns)]
  widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
  return '\n'.join('  '.join(
      cell.ljust(width) if i < 3 else cell.rjust(width)
      for i, (cell, width) in enumerate(zip(line, widths))).rstrip()
      for line in [head, *lines])


def _mean(values: list[float]) -> str:
  """With the deviation, and of how many: not every run has every figure."""
  spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
  return f'{_cell(float(np.mean(values)), spread)} n={len(values)}'


def _cell(value: float, spread: float | None) -> str:
  return f'{value:.2f}%' + ('' if spread is None else f' +-{spread:.2f}')


def _differences(figures: list[_Figures]) -> list[str]:
  """What keeps figures of one column from being compared."""
  lines = []
  columns = defaultdict(list)
  for figure in figures:
    if figure.row[2].startswith(_KINDS['byol']):
      columns[_NUMBER.sub('', figure.column)].append(figure)
  for column, of_column in columns.items():
    keys = dict.fromkeys(key for figure in of_column for key in figure.protocol)
    for key in keys:
      if key in _FOUND or key.startswith(('held_out_', 'feature_size')):
        continue
      values = {}
      for figure in of_column:
        where = figure.row[0] + figure.column.removeprefix(column)
        values.setdefault(str(figure.protocol.get(key, 'not told')), where)
      if len(values) > 1:
        lines.append(f'not alike, {column}: {key} is ' + ', '.join(
            f'{value[:60]} in {where}' for value, where in values.items()))
  return lines
