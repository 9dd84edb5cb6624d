"""The first figures of a run's page: what was reached, beside where it started."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from byol_jax.pages import axis
from byol_jax.pages import chart
from byol_jax.pages import template
from byol_jax.pages.template import figure
from byol_jax.pages.template import Markup
from byol_jax.pages.template import tag
from byol_jax.run.journal import Journal

_MOST_TILES = 4  # of accuracies
_LAST = {'loss': 'Loss', 'knn_top1': 'k-NN while training',
         'probe_top1': 'Probe while training', 'projection_std': 'Spread',
         'feature_rank': 'Rank of the features'}
_PERCENT = ('knn_top1', 'probe_top1')

STYLE = '''
.tiles { display: grid; gap: .7rem; margin: .9rem 0;
  grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)) }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .6rem .8rem; font-size: .87rem; color: var(--soft) }
.tile data, .tile b { display: block; font-size: 1.75rem; line-height: 1.25;
  font-weight: 600; color: var(--ink); font-variant-numeric: tabular-nums }
.tile small data { display: inline; font: inherit; color: inherit }
.tile small { display: block; font-size: .8rem; line-height: 1.35 }
.race { display: grid; grid-template-columns: auto 1fr auto; gap: 0 .8rem;
  margin: .2rem 0 }
.race .ticks { position: relative; height: 1.6rem }
.beside > .card { flex: 1 1 22rem; max-width: 44rem; margin: .7rem 0 }
.race .track { position: relative; height: 2.1rem; border-bottom: 1px solid var(--line);
  background: linear-gradient(var(--line), var(--line)) 0 50% / 100% 1px no-repeat }
.race .name { align-self: center; font-weight: 600 }
.race .value { align-self: center; font-variant-numeric: tabular-nums }
.race svg, .race i, .race small { position: absolute }
.race svg { top: 50%; margin: -9px 0 0 -9px }
.race i { top: 50%; height: 6px; margin-top: -3px; border: solid var(--c0);
  border-width: 0 2px; background: linear-gradient(var(--c0), var(--c0))
  0 50% / 100% 2px no-repeat }
.race small { color: var(--soft); transform: translateX(-50%); top: .1rem;
  white-space: nowrap }'''


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
    is_trained: whether it is no baseline.
  """
  encoder: str
  what: str
  metric: str
  value: float
  std: float | None
  interval: Sequence[float] | None
  images: int | None
  key: str
  is_trained: bool = True


def chapter(results: Sequence[Result], journal: Journal, loss: str) -> Markup | None:
  """Returns the chapter 'Figures'; None where there is nothing to tell.

  Args:
    results: of the run and of its evaluations.
    journal: the run's files.
    loss: about the loss's range.
  """
  tiles = [*_accuracies(results), *_last(journal, loss)]
  protocol = journal.results.get('protocol')
  images = protocol.get('images') if isinstance(protocol, dict) else None
  if not (tiles or results or images):
    return None
  about = f'Measured with {images}.' if results and images else images
  return template.chapter(
      'Figures', tag('div', *tiles, class_='tiles') if tiles else None,
      tag('div', _race(results), _table(results), class_='beside')
      if results else None, about=about)


def tile(name: str, value: Any, note: Any = None) -> Markup:
  """Returns a figure to be seen first: its name, its value, a line about it."""
  return tag('div', name, value if isinstance(value, Markup) else tag('b', value),
             None if note is None else tag('small', note), class_='tile')


def _tops(results: Sequence[Result]) -> dict[tuple[str, str], list[Result]]:
  """Returns the top-1 figures by place and protocol, the trained encoder first."""
  found: dict[tuple[str, str], list[Result]] = {}
  for result in results:
    if result.metric == 'top-1' and 0 <= result.value <= 100:  # not of a damaged file
      where = result.key.partition('results.json')[0]
      found.setdefault((result.what, where), []).append(result)
  return {key: sorted(group, key=lambda result: not result.is_trained)
          for key, group in found.items() if any(result.is_trained for result in group)}


