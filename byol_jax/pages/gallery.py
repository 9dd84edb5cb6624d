"""The page of a search: each query on the left, what was found on its right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from byol_jax.pages import template
from byol_jax.pages.template import Markup
from byol_jax.pages.template import tag

SIDE = 128  # pixels of a thumbnail

_STYLE = f'''
.search img, .search .gone {{ width: {SIDE}px }}
.search {{ display: flex; gap: 1rem; align-items: flex-start; margin: 1.2rem 0 }}
.search > .query {{ flex: 0 0 {SIDE}px; position: sticky; top: .5rem }}
.search .hits {{ display: grid; gap: .8rem; flex: 1; padding: 0; margin: 0;
  list-style: none; grid-template-columns: repeat(auto-fill, minmax({SIDE}px, 1fr)) }}
.search .hits figure {{ max-width: {SIDE}px }}
@media (max-width: 34rem) {{ .search {{ flex-direction: column }}
  .search > .query {{ position: static }}
  .search .hits {{ width: 100%;
    grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr)) }} }}'''


class Found(NamedTuple):
  """An image of the page.

  Attributes:
    name: its file or record.
    jpeg: its thumbnail; None where there is none.
    columns: {title: value} of the catalogue.
    score: the cosine; None for a query.
  """
  name: str
  jpeg: bytes | None
  columns: Mapping[str, Any]
  score: float | None = None


def page(title: str, searches: Sequence[tuple[Found, Sequence[Found]]],
         about: Sequence[Any]) -> str:
  """Returns the page: (query, hits) of each search, and paragraphs at its top."""
  rows = [tag('div', _figure(query, 'query'), tag(
      'ol', *(tag('li', _figure(hit)) for hit in hits), class_='hits')
      if hits else tag('p', 'nothing found'), class_='search')
          for query, hits in searches]
  return template.page(title, template.chapter('Hits', *rows), about=about,
                       style=_STYLE)


def shown(value: Any) -> str:
  """Returns the value of a column as people read it."""
  if value is None:
    return '-'
  if isinstance(value, float):
    return f'{value:.0f}' if value.is_integer() else f'{value:g}'
  return str(value)


def _figure(image: Found, kind: str | None = None) -> Markup:
  lines = [tag('strong', template.figure(image.score, '.3f'))
           if image.score is not None else None,
           template.file_name(image.name),
           *(f'{title}: {shown(value)}' for title, value in image.columns.items())]
  return template.picture(
      image.jpeg, image.name, side=SIDE, kind=kind, caption=template.joined(
          [line for line in lines if line is not None], Markup('<br>')))
