"""Chapters with images: views, nearest images, the map of features."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from byol_jax import wording
from byol_jax.pages import chart
from byol_jax.pages import template
from byol_jax.pages.template import Markup
from byol_jax.pages.template import tag

SIDE = 112       # pixels of a thumbnail
MAP_SIDE = 40    # pixels of a thumbnail of the map
MAP_COLUMNS = 25
MOST_CLASSES = 24  # that have a mark of their own on the map

STYLE = chart.STYLE + f'''
.mapped {{ display: flex; flex-wrap: wrap; gap: .6rem 1.4rem; margin: .7rem 0 }}
.mapped .key {{ display: flex; flex-wrap: wrap; gap: .3rem 1rem; align-content: start;
  flex: 1 1 9rem }}
.mapped .key span {{ flex: 0 0 auto; max-width: 100%; overflow-wrap: anywhere }}
@media (min-width: 62rem) {{ .mapped .key {{ flex-direction: column }} }}
.map {{ position: relative; flex: 1 1 46rem; max-width: 52rem; min-width: 0;
  aspect-ratio: 4 / 3; border-radius: 8px;
  background: var(--card); border: 1px solid var(--line) }}
.map svg {{ position: absolute; inset: 0; width: 100%; height: 100% }}
.map b {{ position: absolute; width: 12px; height: 12px; margin: -6px 0 0 -6px }}
.map b:hover::after {{ content: ''; position: absolute; z-index: 2; left: 12px;
  top: 12px; width: {2 * MAP_SIDE}px; height: {2 * MAP_SIDE}px;
  background: var(--sheet) var(--at);
  background-size: {2 * MAP_SIDE * MAP_COLUMNS}px auto;
  outline: 2px solid var(--ink); pointer-events: none }}
.map b.left:hover::after {{ left: auto; right: 12px }}
.views {{ display: grid; gap: 1.1rem; margin: .9rem 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)) }}
.views .row {{ flex-wrap: nowrap; margin: 0 }} .views .row figure {{ min-width: 0 }}
.asked {{ display: grid; gap: 1.6rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)) }}
.asked > div {{ display: grid; gap: .7rem; align-content: start;
  grid-template-columns: repeat(4, minmax(0, 7rem)) }}
.asked .query {{ grid-row: span 2 }}'''


class Shown(NamedTuple):
  """One image of a page.

  Attributes:
    name: its file or record.
    label: its class; '' without labels.
    jpeg: its thumbnail; None if it is gone or cannot be read.
  """
  name: str
  label: str
  jpeg: bytes | None


class Query(NamedTuple):
  """One image, and those nearest to it with their cosines."""
  image: Shown
  nearest: Sequence[tuple[Shown, float]]


class Map(NamedTuple):
  """A map of features.

  Attributes:
    points: float [n, 2].
    shares: the shares of the variance that the axes hold.
    names: n names.
    labels: n classes; '' without labels.
    sheet: the thumbnails (`thumbnail.sheet` of `MAP_COLUMNS` and `MAP_SIDE`).
    num_images: how many images the axes come from.
  """
  points: np.ndarray
  shares: tuple[float, float]
  names: Sequence[str]
  labels: Sequence[str]
  sheet: bytes
  num_images: int


class Pictures(NamedTuple):
  """The images of a run's page.

  Attributes:
    views: twelve images, each with the views of it.
    queries: images with those nearest to them.
    map: None where there is none.
    about: a sentence about the encoder and the images.
    missing: why something of the above is not there.
  """
  views: Sequence[tuple[Shown, Sequence[bytes]]] = ()
  queries: Sequence[Query] = ()
  map: Map | None = None
  about: str = ''
  missing: Sequence[str] = ()


def views(pictures: Pictures) -> Markup | None:
  """Returns the chapter of augmented views; None without any."""
  if not pictures.views:
    return None
  parts = []
  for image, made in pictures.views:
    parts.append(tag('div', _figure(image), *(
        template.picture(jpeg, f'view {i + 1} of {image.name}', side=SIDE,
                         caption=f'view {i + 1}')
        for i, jpeg in enumerate(made)), class_='row'))
  return template.chapter(
      'Views', tag('div', *parts, class_='views'),
      about='What the network sees of an image in training: random crops, with colours '
            'changed, as the device makes them in the first step. If you cannot tell '
            'what an image shows from its views, the network cannot, either.')


def nearest(pictures: Pictures) -> Markup | None:
  """Returns the chapter of nearest images; None without any."""
  if not pictures.queries:
    return None
  has_labels = any(query.image.label for query in pictures.queries)
  rows = []
  for image, found in pictures.queries:
    others = []
    for other, cosine in found:
      is_right = other.label == image.label
      kind = ('right' if is_right else 'wrong') if has_labels else None
      # a sign, too: a frame's colour alone does not tell
      sign = (tag('span', class_='good' if is_right else 'bad') if has_labels
              else None)
      others.append(_figure(other, kind, template.joined(
          [part for part in (sign, template.figure(cosine, '.2f')) if part])))
    rows.append(tag('div', _figure(image, 'query'), *others))
  return template.chapter(
      'Nearest images', tag('div', *rows, class_='asked'), about=(
          'The first image of each group asks; the others are those with the most '
          'similar features, with the cosine between them. '
          + ('A full frame and ✓ mean the same class, a dashed frame and ✗ another. '
             if has_labels else '') + pictures.about))


def mapped(pictures: Pictures) -> Markup | None:
  """Returns the chapter of the map; None without one."""
  found = pictures.map
  if found is None:
    return None
  count = collections.Counter(sorted(label for label in found.labels if label))
  marked = sorted(label for label, _ in count.most_common(MOST_CLASSES))
  number = {label: i for i, label in enumerate(marked)}
  low, high = found.points.min(axis=0), found.points.max(axis=0)
  wide = np.where(high > low, high - low, 1)
  places = (found.points - low) / wide * 0.94 + 0.03
  marks, targets = [], []
  for i, ((x, y), label) in enumerate(zip(places, found.labels)):
    if label and label not in number:
      marks.append(tag('circle', cx=f'{400 * x:.1f}', cy=f'{300 * (1 - y):.1f}', r=2,
                       class_='soft'))
    else:
      marks.append(chart.mark(number.get(label, 0), 400 * x, 300 * (1 - y), r=3))
    row, column = divmod(i, MAP_COLUMNS)
    targets.append(tag(
        'b', title=f'{found.names[i]}{": " if label else ""}{label}',
        class_='left' if x > 0.75 else None,
        style=f'left:{100 * x:.2f}%;top:{100 * (1 - y):.2f}%;'
              f'--at:{-2 * MAP_SIDE * column}px {-2 * MAP_SIDE * row}px'))
  key = [tag('span', chart.key_mark(i), f' {label} ({count[label]:,})')
         for label, i in number.items()]
  more = len(count) - len(number)
  drawn = ('' if len(found.points) == found.num_images else
           f'{len(found.points)} of them are drawn. ')
  drawing = tag('svg', *marks, viewBox='0 0 400 300', role='img',
                aria_label='map of features')
  return template.chapter(
      'Map', tag(
          'div', tag('div', drawing, *targets, class_='map', style=Markup(
              f'--sheet:url({template.data_uri(found.sheet)})')),
          tag('div', *key, tag(
              'span', f'and {wording.count(more, "more class", ",")}, as gray dots')
              if more > 0 else None, class_='key soft') if key else None,
          class_='mapped'),
      about=template.joined([
          f'Features of {wording.count(found.num_images, "image", ",")} on the two '
          'axes along which they vary most (PCA of features of length 1): ',
          template.figure(
              100 * found.shares[0], '.1f', ' %'), ' and ', template.figure(
                  100 * found.shares[1], '.1f', ' %'),
          f' of the variance. {drawn}The pointer on a mark shows the image. ',
          pictures.about]))


def _figure(image: Shown, kind: str | None = None,
            more: Markup | None = None) -> Markup:
  """Returns an image with its class, or without labels its name, below it."""
  name = image.label or template.file_name(image.name)
  caption = template.joined([more, ' ', name]) if more is not None else name
  text = f'{image.name}{": " if image.label else ""}{image.label}'
  return template.picture(image.jpeg, text, side=SIDE, caption=caption, kind=kind)
