"""Draws curves as SVG, by hand: axes, marks that differ in shape, colours of the page.

`drawing.py`, which draws studies, and the map of `pictures.py` use its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
import json
from typing import NamedTuple

from byol_jax import wording
from byol_jax.pages import axis
from byol_jax.pages.template import escape
from byol_jax.pages.template import Markup
from byol_jax.pages.template import tag

COLOURS = 10  # classes c0 to c9, of `style.COLOURS`
SHAPES = 8    # of `mark`

STYLE = '\n'.join(f'.c{i} {{ --c: var(--c{i}) }}' for i in range(COLOURS)) + '''
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; stroke: none }
svg .soft { fill: var(--soft) } svg .title { font-size: 15px; font-weight: 600 }
.sheet { fill: var(--card) } .axis { stroke: var(--soft); fill: none }
.grid { stroke: var(--line); fill: none }
.line { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round }
.mark { fill: var(--c); stroke: var(--card); stroke-width: 1 }
.hollow { fill: var(--card); stroke: var(--c); stroke-width: 1.5 }
.bound { fill: none; stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 6 4 }
svg .limit { fill: var(--bad) }
.chart svg { margin-top: .3rem } .chart text { font-size: 13px }
.chart .row { margin: .2rem 0; gap: .1rem .8rem }
.now { font-weight: 600 } .at rect { fill: transparent }
.at circle { fill: var(--card); stroke: var(--c); stroke-width: 2 }
.at circle, .at text, .chart svg:has(.at:hover) .now { visibility: hidden }
.at:hover circle, .at:hover text { visibility: visible }'''

_WIDTH, _HEIGHT = 420, 230  # pixels
_RIGHT, _TOP, _BOTTOM = 14, 26, 38
_DIGIT = 7.4        # pixels of a digit of an axis
_APART = 15         # pixels between two names of the y axis
_MOST_POINTS = 300  # of a line; longer ones are thinned
_MOST_MARKS = 10    # of a line
_MOST_PLACES = 48   # that the pointer tells apart
_RADIUS = 4


class Line(NamedTuple):
  """One line of a chart: x and y; None for a y that is not finite."""
  name: str
  points: Sequence[tuple[float, float | None]]


class Bound(NamedTuple):
  """A value that is marked across the chart, such as the chance level."""
  value: float
  name: str


def curves(title: str, lines: Sequence[Line], *, x_end: float | None = None,
           log: bool = False,
           bounds: Sequence[Bound] = (), include: Sequence[float] = (),
           about: str = '') -> Markup:
  """Returns a chart with its title, a line about it, and the key of its lines.

  A chart of one line tells its last value, and the value at the pointer. The exact
  values stand in the HTML, as `data-values` of each line.

  Args:
    title: what is shown.
    lines: with one point or more each; a gap stands where y is None.
    x_end: where the x axis ends, and then it begins at 0; None: it fits the points.
    log: whether y is on a logarithmic axis, if all values allow it.
    bounds: horizontal lines.
    include: values that the y axis reaches in any case.
    about: a sentence below the title.
  """
  thinned = [Line(line.name, thin(line.points)) for line in lines]
  points = [point for line in thinned for point in line.points]
  known = [y for _, y in points if y is not None]
  missing = sum(y is None for line in lines for _, y in line.points)
  shown = [*known, *(bound.value for bound in bounds), *include]
  log = log and bool(shown) and min(shown) > 0
  y = axis.Axis(shown or [0.0], log)
  steps = [point for point, _ in points] + ([] if x_end is None else [0, x_end])
  x = axis.Axis(steps or [0.0], False, margin=0)
  named = _names(y)
  left = 12 + _DIGIT * max(len(name) for _, name in named)
  inner = (_WIDTH - left - _RIGHT, _HEIGHT - _TOP - _BOTTOM)
  x_of = lambda value: left + x.share(value) * inner[0]
  y_of = lambda value: _TOP + (1 - y.share(value)) * inner[1]
  parts, above = [], None
  for value, name in named:
    at = y_of(value)
    parts.append(path(f'M{left} {at:.1f}H{_WIDTH - _RIGHT}', 'grid'))
    if above is None or above - at >= _APART:
      parts.append(text(left - 6, at + 4, name, 'soft', 'end'))
      above = at
  parts.append(path(f'M{left} {_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}', 'axis'))
  for value in x.ticks(5):
    # the last name would stand out of the drawing
    at = min(x_of(value), _WIDTH - _DIGIT * len(axis.short(value)) / 2)
    parts.append(text(at, _HEIGHT - _BOTTOM + 17, axis.short(value), 'soft', 'middle'))
  parts.append(text(left + inner[0] / 2, _HEIGHT - 5, 'step', 'soft', 'middle'))
  for bound in bounds:
    at = y_of(bound.value)
    parts += [path(f'M{left} {at:.1f}H{_WIDTH - _RIGHT}', 'bound'),
              text(_WIDTH - _RIGHT - 2, at - 5 if at > _TOP + 14 else at + 15,
                   bound.name, 'limit', 'end')]
  for number, line in enumerate(thinned):
    parts += _line(line, number, x_of, y_of)
  if len(lines) == 1:
    parts += _readings(thinned[0], x_of, y_of, (left, _WIDTH - _RIGHT))
  drawing = tag('svg', *parts, viewBox=f'0 0 {_WIDTH} {_HEIGHT}', role='img',
                aria_label=title, width=_WIDTH)
  notes = [about] if about else []
  if log:
    notes.append('logarithmic axis')
  if missing:
    notes.append(f'a gap stands for {wording.count(missing, "value")} not finite')
  if any(len(thin.points) < len(line.points) for thin, line in zip(thinned, lines)):
    notes.append(f'thinned to {_MOST_POINTS} points a line')
  return tag('figure', tag('h3', title), drawing,
             tag('div', *(tag('span', key_mark(number), ' ', line.name)
                          for number, line in enumerate(lines)),
                 class_='row soft') if len(lines) > 1 else None,
             tag('figcaption', '; '.join(notes)) if notes else None,
             class_='card chart')


def _names(y: axis.Axis) -> list[tuple[float, str]]:
  """Returns the values that are marked along the y axis, with their names."""
  ticks = y.ticks()
  names = [axis.short(value) for value in ticks]
  if len(set(names)) < len(names):  # they differ in later digits
    names = [f'{value:.8g}' for value in ticks]
  return list(zip(ticks, names))


def _readings(line: Line, x_of, y_of, ends: tuple[float, float]) -> list[Markup]:
  """Returns the last value, and a place for each value that the pointer asks for."""
  known = [point for point in line.points if point[1] is not None]
  if not known:
    return []
  shown = lambda x, y: f'{y:.4g} at step {x:,.6g}'
  parts = [text(ends[1], 14, shown(*known[-1]), 'soft now', 'end')]
  last = len(known) - 1
  places = [known[round(i * last / min(last, _MOST_PLACES - 1))]
            for i in range(min(last + 1, _MOST_PLACES))] if last else known
  middles = [x_of(x) for x, _ in places]
  edges = [ends[0], *((a + b) / 2 for a, b in zip(middles, middles[1:])), ends[1]]
  for (x, y), at, begin, end in zip(places, middles, edges, edges[1:]):
    parts.append(tag(
        'g', tag('rect', x=f'{begin:.1f}', y=_TOP, width=f'{max(0, end - begin):.1f}',
                 height=_HEIGHT - _TOP - _BOTTOM),
        tag('circle', cx=f'{at:.1f}', cy=f'{y_of(y):.1f}', r=_RADIUS),
        text(ends[1], 14, shown(x, y), '', 'end'), class_='c0 at'))
  return parts


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


def key_mark(number: int) -> Markup:
  """Returns the mark of a line or class, to stand in a text."""
  return tag('svg', mark(number, 7, 7), viewBox='0 0 14 14', width=14, height=14,
             style='display:inline;vertical-align:-2px', aria_hidden='true')


def mark(number: int, x: float, y: float, tooltip: str | None = None,
         r: float = _RADIUS) -> Markup:
  """Returns the mark of a line or class: 8 shapes, then the same hollow, in 10 colours.

  Sixteen can be told apart without colours, 40 with them.

  Args:
    number: of the line or class.
    x, y: its middle.
    told: a text under the pointer.
    r: half its width.
  """
  colour, shape = number % COLOURS, number % SHAPES
  kind = f'c{colour} mark' + (' hollow' if number // SHAPES % 2 else '')
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
  return path(f'M{x:.1f} {y:.1f}{d}', kind, tooltip)


def path(d: str, kind: str, tooltip: str | None = None, **attributes) -> Markup:
  """Returns a path, with a text under the pointer."""
  # not by `tag`: a path may be long, and `escape` cuts
  return Markup(f'<path class="{kind}" d="{d}"' + ''.join(
      f' {key.replace("_", "-")}="{escape(value)}"'
      for key, value in attributes.items()) + '>'
      + ('' if tooltip is None else tag('title', tooltip)) + '</path>')


def text(x: float, y: float, words: str, kind: str, anchor: str = 'start',
         **attributes) -> Markup:
  """Returns a text of a drawing."""
  return tag('text', words, class_=kind, x=f'{x:.1f}', y=f'{y:.1f}',
             text_anchor=anchor, **attributes)
