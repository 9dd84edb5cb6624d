"""The page of one run: what it reached, how it went, what it is made of.

All figures come from the run's own files (`journal.Journal`). What has to be computed
or looked up elsewhere comes as values in `Facts` and `pictures.Pictures`.
"""

from __future__ import annotations

from collections.abc import Sequence
import os
from typing import Any, NamedTuple

from byol_jax.pages import chart
from byol_jax.pages import pictures as pictures_lib
from byol_jax.pages import template
from byol_jax.pages.template import figure
from byol_jax.pages.template import Markup
from byol_jax.pages.template import tag
from byol_jax.run.journal import Journal

_MOST_BAD, _MOST_CLASSES = 200, 100  # rows of a table
_FIXED = ('step', 'epoch')  # of metrics.jsonl: they are no curves

# name of metrics.jsonl: (title, logarithmic, what to know)
_CURVES = {
    'loss': ('Loss', False, ''),
    'learning_rate': ('Learning rate', False, ''),
    'tau': ('Memory of the target, tau', False, ''),
    'knn_top1': ('k-NN top-1, percent', False, 'training images, against others'),
    'probe_top1': ('Probe top-1, percent', False,
                   'linear, on the features of the training batch'),
    'projection_std': ('Spread of the projections', False,
                       '1: spread out, 0: all images are one point'),
    'feature_rank': ('Rank of the features', True, 'dimensions that they fill'),
    'projection_rank': ('Rank of the projections', True, 'dimensions that they fill'),
    'alignment': ('Distance of two views', False, '0: views of an image agree'),
    'uniformity': ('Uniformity', False, '0: one point; lower: spread more evenly'),
    'predictor_explained': ('Variance that the predictor explains', False, '1: all'),
    'gradient_norm': ('Norm of the gradient', True, ''),
    'images_per_second': ('Images a second', False, 'of all devices together'),
    'data_wait': ('Share of the time that steps waited for images', False, ''),
}
_LATER = ('seconds_left', 'skipped_steps')


class Result(NamedTuple):
  """One figure of an encoder.

  Attributes:
    encoder: 'BYOL', 'untrained encoder', ...
    what: 'k-NN', 'linear_eval', ...
    metric: 'top-1', ...
    value: percent.
    std: the deviation over seeds; None for one.
    interval: the 95 % interval, percent; None where it is not known.
    images: the test images; None where it is not known.
    key: where it stands.
  """
  encoder: str
  what: str
  metric: str
  value: float
  std: float | None
  interval: Sequence[float] | None
  images: int | None
  key: str


class Facts(NamedTuple):
  """Says a config in words.

  Attributes:
    title: the method's name.
    total_steps: of the whole run; None where it is not known.
    loss: sentences about the loss's range.
    bounds: {metric: values that are marked on its chart}.
    warnings: what is wrong with the run, such as a collapse.
    groups: titles and lines (name, value) of schedule, data and network.
    changed: keys that differ from their default: (key, value, default).
  """
  title: str = ''
  total_steps: int | None = None
  loss: str = ''
  bounds: dict[str, Sequence[chart.Bound]] = {}
  warnings: Sequence[str] = ()
  groups: Sequence[tuple[str, Sequence[tuple[str, Any]]]] = ()
  changed: Sequence[tuple[str, Any, Any]] = ()


def page(journal: Journal, facts: Facts, results: Sequence[Result],
         pictures: pictures_lib.Pictures, made: str) -> str:
  """Returns the page.

  Args:
    journal: the run's files.
    facts: about its config.
    results: of the run and of its evaluations.
    pictures: the images.
    made: when and by what the page was made.
  """
  name = os.path.basename(journal.workdir.rstrip('/')) or journal.workdir
  chapters = [
      _headline(results, journal), _curves(journal, facts),
      pictures_lib.views(pictures), pictures_lib.nearest(pictures),
      pictures_lib.mapped(pictures), _by_class(journal), _bad(journal),
      _settings(journal, facts), _sessions(journal)]
  missing = [*journal.problems, *pictures.missing]
  if missing:
    chapters.append(template.chapter('What is missing', tag(
        'ul', *(tag('li', text) for text in missing))))
  about = [_state(journal, facts), *map(template.warning, facts.warnings),
           tag('p', f'{journal.workdir} · {made}', class_='soft')]
  return template.page(name, *filter(None, chapters), about=about,
                       style=pictures_lib.STYLE)


