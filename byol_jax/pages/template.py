"""Makes pages: one file of HTML, CSS and pictures, which needs no server.

  page('A run', chapter('Figures', table(['what', 'value'], [['k-NN', figure(78.9)]])))

A text becomes part of a page through `tag`, which escapes it. What is `Markup` stands
as it is, so only this file, `chart.py` and `drawing.py` write angle brackets.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
import html
import re
import sys
from typing import Any

from byol_jax import wording
from byol_jax.pages import style as style_lib

_EMPTY = ('br', 'wbr', 'img', 'meta', 'link')  # elements without an end
_MOST_OF_A_TEXT = 2000  # characters; names and values of a config may have any length


class Markup(str):
  """HTML that stands in a page as it is."""


def escape(text: Any) -> Markup:
  """Returns a text as HTML; one that is `Markup` already stays as it is.

  Bytes of a file name that are no UTF-8 and control characters become \\x escapes, and
  what is longer than 2,000 characters is cut, and says so.
  """
  if isinstance(text, Markup):
    return text
  text = str(text)
  if len(text) > _MOST_OF_A_TEXT:
    text = f'{text[:_MOST_OF_A_TEXT]} ... ({len(text) - _MOST_OF_A_TEXT} more)'
  text = ''.join(c if c.isprintable() or c in '\n\t' else
                 c.encode('unicode_escape', 'surrogatepass').decode() for c in text)
  return Markup(html.escape(text, quote=True))


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
  """Returns an element.

  Args:
    name: the element's.
    *children: texts, which are escaped, and `Markup`; None is left out.
    **attributes: their values are escaped; `class_` is class, `data_key` is data-key.
      One that is None is left out, one that is True has no value.
  """
  written = ''.join(
      f' {key.rstrip("_").replace("_", "-")}' + (
          '' if value is True else f'="{escape(value)}"')
      for key, value in attributes.items() if value is not None and value is not False)
  inside = ''.join(escape(child) for child in children if child is not None)
  return Markup(f'<{name}{written}>' + ('' if name in _EMPTY else f'{inside}</{name}>'))


def joined(parts: Sequence[Any], between: str = '') -> Markup:
  """Returns parts one behind the other, each escaped unless it is `Markup`."""
  return Markup(escape(between).join(escape(part) for part in parts))


def file_name(path: str) -> Markup:
  """Returns the last part of a path, which breaks at its signs where it is narrow."""
  return Markup(re.sub('([_.-])(?=[^_.-])', r'\1<wbr>', escape(
      path.rpartition('/')[2] or path)))


def figure(value: float | None, form: str = '.2f', unit: str = '',
           key: str = '') -> Markup:
  """Returns a number as people read it, with its exact value in the HTML.

  Args:
    value: None, or what is not finite, shows as '-'.
    form: as for `format`; 'time' shows seconds as 0:03:28.
    unit: what stands behind it.
    key: where the value comes from, such as 'results.json byol.knn_top1'.
  """
  # a whole number of a damaged file may be larger than any float
  if not isinstance(value, (int, float)) or not abs(value) <= sys.float_info.max:
    return tag('span', '-', data_key=key or None)
  if form == 'time':
    text = f'{value // 3600:.0f}:{value % 3600 // 60:02.0f}:{value % 60 // 1:02.0f}'
  else:
    text = format(value, form)
  return tag('data', text + unit, value=repr(value), data_key=key or None)


def table(head: Sequence[Any], rows: Sequence[Sequence[Any]], *, caption: Any = None,
          numbers: Sequence[int] = (), **attributes: Any) -> Markup:
  """Returns a table, which scrolls by itself where the page is narrow.

  Args:
    head: the names of the columns; empty for none.
    rows: cells, each escaped unless it is `Markup`.
    caption: a sentence above it.
    numbers: the columns that hold numbers.
    **attributes: of the table.
  """
  def line(cells, kind):
    return tag('tr', *(tag(kind, cell, class_='number' if i in numbers else None)
                       for i, cell in enumerate(cells)))
  return tag('div', tag(
      'table', None if caption is None else tag('caption', caption),
      tag('thead', line(head, 'th')) if head else None,
      tag('tbody', *(line(row, 'td') for row in rows)), **attributes), class_='wide')


def changed(keys: Sequence[tuple[str, Any, Any]]) -> Markup:
  """Returns a table of keys of a config, shown when its title is clicked.

  Args:
    keys: (key, value, default) of each.
  """
  title = f'{wording.count(len(keys), "key")} other than the default'
  return more(title, table(['key', 'value', 'default'], [
      [tag('code', str(cell)) for cell in line] for line in keys]))


def more(title: str, *parts: Markup) -> Markup:
  """Returns what is shown when its title is clicked."""
  return tag('details', tag('summary', title), *parts)


def picture(jpeg: bytes | None, text: str, *, side: int | None = None,
            caption: Any = None, kind: str | None = None) -> Markup:
  """Returns a thumbnail within the page, with a line below it.

  Args:
    jpeg: a JPEG file's bytes; None for an image that is gone or cannot be read, in
      whose place a frame stands.
    text: what the picture shows, for those who cannot see it and under the pointer.
    side: the width it is shown with, pixels; None: its own.
    caption: the line below it; None for none.
    kind: 'right', 'wrong' or 'query', which frame it; None for no frame.
  """
  if jpeg is None:
    shown = tag('div', 'gone', class_='gone', role='img', aria_label=text, title=text)
  else:
    shown = tag('img', src=data_uri(jpeg), alt=text, title=text, width=side,
                height=side)
  return tag('figure', shown,
             None if caption is None else tag('figcaption', caption), class_=kind)


def data_uri(jpeg: bytes) -> Markup:
  """Returns a JPEG file as an address that holds it."""
  return Markup(f'data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}')


def chapter(title: str, *parts: Any, about: Any = None) -> Markup:
  """Returns a chapter: a title, a sentence about it, and its parts.

  Parts that are texts become paragraphs; None is left out.
  """
  return tag(
      'section', tag('h2', title),
      None if about is None else tag('p', about, class_='soft'),
      *(part if isinstance(part, Markup) else tag('p', part)
        for part in parts if part is not None), id=_anchor(title))


def missing(sentences: Sequence[str]) -> Markup | None:
  """Returns the chapter of what is not there, or damaged; None where all is well."""
  return chapter('What is missing', tag(
      'ul', *(tag('li', text) for text in sentences))) if sentences else None


def warning(text: Any) -> Markup:
  """Returns a paragraph that must not be overlooked."""
  # a flag is copied, and does not break behind its first signs
  parts = re.split(r'(--[\w.]+(?:=[^\s,;]+)?)', str(text))
  return tag('p', *(tag('code', part) if i % 2 else part
                    for i, part in enumerate(parts)), class_='warning', role='alert')


def page(title: str, *chapters: Markup, about: Sequence[Any] = (),
         style: str = '') -> str:
  """Returns the whole page.

  Args:
    title: its name.
    *chapters: made by `chapter`; each gets a link at the top.
    about: paragraphs below the title.
    style: CSS of the page's own.
  """
  links = []
  for part in chapters:
    if '<h2>' in part:
      name = Markup(part.partition('<h2>')[2].partition('</h2>')[0])
      links.append(tag('a', name, href=f'#{_anchor(html.unescape(name))}'))
  return '<!DOCTYPE html>\n' + tag(
      'html',
      tag('head', tag('meta', charset='utf-8'),
          # whatever a name holds, the page loads and runs nothing
          tag('meta', http_equiv='Content-Security-Policy', content=(
              "default-src 'none'; img-src data:; style-src 'unsafe-inline'")),
          tag('meta', name='viewport', content='width=device-width, initial-scale=1'),
          tag('link', rel='icon', href='data:,'),  # else browsers ask for one
          tag('title', title), tag('style', Markup(
              style_lib.COLOURS + style_lib.PAGE + style))),
      tag('body', tag('header', tag('h1', title), *(
          part if isinstance(part, Markup) else tag('p', part) for part in about)),
          tag('nav', *links) if len(links) > 1 else None, tag('main', *chapters)),
      lang='en') + '\n'


def _anchor(title: str) -> str:
  return ''.join(c if c.isalnum() else '-' for c in title.lower())[:60]
