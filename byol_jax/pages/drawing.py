"""Draws a study as the paper's figure 3: the change of accuracy, cell by cell.

The SVG is written by hand and needs nothing beside it; its colours follow the reader's
light or dark page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math
from typing import Any

from byol_jax.pages import axis
from byol_jax.pages import chart
from byol_jax.pages import style
from byol_jax.pages import template

_HEIGHT, _LEFT, _RIGHT, _TOP = 300, 70, 20, 64  # pixels
_STEP, _BAR = 96, 40  # pixels between two places, and of a bar
_MARK = 4  # pixels, half a mark's width
_STYLE = style.COLOURS + chart.STYLE + '''
.error { fill: none; stroke: var(--c); stroke-width: 1.5 }
.axis.error { stroke: var(--ink) }
.paper { fill: none; stroke: var(--c); stroke-width: 1.5; stroke-dasharray: 4 3;
  opacity: 0.75 }
.bar { fill: var(--c); opacity: 0.85 }'''


def svg(rows: Sequence[Mapping[str, Any]], *, figure: str, title: str,
        subtitle: str) -> str:
  """Returns the drawing: bars for one line of cells, lines for several.

  Args:
    rows: of `tally.summary`. A row without a line is not drawn; one without figures
      has its place, and nothing else.
    figure: one of `tally.FIGURES`.
    title: what was varied.
    subtitle: what was measured, and how.
  """
  rows = [row for row in rows if row['line'] is not None]
  places = list(dict.fromkeys(row['place'] for row in rows))
  lines = list(dict.fromkeys(row['line'] for row in rows))
  low, high, step = _range(rows, f'{figure}_change')
  longest = max(len(place) for place in places)
  is_long = longest * 7 > _STEP - 8
  bottom = 48 + (min(longest * 4, 150) if is_long else 0)
  width, height = _LEFT + _STEP * max(len(places), 4) + _RIGHT, _TOP + _HEIGHT + bottom
  y_of = lambda value: _TOP + (high - value) / (high - low) * _HEIGHT
  x_of = lambda row: _LEFT + (places.index(row['place']) + 0.5) * _STEP
  parts = [
      f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
      f'width="{width}" height="{height}" role="img">',
      template.tag('title', title), f'<style>{_STYLE}\n</style>',
      f'<rect class="sheet" width="{width}" height="{height}"/>',
      chart.text(_LEFT, 22, title, 'title'), chart.text(_LEFT, 40, subtitle, 'soft'),
      *_grid(low, high, step, y_of, width - _RIGHT)]
  for i, place in enumerate(places):
    parts.append(_place(_LEFT + (i + 0.5) * _STEP, _TOP + _HEIGHT + 18, place, is_long))
  for number, line in enumerate(lines):
    of_line = [row for row in rows if row['line'] == line]
    draw = _bars if len(lines) == 1 else _line
    parts += draw(of_line, f'{figure}_change', number, x_of, y_of)
    if len(lines) > 1:
      parts += _key(number, line, width)
  if any(row['paper_change'] is not None for row in rows):
    parts.append(chart.text(_LEFT, height - 8, 'dashed: the published change', 'soft'))
  return '\n'.join([*parts, '</svg>', ''])


def _range(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[float, float, float]:
  """Returns the ends of the y axis, and the step of its marks."""
  ends = [0.0]
  for row in rows:
    if row[key]:
      ends += [row[key]['mean'] + sign * (row[key]['std'] or 0) for sign in (-1, 1)]
    if row['paper_change'] is not None:
      ends.append(row['paper_change'])
  low, high = min(ends), max(ends)
  wide = max(high - low, 1.0)
  low = min(low, high - wide)
  return low - 0.03 * wide, high + 0.03 * wide, axis.steps(low, high)


def _grid(low: float, high: float, step: float, y_of: Any, right: int) -> list[str]:
  """Returns the lines of the y axis, with their values."""
  parts = []
  for i in range(math.ceil(low / step), math.floor(high / step) + 1):
    value = i * step
    kind = 'grid' if i else 'axis'
    parts.append(chart.path(f'M{_LEFT} {y_of(value):.1f}H{right}', kind))
    shown = '0' if kind == 'axis' else f'{value:+.{0 if step >= 1 else 1}f}'
    parts.append(chart.text(_LEFT - 8, y_of(value) + 4, shown, 'soft', 'end'))
  return [*parts, chart.text(
      0, 0, 'change, points', 'soft', 'middle',
      transform=f'translate(18 {_TOP + _HEIGHT / 2:.0f}) rotate(-90)')]


def _place(x: float, y: float, place: str, is_long: bool) -> str:
  if not is_long:
    return chart.text(x, y, place, '', 'middle')
  return chart.text(0, 0, place, '', 'end',
                    transform=f'translate({x + 6:.1f} {y - 4:.1f}) rotate(-40)')


def _bars(rows: Sequence[Mapping[str, Any]], key: str, number: int, x_of: Any,
          y_of: Any) -> list[str]:
  """Returns a bar for each row, and a dashed frame for the published change."""
  parts = []
  for row in rows:
    x = x_of(row)
    for value, kind, wide in (
        (row[key] and row[key]['mean'], 'bar', _BAR),
        (row['paper_change'], 'paper', _BAR + 12)):
      if value is not None:
        top, bottom = sorted((y_of(value), y_of(0)))
        parts.append(f'<rect class="c{number} {kind}" x="{x - wide / 2:.1f}" '
                     f'y="{top:.1f}" width="{wide}" height="{bottom - top:.1f}"/>')
    parts += _error(row, key, 'axis', x, y_of)
  return parts


def _line(rows: Sequence[Mapping[str, Any]], key: str, number: int, x_of: Any,
          y_of: Any) -> list[str]:
  """Returns the line through the rows, and a dashed one of the published changes."""
  measured = [(x_of(row), y_of(row[key]['mean'])) for row in rows if row[key]]
  paper = [(x_of(row), y_of(row['paper_change'])) for row in rows
           if row['paper_change'] is not None]
  parts = [f'<polyline class="c{number % chart.COLOURS} {kind}" points="'
           + ' '.join(f'{x:.1f},{y:.1f}' for x, y in points) + '"/>'
           for kind, points in (('paper', paper), ('line', measured)) if points]
  parts += [chart.mark(number, x, y) for x, y in measured]
  for row in rows:
    parts += _error(row, key, f'c{number % chart.COLOURS}', x_of(row), y_of)
  return parts


def _error(row: Mapping[str, Any], key: str, colour: str, x: float,
           y_of: Any) -> list[str]:
  """Returns the bar of the deviation over seeds."""
  if not row[key] or not row[key]['std']:
    return []
  top, bottom = (y_of(row[key]['mean'] + sign * row[key]['std']) for sign in (1, -1))
  caps = ''.join(f'M{x - _MARK:.1f} {y:.1f}h{2 * _MARK}' for y in (top, bottom))
  return [chart.path(f'M{x:.1f} {top:.1f}V{bottom:.1f}{caps}', f'{colour} error')]


def _key(number: int, line: str, width: int) -> list[str]:
  x, y = width - _RIGHT - 90, 18 + 16 * number
  return [chart.path(f'M{x} {y - 4}h24', f'c{number % chart.COLOURS} line'),
          chart.mark(number, x + 12, y - 4), chart.text(x + 30, y, line, '')]
