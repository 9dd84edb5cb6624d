"""Counts up a study: means over seeds, the change to the reference, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

FIGURES = {'linear': 'linear', 'knn': 'k-NN'}  # of results.json's NAME_top1, for people
_UNTRAINED = 'untrained encoder'


class Run(NamedTuple):
  """One run of a cell, as far as it is known.

  Attributes:
    seed: the run's.
    workdir: the run's.
    state: 'done', 'failed' or 'open'.
    results: its results.json; {} where there is none yet.
    message: why it failed, or ''.
    warnings: what it warned of.
  """
  seed: int
  workdir: str
  state: str
  results: Mapping[str, Any]
  message: str = ''
  warnings: Sequence[str] = ()


class Cell(NamedTuple):
  """One cell of a study: the place of its row and figure, and its runs.

  Attributes:
    name: the cell's.
    line: the line of the figure that it is on; '' where there is one only.
    place: its place on the x axis.
    reference: the name of the cell that it is compared with.
    paper: the published figure, percent; None without one.
    changes: {key: value}: what differs from the study's config.
    runs: one for each seed.
  """
  name: str
  line: str
  place: str
  reference: str
  paper: float | None
  changes: Mapping[str, Any]
  runs: Sequence[Run]


def summary(cells: Sequence[Cell], untrained: float | None) -> list[dict[str, Any]]:
  """Returns a row for each cell, and one for the untrained encoder, as JSON holds it.

  Args:
    cells: in the order of the table.
    untrained: the published figure of an untrained encoder; None without one.

  Returns:
    Rows with 'name', 'line', 'place', 'reference', 'changes', 'paper',
    'paper_change', 'runs', and for each of FIGURES 'NAME' and 'NAME_change', each
    {'mean', 'std', 'n'} over the seeds, in percent and points; std is None for one
    seed, the whole None without any. A change is taken seed by seed.
  """
  by_name = {cell.name: cell for cell in cells}
  rows = []
  for cell in cells:
    reference = by_name[cell.reference]
    rows.append({
        'name': cell.name, 'line': cell.line, 'place': cell.place,
        'reference': cell.reference, 'changes': dict(cell.changes),
        **_measured(_values(cell, ''), _values(reference, '')),
        'paper': cell.paper, 'paper_change': _less(cell.paper, reference.paper),
        'runs': [_run(run) for run in cell.runs]})
  if cells:
    reference = by_name[cells[0].reference]
    rows.append({
        'name': _UNTRAINED, 'line': None, 'place': '', 'reference': reference.name,
        'changes': {}, **_measured(_values(reference, 'untrained'),
                                   _values(reference, '')),
        'paper': untrained, 'paper_change': _less(untrained, reference.paper),
        'runs': []})
  return rows


def _values(cell: Cell, kind: str) -> dict[str, dict[int, float]]:
  """Returns {figure: {seed: percent}} of a kind of encoder; '': the trained one."""
  found = {figure: {} for figure in FIGURES}
  for run in cell.runs:
    measured = run.results.get(kind or run.results.get('method', 'byol'))
    for figure in FIGURES:
      value = measured.get(f'{figure}_top1') if isinstance(measured, Mapping) else None
      if isinstance(value, (int, float)):
        found[figure][run.seed] = float(value)
  return found


def _measured(values: Mapping[str, Mapping[int, float]],
              reference: Mapping[str, Mapping[int, float]]) -> dict[str, Any]:
  """Returns the means, and the means of the changes over the seeds that both have."""
  found = {}
  for figure, of_seed in values.items():
    other = reference[figure]
    found[figure] = _mean(list(of_seed.values()))
    found[f'{figure}_change'] = _mean([
        value - other[seed] for seed, value in of_seed.items() if seed in other])
  return found


def _mean(values: Sequence[float]) -> dict[str, Any] | None:
  if not values:
    return None
  return {'mean': round(float(np.mean(values)), 4), 'n': len(values),
          'std': round(float(np.std(values, ddof=1)), 4) if len(values) > 1 else None}


def _less(value: float | None, other: float | None) -> float | None:
  return None if value is None or other is None else round(value - other, 2)


def _run(run: Run) -> dict[str, Any]:
  of_run = run.results.get('run')
  of_run = of_run if isinstance(of_run, Mapping) else {}
  measured = run.results.get(run.results.get('method', 'byol'))
  measured = measured if isinstance(measured, Mapping) else {}
  return {'seed': run.seed, 'workdir': run.workdir, 'state': run.state,
          **{f'{figure}_top1': measured.get(f'{figure}_top1') for figure in FIGURES},
          'steps': of_run.get('steps'),
          'seconds_of_last_session': of_run.get('training_seconds_this_session'),
          'device': of_run.get('device'),
          **({'message': run.message} if run.message else {}),
          **({'warnings': list(run.warnings)} if run.warnings else {})}


def seconds(results: Sequence[Mapping[str, Any]]) -> float:
  """Returns the mean time of the last sessions of runs; NaN where none is known."""
  found = [of_run.get('training_seconds_this_session') for of_run in (
      one.get('run') for one in results) if isinstance(of_run, Mapping)]
  found = [x for x in found if isinstance(x, (int, float))]
  return float(np.mean(found)) if found else float('nan')


def columns(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
  """Returns the table's cells as texts, its head first; '-': not known (yet)."""
  with_paper = any(row['paper'] is not None for row in rows)
  head = ['cell', *(text for title in FIGURES.values() for text in (title, 'change')),
          'seeds', *['paper', 'change'] * with_paper]
  lines = [head]
  for row in rows:
    line = [row['name']]
    for figure in FIGURES:
      line += [_cell(row[figure], '.2f'),
               'reference' if row['name'] == row['reference'] and row[figure] else
               _cell(row[f'{figure}_change'], '+.2f')]
    done = sum(run['state'] == 'done' for run in row['runs'])
    line.append(f'{done}/{len(row["runs"])}' if row['runs'] else '')
    if with_paper:
      line += ['-' if row[key] is None else format(row[key], how)
               for key, how in (('paper', '.1f'), ('paper_change', '+.1f'))]
    lines.append(line)
  return lines


def _cell(found: Mapping[str, Any] | None, how: str) -> str:
  if found is None:
    return '-'
  return format(found['mean'], how) + (
      '' if found['std'] is None else f' +-{found["std"]:.2f}')


def table(lines: Sequence[Sequence[str]], texts: int = 1) -> str:
  """Returns the table for a console; its first columns are texts."""
  widths = [max(map(len, column)) for column in zip(*lines)]
  return '\n'.join('  '.join(
      cell.ljust(width) if i < texts else cell.rjust(width)
      for i, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in lines)


def markdown(lines: Sequence[Sequence[str]]) -> str:
  """Returns the table for a page."""
  rule = ['---', *['---:'] * (len(lines[0]) - 1)]
  return '\n'.join(f'| {" | ".join(line)} |' for line in (lines[0], rule, *lines[1:]))