def _state(journal: Journal, facts: Facts) -> Markup:
  """Returns the first sentence: what was run, and how far it is."""
  step = journal.metrics[-1]['step'] if journal.metrics else None
  task = journal.config.get('task', 'pretrain')
  parts = [facts.title or task, ': ']
  if task != 'pretrain':
    parts += ['an evaluation', '' if journal.results else ', not finished']
  elif journal.results:
    parts += ['finished, ', figure(_section(journal, 'run').get('steps'), ',d',
                                   key='results.json run.steps'), ' steps']
  elif step is None:
    parts.append('nothing is logged yet')
  else:
    parts += ['not finished: step ', figure(step, ',d', key='metrics.jsonl step')]
    if facts.total_steps:
      parts += [f' of {facts.total_steps:,}, {100 * step / facts.total_steps:.0f} %; '
                'the same command goes on']
  return tag('p', template.joined(parts), '.')


def _headline(results: Sequence[Result], journal: Journal) -> Markup | None:
  """Returns the figures reached, each beside its baselines."""
  rows = []
  for result in results:
    interval = '-' if result.interval is None else template.joined(
        [figure(end) for end in result.interval], ' to ')
    rows.append([
        result.what, result.metric, result.encoder,
        template.joined([figure(result.value, unit=' %', key=result.key), *(
            [] if result.std is None else [' ± ', figure(result.std)])]),
        interval, '-' if result.images is None else f'{result.images:,}'])
  parts = []
  if rows:
    parts.append(template.table(
        ['measured by', 'metric', 'encoder', 'accuracy', '95 % interval',
         'test images'], rows, numbers=(3, 4, 5)))
  last = [(name, *found) for name in (
      'loss', 'knn_top1', 'probe_top1', 'projection_std', 'feature_rank')
      if (found := journal.last(name))]
  if last:
    parts.append(template.table(['last of', 'value', 'step'], [
        [name, figure(value, '.4g', key=f'metrics.jsonl {name}'), figure(step, ',d')]
        for name, step, value in last], numbers=(1, 2)))
  images = _section(journal, 'protocol').get('images')
  if not parts and not images:
    return None
  about = f'Measured with {images}.' if rows and images else images
  return template.chapter('Figures', *parts, about=about)


def _curves(journal: Journal, facts: Facts) -> Markup | None:
  """Returns a chart for each metric that was logged."""
  names = dict.fromkeys(name for line in journal.metrics for name in line)
  known = [name for name in _CURVES if name in names]
  others = [name for name in names if name not in _CURVES
            and name not in _FIXED and name not in _LATER]
  charts = []
  for name in known + sorted(others):
    # null stands for what is not finite, and is no gap between two measurements
    points = [(line['step'], line[name]) for line in journal.metrics
              if name in line and (line[name] is None or _is_number(line[name]))]
    if points:
      title, log, about = _CURVES.get(name, (name, False, ''))
      charts.append(chart.curves(
          title, [chart.Line(name, points)], log=log, bounds=facts.bounds.get(name, ()),
          about=facts.loss if name == 'loss' else about))
  if not charts:
    return None
  return template.chapter('Curves', tag('div', *charts, class_='cards'), about=(
      'From metrics.jsonl. The value at a mark shows under the pointer.'))


