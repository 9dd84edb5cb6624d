"""Draws curves as SVG, by hand: axes, marks that differ in shape, colours of the page.

`drawing.py`, which draws studies, and the map of `pictures.py` use its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
import json
import math
from typing import NamedTuple

from byol_jax.pages.template import escape
from byol_jax.pages.template import Markup
from byol_jax.pages.template import tag

COLOURS = 8  # classes c0 to c7, of `template.COLOURS`
SHAPES = 8   # of `mark`

STYLE = '\n'.join(f'.c{i} {{ --c: var(--c{i}) }}' for i in range(COLOURS)) + '''
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; stroke: none }
svg .soft { fill: var(--soft) } svg .title { font-size: 15px; font-weight: 600 }
.sheet { fill: var(--page) } .axis { stroke: var(--ink); fill: none }
.grid { stroke: var(--line); fill: none }
.line { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round }
.mark { fill: var(--c); stroke: var(--page); stroke-width: 1 }
.bound { fill: none; stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 6 4 }
svg .limit { fill: var(--bad) }'''

_WIDTH, _HEIGHT = 420, 230  # pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 38
_MOST_POINTS = 300  # of a line; longer ones are thinned
_MOST_MARKS = 10    # of a line
_RADIUS = 4


class Line(NamedTuple):
  """One line of a chart: x and y; None for a y that is not finite."""
  name: str
  points: Sequence[tuple[float, float | None]]


class Bound(NamedTuple):
  """A value that is marked across the chart, such as the chance level."""
  value: float
  name: str


def curves(title: str, lines: Sequence[Line], *, x_title: str = 'step',
           log: bool = False, bounds: Sequence[Bound] = (), about: str = '') -> Markup:
  """Returns a chart with its title, a line about it, and the key of its lines.

  The exact values stand in the HTML, as `data-values` of each line.

  Args:
    title: what is shown.
    lines: with one point or more each; a gap stands where y is None.
    x_title: the x axis.
    log: whether y is on a logarithmic axis, if all values allow it.
    bounds: horizontal lines.
    about: a sentence below the title.
  """
  thinned = [Line(line.name, thin(line.points)) for line in lines]
  points = [point for line in thinned for point in line.points]
  known = [y for _, y in points if y is not None]
  missing = sum(y is None for line in lines for _, y in line.points)
  shown = [*known, *(bound.value for bound in bounds)]
  log = log and bool(shown) and min(shown) > 0
  y = _Axis(shown or [0.0], log)
  x = _Axis([point for point, _ in points] or [0.0], False, margin=0)
  inner = (_WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM)
  x_of = lambda value: _LEFT + x.share(value) * inner[0]
  y_of = lambda value: _TOP + (1 - y.share(value)) * inner[1]
  parts = []
  ticks = y.ticks()
  names = [short(value) for value in ticks]
  if len(set(names)) < len(names):  # they differ in later digits
    names = [f'{value:.8g}' for value in ticks]
  for value, name in zip(ticks, names):
    parts += [path(f'M{_LEFT} {y_of(value):.1f}H{_WIDTH - _RIGHT}', 'grid'),
              text(_LEFT - 6, y_of(value) + 4, name, 'soft', 'end')]
  parts.append(path(f'M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}', 'axis'))
  for value in x.ticks(5):
    parts.append(text(x_of(value), _HEIGHT - _BOTTOM + 16, short(value), 'soft',
                      'middle'))
  parts.append(text(_LEFT + inner[0] / 2, _HEIGHT - 6, x_title, 'soft', 'middle'))
  for bound in bounds:
    at = y_of(bound.value)
    parts += [path(f'M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}', 'bound'),
              text(_WIDTH - _RIGHT - 2, at - 4 if at > _TOP + 14 else at + 13,
                   bound.name, 'limit', 'end')]
  for number, line in enumerate(thinned):
    parts += _line(line, number, x_of, y_of)
  drawing = tag('svg', *parts, viewBox=f'0 0 {_WIDTH} {_HEIGHT}', role='img',
                aria_label=title, width=_WIDTH)
  told = [about] if about else []
  if log:
    told.append('logarithmic axis')
  if missing:
    told.append(f'{missing} values are not finite and leave gaps')
  if any(len(line.points) < len(of.points) for line, of in zip(thinned, lines)):
    told.append(f'thinned to {_MOST_POINTS} points a line')
  return tag('figure', tag('h3', title),
             tag('figcaption', '; '.join(told)) if told else None, drawing,
             tag('div', *(_key(number, line.name) for number, line in enumerate(lines)),
                 class_='row soft') if len(lines) > 1 else None, class_='chart')


def thin(points: Sequence[tuple[float, float | None]],
         ) -> list[tuple[float, float | None]]:
  """Returns at most `_MOST_POINTS` points, evenly chosen, with the first and last."""
  points = list(points)
  if len(points) <= _MOST_POINTS:
    return points
  last = len(points) - 1
  return [points[round(i * last / (_MOST_POINTS - 1))] for i in range(_MOST_POINTS)]


def _line(line: Line, number: int, x_of, y_of) -> list[Markup]:
  """Returns a line in pieces between gaps, and its marks."""
  d, is_down = [], False
  for x, y in line.points:
    if y is not None:
      d.append(f'{"L" if is_down else "M"}{x_of(x):.1f} {y_of(y):.1f}')
    is_down = y is not None
  values = json.dumps([list(point) for point in line.points])
  parts = [path(''.join(d), f'c{number % COLOURS} line', data_name=line.name,
                data_values=Markup(escape_json(values)))]
  known = [point for point in line.points if point[1] is not None]
  every = max(1, -(-len(known) // _MOST_MARKS))
  # the last one is always marked: it is the one that people look for
  for x, y in known[(len(known) - 1) % every::every]:
    parts.append(mark(number, x_of(x), y_of(y), f'{line.name}: {y:.6g} at {x:g}'))
  return parts


def escape_json(text: str) -> Markup:
  """Returns JSON of numbers for an attribute, at any length."""
  return Markup(text.replace('&', '&amp;').replace('"', '&quot;').replace('<', '&lt;'))


def _key(number: int, name: str) -> Markup:
  return tag('span', key_mark(number), ' ', name)


def key_mark(number: int) -> Markup:
  """Returns the mark of a line or class, to stand in a text."""
  return tag('svg', mark(number, 7, 7), viewBox='0 0 14 14', width=14, height=14,
             style='display:inline;vertical-align:-2px', aria_hidden='true')


def mark(number: int, x: float, y: float, told: str | None = None,
         r: float = _RADIUS) -> Markup:
  """Returns the mark of a line or class: 8 shapes in 8 colours, 64 together.

  Args:
    number: of the line or class.
    x, y: its middle.
    told: a text under the pointer.
    r: half its width.
  """
  colour, shape = number % COLOURS, (number + number // COLOURS) % SHAPES
  h = 0.4 * r
  d = (f'm{-r} 0a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z',
       f'm{-r} {-r}h{2 * r}v{2 * r}h{-2 * r}z',
       f'm0 {-1.2 * r:.1f}l{1.2 * r:.1f} {2.2 * r:.1f}h{-2.4 * r:.1f}z',
       f'm0 {-1.4 * r:.1f}l{r} {1.4 * r:.1f}l{-r} {1.4 * r:.1f}'
       f'l{-r} {-1.4 * r:.1f}z',
       f'm{-h:.1f} {-r}h{2 * h:.1f}v{r - h:.1f}h{r - h:.1f}v{2 * h:.1f}'
       f'h{h - r:.1f}v{r - h:.1f}h{-2 * h:.1f}v{h - r:.1f}h{h - r:.1f}'
       f'v{-2 * h:.1f}h{r - h:.1f}z',
       f'm0 {1.2 * r:.1f}l{1.2 * r:.1f} {-2.2 * r:.1f}h{-2.4 * r:.1f}z',
       f'm{-r} {-r}l{r} {h:.1f}l{r} {-h:.1f}l{-h:.1f} {r}l{h:.1f} {r}'
       f'l{-r} {-h:.1f}l{-r} {h:.1f}l{h:.1f} {-r}z',
       f'm{-1.4 * r:.1f} {-h:.1f}h{2.8 * r:.1f}v{2 * h:.1f}h{-2.8 * r:.1f}z')[shape]
  return path(f'M{x:.1f} {y:.1f}{d}', f'c{colour} mark', told)


def path(d: str, kind: str, told: str | None = None, **attributes) -> Markup:
  """Returns a path, with a text under the pointer."""
  # not by `tag`: a path may be long, and `escape` cuts
  return Markup(f'<path class="{kind}" d="{d}"' + ''.join(
      f' {key.replace("_", "-")}="{escape(value)}"'
      for key, value in attributes.items()) + '>'
      + ('' if told is None else tag('title', told)) + '</path>')


def text(x: float, y: float, words: str, kind: str, anchor: str = 'start',
         **attributes) -> Markup:
  """Returns a text of a drawing."""
  return tag('text', words, class_=kind, x=f'{x:.1f}', y=f'{y:.1f}',
             text_anchor=anchor, **attributes)


def short(value: float) -> str:
  """Returns a number for an axis: '0.5', '1e-06', '20k'."""
  if value and not 1e-3 <= abs(value) < 1e7:
    return f'{value:.0e}'.replace('e-0', 'e-').replace('e+0', 'e')
  for size, letter in ((1e6, 'M'), (1e4, 'k')):
    if abs(value) >= size:
      return f'{value / (size if letter == "M" else 1e3):.4g}{letter}'
  return f'{value:.4g}'


def steps(low: float, high: float, most: int = 6) -> float:
  """Returns a round distance between at most `most` + 1 ticks from low to high."""
  wide = high - low
  step = 10 ** math.floor(math.log10(wide / most))
  return next(step * f for f in (1, 2, 5, 10) if wide / (step * f) <= most)


class _Axis:
  """One axis: its ends, its ticks, and where a value stands."""

  def __init__(self, values: Sequence[float], log: bool, margin: float = 0.05):
    self._log = log
    values = [math.log10(value) for value in values] if log else values
    low, high = min(values), max(values)
    wide = high - low
    if wide <= 1e-9 * max(abs(low), abs(high)):  # one value: it stands in the middle
      wide = (0.2 if log else 0.2 * abs(high) or 1.0)
      low, high = low - wide / 2, high + wide / 2
    self._low, self._high = low - margin * wide, high + margin * wide

  def share(self, value: float) -> float:
    """Returns the place of a value, 0 at the low end and 1 at the high one."""
    value = math.log10(value) if self._log else value
    return (value - self._low) / (self._high - self._low)

  def ticks(self, most: int = 6) -> list[float]:
    """Returns the values that are named along the axis."""
    if self._log and self._high - self._low >= 1.5:
      step = max(1, math.ceil((self._high - self._low) / most))
      first = math.ceil(self._low / step) * step
      return [10.0 ** power for power in range(first, math.floor(self._high) + 1, step)]
    low, high = ((10**self._low, 10**self._high) if self._log
                 else (self._low, self._high))
    step = steps(low, high, most)
    return [round(i * step, 12) for i in range(math.ceil(low / step),
                                               math.floor(high / step) + 1)
            if not self._log or i]
