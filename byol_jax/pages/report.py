"""The page of one run: what it reached, how it went, what it is made of.

All figures come from the run's own files (`journal.Journal`). What has to be computed
or looked up elsewhere comes as values in `Facts` and `pictures.Pictures`.
"""

from __future__ import annotations

from collections.abc import Sequence
import os
from typing import Any, NamedTuple

from byol_jax import wording
from byol_jax.pages import chart
from byol_jax.pages import curves
from byol_jax.pages import headline
from byol_jax.pages import pictures as pictures_lib
from byol_jax.pages import template
from byol_jax.pages.template import figure
from byol_jax.pages.template import Markup
from byol_jax.pages.template import tag
from byol_jax.run.journal import Journal

_MOST_BAD, _MOST_CLASSES = 200, 100  # rows of a table


class Facts(NamedTuple):
  """Says a config in words.

  Attributes:
    title: the method's name.
    total_steps: of the whole run; None where it is not known.
    loss: sentences about the loss's range.
    bounds: {metric: values that are marked on its chart}.
    warnings: what is wrong with the run, such as a collapse.
    healthy: that nothing says so; '' where it is not known.
    groups: titles and lines (name, value) of schedule, data and network.
    changed: keys that differ from their default: (key, value, default).
  """
  title: str = ''
  total_steps: int | None = None
  loss: str = ''
  bounds: dict[str, Sequence[chart.Bound]] = {}
  warnings: Sequence[str] = ()
  healthy: str = ''
  groups: Sequence[tuple[str, Sequence[tuple[str, Any]]]] = ()
  changed: Sequence[tuple[str, Any, Any]] = ()


def page(journal: Journal, facts: Facts, results: Sequence[headline.Result],
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
      headline.chapter(results, journal, facts.loss),
      curves.chapter(journal.metrics, loss=facts.loss, end=facts.total_steps,
                     bounds=facts.bounds),
      pictures_lib.views(pictures), pictures_lib.nearest(pictures),
      pictures_lib.mapped(pictures), _by_class(journal), _bad(journal),
      _settings(journal, facts), _sessions(journal), template.missing([
          *(problem.text for problem in journal.problems if not (
              _is_evaluation(journal) and problem.file == 'metrics.jsonl')),
          *pictures.missing])]
  about = [_state(journal, facts), *map(template.warning, facts.warnings),
           tag('p', facts.healthy, class_='good') if facts.healthy else None,
           tag('p', f'{journal.workdir} · {made}', class_='soft')]
  return template.page(name, *filter(None, chapters), about=filter(None, about),
                       style=pictures_lib.STYLE + headline.STYLE)


def _state(journal: Journal, facts: Facts) -> Markup:
  """Returns the first sentence: what was run, and how far it is."""
  step = journal.metrics[-1]['step'] if journal.metrics else None
  task = journal.config.get('task', 'pretrain')
  parts, done = [facts.title or task, ': '], None
  if _is_evaluation(journal):
    parts += [f'an evaluation, {task} of {journal.config.get("weights", "?")}',
              '' if journal.results else ', not finished']
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
      done = tag('progress', value=step, max=facts.total_steps,
                 aria_label='steps that are done')
  return template.joined([tag('p', template.joined(parts), '.', class_='lead'),
                          done or ''])


def _by_class(journal: Journal) -> Markup | None:
  """Returns the accuracy of each class, and the pairs that are confused most often."""
  found = journal.results.get('by_class')
  try:
    classes = [(str(name), int(n), int(right)) for name, n, right in found['classes']]
    pairs = [(str(a), str(b), int(n)) for a, b, n in found['confused']]
    title = f'{found["figure"]}, {wording.count(found["of"], "image", ",")}'
  except (TypeError, KeyError, ValueError, OverflowError):  # none, or a changed one
    return None
  classes.sort(key=lambda row: row[2] / max(row[1], 1))
  shown = classes[:_MOST_CLASSES]
  rows = [[name, figure(100 * right / max(n, 1), '.1f', ' %'), figure(right, ',d'),
           figure(n, ',d'), _bar(right / max(n, 1))] for name, n, right in shown]
  more = len(classes) - len(shown)
  found = template.table(
      ['class', 'accuracy', 'right', 'images', ''], rows, numbers=(1, 2, 3),
      caption=f'{title}; the worst first'
      + (f', {more:,} better ones are left out' if more else ''))
  confused = template.table(['class', 'taken for', 'images'], [
      [a, b, figure(n, ',d')] for a, b, n in pairs], numbers=(2,),
      caption='most often confused') if pairs else None
  return template.chapter('Classes', tag('div', found, confused, class_='beside'))