def _by_class(journal: Journal) -> Markup | None:
  """Returns the accuracy of each class, and the pairs that are confused most often."""
  found = journal.results.get('by_class')
  try:
    classes = [(str(name), int(n), int(right)) for name, n, right in found['classes']]
    pairs = [(str(a), str(b), int(n)) for a, b, n in found['confused']]
    title = f'{found["figure"]}, {found["of"]} images'
  except (TypeError, KeyError, ValueError):  # there is none, or somebody changed it
    return None
  classes.sort(key=lambda row: row[2] / max(row[1], 1))
  shown = classes[:_MOST_CLASSES]
  rows = [[name, figure(100 * right / max(n, 1), '.1f', ' %'), figure(right, ',d'),
           figure(n, ',d'), _bar(right / max(n, 1))] for name, n, right in shown]
  more = len(classes) - len(shown)
  return template.chapter(
      'Classes', template.table(
          ['class', 'accuracy', 'right', 'images', ''], rows, numbers=(1, 2, 3),
          caption=f'{title}; the worst first'
          + (f', {more} better ones are left out' if more else '')),
      template.table(['class', 'taken for', 'images'], [
          [a, b, figure(n, ',d')] for a, b, n in pairs], numbers=(2,),
          caption='most often confused') if pairs else None)


def _bar(share: float) -> Markup:
  return tag('svg',
             tag('rect', class_='c0 mark', width=f'{100 * share:.1f}', height=10),
             chart.path('M.5 .5h99v9h-99z', 'axis'), viewBox='0 0 100 10', width=100,
             height=10, aria_hidden='true')


def _bad(journal: Journal) -> Markup | None:
  """Returns the images that were left out, with the reasons."""
  told = _section(journal, 'left_out') or _section(journal, 'protocol').get('left_out')
  rows = [[part, name, why] for part, of in (
      told.items() if isinstance(told, dict) else ()) if isinstance(of, dict)
      for name, why in of.items()]
  if not rows:
    return None
  more = len(rows) - _MOST_BAD
  return template.chapter(
      'Images left out', template.table(['part', 'image', 'reason'], rows[:_MOST_BAD]),
      f'and {more} more, which results.json names' if more > 0 else None,
      about=f'{len(rows)} images cannot be used; others stood in for them.')


def _settings(journal: Journal, facts: Facts) -> Markup | None:
  """Returns schedule, data and network, and each key that differs from its default."""
  cards = [tag('div', tag('h3', title), template.table(
      [], [[name, value] for name, value in lines])) for title, lines in facts.groups]
  parts = [tag('div', *cards, class_='cards')] if cards else []
  if facts.changed:
    parts.append(template.table(
        ['key', 'value', 'default'],
        [[tag('code', key), tag('code', str(value)), tag('code', str(default))]
         for key, value, default in facts.changed],
        caption='keys that differ from their default'))
  if protocol := _section(journal, 'protocol'):
    parts.append(tag('details', tag('summary', 'Protocol of the figures'),
                     template.table([], _flat(protocol))))
  return template.chapter('Settings', *parts) if parts else None


def _flat(value: Any, name: str = '') -> list[list[str]]:
  """Returns nested values as lines of a table."""
  if isinstance(value, dict) and value:
    return [line for key, item in value.items()
            for line in _flat(item, f'{name}.{key}' if name else str(key))]
  return [[name, str(value)]]


def _sessions(journal: Journal) -> Markup:
  """Returns command, versions, devices and times."""
  parts = []
  if journal.sessions:
    for line in journal.sessions:
      said = lambda name, line=line: line.get(name, '?')
      parts += [f'{said("began")}, from step {said("from_step")}: byol_jax '
                f'{said("version")}, jax {said("jax")}, Python {said("python")}; '
                f'{said("device")}, {said("processes")} process(es)',
                tag('pre', said('command'))]
  else:
    parts.append('The version that made this run did not note its command: the keys '
                 'that differ from their defaults say what was asked for.')
  if run := _section(journal, 'run'):
    parts.append(template.table([], [
        [name.replace('_', ' '), figure(value, ',g' if isinstance(value, float) else
                                        ',d', key=f'results.json run.{name}')
         if _is_number(value) else str(value)] for name, value in run.items()],
        caption='results.json', numbers=(1,)))
  return template.chapter('Sessions', *parts, about=(
      'Each start of the run, where it began, and with what.'))


def _section(journal: Journal, name: str) -> dict[str, Any]:
  """Returns a section of results.json; {} where there is none."""
  found = journal.results.get(name)
  return found if isinstance(found, dict) else {}


def _is_number(value: Any) -> bool:
  return isinstance(value, (int, float)) and not isinstance(value, bool)
