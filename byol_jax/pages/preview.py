"""The page that task=preview writes: what a run would learn from, before it is paid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from byol_jax import wording
from byol_jax.pages import headline
from byol_jax.pages import pictures as pictures_lib
from byol_jax.pages import template
from byol_jax.pages.template import Markup
from byol_jax.pages.template import tag

_MOST_CLASSES, _MOST_ODD, _MOST_KINDS = 200, 60, 12  # rows


class Found(NamedTuple):
  """Holds the findings about the images.

  Attributes:
    first: the first images.
    parts: (part, its name, images, classes) of the training and the test part.
    classes: (class, training images); empty where labels lie in the records.
    kinds: (format, width, height, images) of those looked at, the most frequent first.
    looked_at: how many.
    odd: images with what is odd about each.
    duplicates: groups of names of images with the same bytes.
    messages: sentences of the reader: what it found, and what it does not take.
  """
  first: Sequence[pictures_lib.Shown]
  parts: Sequence[tuple[str, str, int, int]]
  classes: Sequence[tuple[str, int]]
  kinds: Sequence[tuple[str, int, int, int]]
  looked_at: int
  odd: Sequence[tuple[pictures_lib.Shown, str]]
  duplicates: Sequence[Sequence[str]]
  messages: Sequence[str]


def page(found: Found, views: pictures_lib.Pictures, *,
         schedule: Sequence[tuple[str, Any]], changed: Sequence[tuple[str, Any, Any]],
         warnings: Sequence[str], made: str) -> str:
  """Returns the page.

  Args:
    found: about the images.
    views: of the first images of the first step.
    schedule: (name, value), as the run would have it.
    changed: keys that differ from their default: (key, value, default).
    warnings: what would stop the run, or should be looked at first.
    made: when and by what the page was made.
  """
  parts = template.table(['part', 'source', 'images', 'classes'], [
      [part, name, f'{images:,}', f'{classes:,}' if classes else 'no labels']
      for part, name, images, classes in found.parts], numbers=(2, 3))
  chapters = [
      template.chapter('Images', parts, tag('div', *(
          template.picture(image.jpeg, image.name, side=pictures_lib.SIDE,
                           caption=image.label or template.file_name(image.name))
          for image in found.first), class_='pictures'), about=(
              'The first images, as they are decoded.')),
      pictures_lib.views(views), _kinds(found), _classes(found), _odd(found),
      template.chapter('What the reader says', tag('ul', *(
          tag('li', text) for text in found.messages)) if found.messages else (
              'Nothing was passed over.')),
      template.chapter(
          'Schedule', template.table([], schedule) if schedule else None,
          template.changed(changed) if changed else None,
          about='What the run would do with these images.')]
  name = found.parts[0][1].rstrip('/').rpartition('/')[2]
  return template.page(
      f'Preview of {name}', *filter(None, chapters),
      style=pictures_lib.STYLE + headline.STYLE,
      about=[*map(template.warning, warnings), tag('p', made, class_='soft'),
             _tiles(found, dict(schedule))])


def _tiles(found: Found, schedule: dict[str, Any]) -> Markup:
  """Returns what is seen first."""
  _, _, images, classes = found.parts[0]
  sides = [min(width, height) for _, width, height, _ in found.kinds if width]
  formats = [kind for kind, *_ in found.kinds if kind]
  odd = len(found.odd) + len(found.duplicates)
  tile = headline.tile
  return tag(
      'div', tile('Training images', f'{images:,}'),
      tile('Classes', f'{classes:,}' if classes else 'none',
           None if classes else 'nothing needs labels but the probe and k-NN'),
      tile('Shorter side', f'{min(sides)}\u2013{max(sides)}' if sides else '-',
           f'pixels; {", ".join(dict.fromkeys(formats))}'),
      tile('Odd', f'{odd:,}', f'of {found.looked_at:,} looked at'),
      tile('Steps', schedule.get('steps', '-'), f'epochs: {schedule.get("epochs")}'),
      class_='tiles')


def _kinds(found: Found) -> Markup:
  rows = [[kind or 'cannot be used', f'{width} x {height}' if width else '-', f'{n:,}']
          for kind, width, height, n in found.kinds[:_MOST_KINDS]]
  rest = sum(n for *_, n in found.kinds[_MOST_KINDS:])
  if rest:
    rows.append(['others', '-', f'{rest:,}'])
  sides = sorted((min(width, height), max(width, height), n)
                 for _, width, height, n in found.kinds if width)
  sizes = (f' Shorter sides go from {sides[0][0]:,} to {sides[-1][0]:,} pixels, longer '
           f'ones up to {max(side for _, side, _ in sides):,}.') if sides else ''
  return template.chapter(
      'Formats and sizes', template.table(['format', 'pixels', 'images'], rows,
                                          numbers=(1, 2)),
      about=f'Of {wording.count(found.looked_at, "image", ",")}, spread over the '
            f'training part.{sizes}')


def _classes(found: Found) -> Markup | None:
  if not found.classes:
    return None
  more = len(found.classes) - _MOST_CLASSES
  counts = [n for _, n in found.classes]
  return template.chapter(
      'Classes', template.table(['class', 'images'], [
          [name, f'{n:,}'] for name, n in found.classes[:_MOST_CLASSES]], numbers=(1,)),
      f'and {wording.count(more, "more class", ",")}' if more > 0 else None,
      about=f'{wording.count(len(counts), "class", ",")}, of {min(counts):,} to '
            f'{wording.count(max(counts), "training image", ",")} each. Labels are '
            'used by the probe and by k-NN, never by the method.')


def _odd(found: Found) -> Markup:
  shown = found.odd[:_MOST_ODD]
  parts = [tag('div', *(template.picture(
      image.jpeg, image.name, side=pictures_lib.SIDE,
      caption=template.joined([template.file_name(image.name), f': {why}']))
      for image, why in shown),
      class_='pictures')] if shown else ['Nothing looks odd.']
  if len(found.odd) > len(shown):
    parts.append(f'and {len(found.odd) - len(shown):,} more')
  if found.duplicates:
    parts.append(template.table(
        ['images', 'names'], [[len(names), ', '.join(names[:6]) + (
            ' ...' if len(names) > 6 else '')] for names in
                              found.duplicates[:_MOST_KINDS]],
        caption=f'{wording.count(len(found.duplicates), "group", ",")} of images with '
                'the same bytes'))
  return template.chapter(
      'What looks odd', *parts,
      about=f'Looked at: {wording.count(found.looked_at, "image", ",")}, for what is '
            'dark, nearly white, constant, transparent, very long, broken, or there '
            'twice.')