def _accuracies(results: Sequence[Result]) -> list[Markup]:
  """Returns a tile for each trained encoder's accuracy, with the baselines in it."""
  tiles = []
  for (what, _), (first, *others) in list(_tops(results).items())[:_MOST_TILES]:
    baselines = [template.joined([
        result.encoder, ' ', figure(result.value, '.1f', ' %', key=result.key)])
                 for result in others if not result.is_trained]
    tiles.append(tile(f'{what} top-1', figure(first.value, '.1f', ' %', key=first.key),
                      template.joined(baselines, Markup('<br>')) or None))
  return tiles


def _last(journal: Journal, loss: str) -> list[Markup]:
  """Returns a tile for the last value of some curves, and for the time."""
  notes = {'loss': loss.partition(';')[0],
           'projection_std': '1 spread out, 0 collapsed',
           'feature_rank': 'dimensions that they fill',
           'knn_top1': 'training images, against others'}
  tiles = [tile(name, figure(
      found[1], '.1f' if key in (*_PERCENT, 'feature_rank') else '.3g',
      ' %' if key in _PERCENT else '', key=f'metrics.jsonl {key}'),
                template.joined([f'{notes[key]}; ' if notes.get(key) else '', 'step ',
                                 figure(found[0], ',d')]))
           for key, name in _LAST.items() if (found := journal.last(key))
           and not (key in _PERCENT and journal.results)]
  run = journal.results.get('run')
  name = 'training_seconds_this_session'
  if len(journal.sessions) < 2 and isinstance(run, dict) and name in run:
    tiles.append(tile('Trained in', figure(run[name], 'time',
                                           key=f'results.json run.{name}'),
                      run.get('device')))
  return tiles


def _race(results: Sequence[Result]) -> Markup | None:
  """Returns the accuracies on one axis, so that a gain is seen as a distance."""
  tops = {key: group for key, group in _tops(results).items()
          if any(not result.is_trained for result in group)}
  if not tops:
    return None
  shown = [end for group in tops.values() for result in group
           for end in (result.value, *(result.interval or ()))]
  low, high = min(shown), max(shown)
  step = axis.steps(low, max(high, low + 1), 5)
  low, high = step * (low // step), step * -(-high // step)
  at = lambda value: f'{100 * (value - low) / max(high - low, step):.2f}%'
  names = list(dict.fromkeys(
      result.encoder for group in tops.values() for result in group))
  cells = []
  for (what, _), group in tops.items():
    marks = []
    for result in reversed(group):  # the trained encoder on top
      number = names.index(result.encoder)
      if result.is_trained and result.interval:
        begin, end = result.interval
        marks.append(tag('i', style=f'left:{at(begin)};width:calc({at(end)} - '
                                    f'{at(begin)})'))
      tooltip = f'{result.encoder}: {result.value:.2f} %'
      marks.append(tag('svg', chart.mark(number, 9, 9, tooltip, r=6), width=18,
                       height=18, style=f'left:{at(result.value)}'))
    cells += [tag('span', what, class_='name'), tag('div', *marks, class_='track'),
              tag('span', figure(group[0].value, '.1f', ' %'), class_='value')]
  ticks = [tag('small', f'{low + i * step:g} %', style=f'left:{at(low + i * step)}')
           for i in range(round((high - low) / step) + 1)]
  key = [tag('span', chart.key_mark(i), ' ', name) for i, name in enumerate(names)]
  return tag(
      'div', tag('div', *cells, tag('span'), tag('div', *ticks, class_='ticks'),
                 class_='race'),
      tag('div', *key, class_='row soft'),
      tag('p', 'Whiskers: the 95 % interval for other test images.', class_='soft'),
      class_='card')


def _table(results: Sequence[Result]) -> Markup:
  """Returns every figure, with its interval."""
  rows = []
  for result in results:
    interval = '-' if result.interval is None else template.joined(
        [figure(end) for end in result.interval], ' to ')
    rows.append([
        result.what, result.metric,
        tag('strong' if result.is_trained else 'span', result.encoder),
        template.joined([figure(result.value, unit=' %', key=result.key), *(
            [] if result.std is None else [' ± ', figure(result.std)])]),
        interval, '-' if result.images is None else f'{result.images:,}'])
  return template.table(['measured by', 'metric', 'encoder', 'accuracy',
                         '95 % interval', 'test images'], rows, numbers=(3, 4, 5))
