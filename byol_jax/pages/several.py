"""The page of several runs, side by side: tables, and a line of each in every chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from byol_jax.pages import chart
from byol_jax.pages import curves
from byol_jax.pages import template
from byol_jax.pages.template import Markup
from byol_jax.pages.template import tag
from byol_jax.run.journal import Journal

_MOST_LINES = 16  # in a chart


class Table(NamedTuple):
  """A table: its title, its head and its lines; the first columns are texts."""
  title: str
  head: Sequence[str]
  lines: Sequence[Sequence[Any]]
  texts: int = 1


def page(title: str, tables: Sequence[Table], runs: Sequence[tuple[str, Journal]], *,
         drawing: str = '', about: Sequence[str] = (), made: str = '',
         settings: Sequence[tuple[str, Any]] = ()) -> str:
  """Returns the page.

  Args:
    title: what is compared.
    tables: the figures.
    runs: names and files of the runs.
    drawing: an SVG file's text, made by `drawing.svg`.
    about: sentences about the figures.
    made: when and by what the page was made.
    settings: keys that all runs share, and their values.
  """
  shown = runs[:_MOST_LINES]
  charts = [curve for name in curves.SIDE_BY_SIDE if (curve := _curve(name, shown))]
  more = (f'{len(runs) - len(shown)} more runs are left out of the charts. '
          if len(runs) > len(shown) else '')
  problems = [f'{name}: {problem.text}' for name, journal in runs
              for problem in journal.problems]
  chapters = [
      template.chapter('Figures', tag('div', *(template.table(
          table.head, table.lines, caption=table.title or None,
          numbers=range(table.texts, len(table.head))) for table in tables),
          tag('div', Markup(drawing), class_='wide') if drawing else None,
          class_='beside'), *about),
      template.chapter('Curves', tag('div', *charts, class_='cards'), about=(
          f'{more}From metrics.jsonl of each run; a null, which stands for what is not '
          'finite, leaves a gap.')) if charts else None,
      template.chapter('Settings', template.table(
          ['key', 'value'], [[tag('code', key), tag('code', value)]
                             for key, value in settings]),
          about='Of all runs, where they differ from the defaults.')
      if settings else None,
      template.missing(problems)]
  return template.page(title, *filter(None, chapters), style=chart.STYLE,
                       about=[tag('p', made, class_='soft')])


def _curve(name: str, runs: Sequence[tuple[str, Journal]]) -> Markup | None:
  """Returns the chart of one metric; None where no run has it."""
  lines = []
  for title, journal in runs:
    points = curves.points(journal.metrics, name)
    if any(value is not None for _, value in points):
      lines.append(chart.Line(title, points))
  if not lines:
    return None
  known, about = curves.KNOWN[name], curves.KNOWN[name].about
  methods = {journal.config.get('method.name') for _, journal in runs}
  if name == 'loss' and len(methods) > 1:
    about = 'losses of different methods have different ranges'
  return chart.curves(known.title, lines, log=known.log, include=known.include,
                      about=about, x_end=max(x for line in lines
                                             for x, _ in line.points))
