"""A table over several runs: task=compare."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from etils import epath
import numpy as np

from byol_jax import config as config_lib
from byol_jax import logs
from byol_jax.errors import UserError

_KINDS = {'raw_pixels': 'raw pixels', 'untrained': 'untrained', 'byol': 'BYOL'}
_OF_THE_RUN = ('knn', 'linear')  # figures of results.json of a pretraining
# what a protocol finds, or is told of one run only; the rest should be alike
_FOUND = ('l2', 'learning_rate', 'iterations', 'converged', 'chosen', 'seed', 'seeds',
          'train_images', 'test_images', 'test_classes_without_training_images')


class _Figure(NamedTuple):
  """One number, with how it came about."""
  row: tuple[str, str, str]   # workdir, step, kind
  column: str
  value: float
  spread: float | None
  protocol: dict[str, Any]
  group: str                  # the same for runs that differ in their seed only


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
      logs.console.warning('warning: %s has no results yet', folder)
    figures += found
  if not figures:
    raise UserError(f'config key compare.workdirs is {workdirs!r}: none of them has '
                    'a results.json; evaluate them first, for example with '
                    '--config=configs/knn.py --config.weights=WORKDIR')
  print(_table(figures))
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


def _of_run(folder: epath.Path) -> list[_Figure]:
  """Of a pretraining's workdir and the evaluations in it, or of an evaluation's."""
  found = _of_results(folder, folder)
  evaluations = folder / 'evaluations'
  if evaluations.is_dir():
    for path in sorted(evaluations.iterdir()):
      if path.is_dir():
        found += _of_results(path, folder)
  return found


def _of_results(path: epath.Path, workdir: epath.Path) -> list[_Figure]:
  results = _read(path / 'results.json')
  if not isinstance(results, dict) or not isinstance(results.get('protocol'), dict):
    return []
  protocol, task = results['protocol'], results.get('task')
  config = _read(path / 'config.json') or {}
  # of an evaluation the pretraining's config says more
  own = _read(workdir / 'config.json') or config
  group = str(sorted((key, str(value)) for key, value in config_lib.flatten(
      own).items() if key != 'seed' and not key.startswith('data_found.')))
  step = str(protocol.get('step', results.get('run', {}).get('steps', '?')))
  name = path.name.removesuffix(f'-{step}') if path != workdir else str(task)
  figures = []
  for kind in _KINDS:
    row = results.get(kind)
    if not isinstance(row, dict):
      continue
    for told in ([task] if task else _OF_THE_RUN):
      value = row.get(f'{told}_top1')
      if not isinstance(value, (int, float)):
        continue
      how = (protocol.get('classifiers', {}).get(kind) if task else
             protocol.get(f'{kind}_classifiers', {}).get(told))
      how = how[0] if isinstance(how, list) and how else how
      figures.append(_Figure(
          (str(workdir), step, kind), name if task else f'{told} (run)', value,
          row.get(f'{told}_top1_std'),
          (how if isinstance(how, dict) else {}) | {
              key: protocol[key] for key in ('image_size', 'center_share', 'data')
              if key in protocol}, group))
  return figures


def _read(path: epath.Path) -> Any:
  return logs.parse_json(path.read_bytes()) if path.exists() else None


def _table(figures: list[_Figure]) -> str:
  columns = list(dict.fromkeys(figure.column for figure in figures))
  cells = {(figure.row, figure.column): _cell(figure.value, figure.spread)
           for figure in figures}
  rows = list(dict.fromkeys(figure.row for figure in figures))
  lines = [[*row[:2], _KINDS[row[2]],
            *(cells.get((row, column), '-') for column in columns)] for row in rows]
  # runs that differ in their seed only
  groups: Mapping[tuple, dict[str, list[float]]] = defaultdict(
      lambda: defaultdict(list))
  members = defaultdict(set)
  for figure in figures:
    key = (figure.group, *figure.row[1:])
    groups[key][figure.column].append(figure.value)
    members[key].add(figure.row)
  for key, values in groups.items():
    if len(members[key]) > 1:
      lines.append([f'mean of {len(members[key])} seeds', key[1], _KINDS[key[2]], *(
          _cell(float(np.mean(values[column])), float(np.std(
              values[column], ddof=1)) if len(values[column]) > 1 else None)
          if column in values else '-' for column in columns)])
  head = ['workdir', 'step', 'encoder', *columns]
  widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
  return '\n'.join('  '.join(
      cell.ljust(width) if i < 3 else cell.rjust(width)
      for i, (cell, width) in enumerate(zip(line, widths))).rstrip()
      for line in [head, *lines])


def _cell(value: float, spread: float | None) -> str:
  return f'{value:.2f}%' + ('' if spread is None else f' +-{spread:.2f}')


def _differences(figures: list[_Figure]) -> list[str]:
  """What keeps figures of one column from being compared."""
  lines = []
  columns = defaultdict(list)
  for figure in figures:
    if figure.row[2] == 'byol':
      columns[figure.column].append(figure)
  for column, of_column in columns.items():
    keys = dict.fromkeys(key for figure in of_column for key in figure.protocol)
    for key in keys:
      if key in _FOUND or key.startswith(('held_out_', 'feature_size')):
        continue
      values = {}
      for figure in of_column:
        values.setdefault(str(figure.protocol.get(key)), figure.row[0])
      if len(values) > 1:
        lines.append(f'not alike, {column}: {key} is ' + ', '.join(
            f'{value[:60]} in {where}' for value, where in values.items()))
  return lines