def _bar(share: float) -> Markup:
  return tag('span', tag('i', style=f'width:{100 * share:.1f}%'), class_='share',
             aria_hidden='true')


def _bad(journal: Journal) -> Markup | None:
  """Returns the images that were left out, with the reasons."""
  left_out = _section(journal, 'left_out') or _section(
      journal, 'protocol').get('left_out')
  left_out = left_out if isinstance(left_out, dict) else {}
  if left_out and all(isinstance(why, str) for why in left_out.values()):
    left_out = {'': left_out}  # task=embed reads one part
  rows = [[part, name, why] for part, reasons in left_out.items()
          if isinstance(reasons, dict) for name, why in reasons.items()]
  if not rows:
    return None
  more = len(rows) - _MOST_BAD
  return template.chapter(
      'Images left out', template.table(['part', 'image', 'reason'], rows[:_MOST_BAD]),
      f'and {more:,} more, which results.json names' if more > 0 else None,
      about=f'{wording.count(len(rows), "image")} cannot be used'
      f'{"" if _is_evaluation(journal) else "; others stood in"}.')


def _settings(journal: Journal, facts: Facts) -> Markup | None:
  """Returns schedule, data and network, and each key that differs from its default."""
  cards = [tag('div', tag('h3', title), template.table(
      [], [[name, value] for name, value in lines]), class_='card')
           for title, lines in facts.groups]
  parts = [tag('div', *cards, class_='cards')] if cards else []
  if facts.changed:
    parts.append(template.changed(facts.changed))
  if protocol := _section(journal, 'protocol'):
    parts.append(template.more('Protocol of the figures',
                               template.table([], _flat(protocol))))
  return template.chapter('Settings', *parts) if parts else None


def _flat(value: Any, name: str = '') -> list[list[str]]:
  """Returns nested values as lines of a table."""
  if isinstance(value, dict) and value:
    return [line for key, item in value.items()
            for line in _flat(item, f'{name}.{key}' if name else str(key))]
  return [[name, str(value)]]


def _sessions(journal: Journal) -> Markup | None:
  """Returns command, versions, devices and times; an evaluation notes none."""
  if _is_evaluation(journal):
    return None
  parts = []
  for line in journal.sessions:
    field = lambda name, line=line: str(line.get(name, '?'))
    # a command breaks between its words, not within --config
    words = [tag('span', word) for word in field('command').split(' ')]
    parts += [template.joined([tag('strong', field('began').replace('T', ' ', 1)),
                               f' from step {field("from_step")}']),
              tag('pre', template.joined(words, ' ')),
              tag('p', f'byol_jax {field("version")}, jax {field("jax")}, Python '
                  f'{field("python")}; {field("device")}, processes: '
                  f'{field("processes")}', class_='soft')]
  if not parts:
    parts.append('The version that made this run did not note its command: the keys '
                 'that differ from their defaults say what was asked for.')
  if run := _section(journal, 'run'):
    parts.append(template.table([], [
        [name.replace('_', ' '), figure(value, ',g' if isinstance(value, float) else
                                        'd' if name == 'seed' else ',d',
                                        key=f'results.json run.{name}')
         if curves.is_number(value) else str(value)] for name, value in run.items()],
        caption='In all, from results.json', numbers=(1,)))
  return template.chapter('Sessions', *parts, about=(
      'Each start of the run, where it began, and with what.'))


def _is_evaluation(journal: Journal) -> bool:
  return journal.config.get('task', 'pretrain') != 'pretrain'


def _section(journal: Journal, name: str) -> dict[str, Any]:
  """Returns a section of results.json; {} where there is none."""
  found = journal.results.get(name)
  return found if isinstance(found, dict) else {}
