"""task=compare: a table over several runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
import logging

from etils import epath
import ml_collections
import numpy as np

from byol_jax.errors import UserError
from byol_jax.evaluation import figures as figures_lib
from byol_jax.evaluation import rows as rows_lib
from byol_jax.evaluation import scores
from byol_jax.evaluation import tally
from byol_jax.evaluation.rows import Row
from byol_jax.pages import several
from byol_jax.tasks import output
from byol_jax.tasks import side_by_side

_console = logging.getLogger('byol_jax')

# keys of a protocol, beside the classifier's, that should be alike in one column
_SHARED = ('network', 'metric', 'images', 'image_size', 'center_share', 'data')
# a classifier's keys that may differ: its results, and keys that one run alone has
_FOUND = ('l2', 'learning_rate', 'iterations', 'converged', 'chosen', 'seed', 'seeds',
          'test_classes_without_training_images')


def run(config: ml_collections.ConfigDict, workdir: str | None) -> None:
  """Prints the tables.

  Args:
    config: `compare.workdirs` names the workdirs of pretrainings, with their
      evaluations, or of evaluations, separated by commas; * stands for many.
    workdir: where to write report.html; None writes none.

  Raises:
    UserError: there is nothing to compare, or the page cannot be written.
  """
  workdirs = config.compare.workdirs
  rows, places = [], _folders(workdirs)
  for place in places:
    found = [row for row in rows_lib.of_run(place)
             if (row.metric, row.protocol.get('metric')) != ('mean_per_class', 'top1')]
    if not found:
      _console.warning('%s has no results yet', place)
    rows += found
  if not rows:
    raise UserError(f'config key compare.workdirs is {workdirs!r}: none of them has '
                    'a results.json; evaluate them first, for example with '
                    '--config=configs/knn.py --config.weights=WORKDIR')
  tables = [_table([row for row in rows if row.metric == metric])
            for metric in scores.FIGURES if any(row.metric == metric for row in rows)]
  print('\n\n'.join(tally.table(table, texts=3) for table in tables))
  differences = _differences(rows)
  for line in differences:
    print(line)
  if workdir:
    output.write(workdir, side_by_side.of_runs(
        [str(place) for place in places],
        [several.Table('', table[0], table[1:], texts=3) for table in tables],
        differences, output.made()))


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


def _encoder(row: Row) -> str:
  """Returns the encoder's name: 'raw pixels', 'untrained', 'BYOL', 'BYOL target'."""
  title = figures_lib.kinds(row.encoder)[row.encoder].removesuffix(' encoder')
  is_target = figures_lib.is_trained(row.encoder) and row.network == 'target'
  return f'{title} target' if is_target else title


def _line(row: Row) -> tuple[str, str, str]:
  """Returns the table's line for a figure."""
  return row.workdir, row.step, _encoder(row)


def _column(row: Row) -> str:
  """Returns the table's column: 'knn (run)', 'knn'; 'knn (2)' for another config."""
  if not row.name:
    return f'{row.task} (run)'
  return row.name + (f' ({row.number})' if row.number else '')


def _table(rows: list[Row]) -> list[list[str]]:
  """Returns the table of the figures by one metric, its head first."""
  columns = list(dict.fromkeys(map(_column, rows)))
  cells = {(_line(row), _column(row)): figures_lib.cell(row.value, row.std)
           for row in rows}
  runs = list(dict.fromkeys(_line(row)[:2] for row in rows))
  kinds = list(figures_lib.kinds(''))  # the trained one comes last
  kind_of = {_line(row): 0 if figures_lib.is_trained(row.encoder) else
             kinds.index(row.encoder) for row in rows}
  lines = [[*line, *(cells.get((line, column), '-') for column in columns)]
           for line in sorted(kind_of, key=lambda line: (
               runs.index(line[:2]), -kind_of[line], line[2]))]
  # runs that differ in their seed only: {group: {column: {seed: value}}}
  groups: Mapping[tuple, dict[str, dict[str, float]]] = defaultdict(
      lambda: defaultdict(dict))
  for row in rows:
    groups[row.group, *_line(row)[1:]][_column(row)][row.seed] = row.value
  for (_, step, encoder), of_columns in groups.items():
    seeds = set().union(*of_columns.values())
    if len(seeds) > 1:
      lines.append([f'mean of {len(seeds)} seeds', step, encoder, *(
          _mean(list(of_columns[column].values())) if column in of_columns else '-'
          for column in columns)])
  head = ['workdir', 'step', 'encoder', *(
      f'{column} {scores.FIGURES[rows[0].metric]}' for column in columns)]
  return [head, *lines]


def _mean(values: list[float]) -> str:
  """Returns mean, deviation and number of values: not every run has every figure."""
  spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
  return f'{figures_lib.cell(float(np.mean(values)), spread)} n={len(values)}'


def _differences(rows: list[Row]) -> list[str]:
  """Returns lines about the differences that make figures of one column not alike."""
  lines = []
  columns = defaultdict(list)
  for row in rows:
    if figures_lib.is_trained(row.encoder):
      columns[_column(row._replace(number=''))].append(row)
  for column, of_column in columns.items():
    protocols = [row.how | {key: row.protocol[key] for key in _SHARED
                            if key in row.protocol} for row in of_column]
    for key in dict.fromkeys(key for protocol in protocols for key in protocol):
      if key in _FOUND or key.startswith(('held_out_', 'feature_size')):
        continue
      values = {}
      for row, protocol in zip(of_column, protocols):
        where = row.workdir + (f' ({row.number})' if row.number else '')
        values.setdefault(str(protocol.get(key, 'not told')), where)
      if len(values) > 1:
        lines.append(f'not alike, {column}: {key} is ' + ', '.join(
            f'{value[:60]} in {where}' for value, where in values.items()))
  return lines
