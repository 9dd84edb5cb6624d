"""Makes pages: one file of HTML, CSS and pictures, which needs no server.

  page('A run', chapter('Figures', table(['what', 'value'], [['k-NN', figure(78.9)]])))

A text becomes part of a page through `tag`, which escapes it. What is `Markup` stands
as it is, so only this file, `chart.py` and `drawing.py` write angle brackets.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
import html
import math
from typing import Any

_EMPTY = ('br', 'img', 'meta', 'link')  # elements without an end
_MOST_OF_A_TEXT = 2000  # characters; names and values of a config may have any length

COLOURS = '''
:root { color-scheme: light dark; --page: #ffffff; --ink: #1f2328; --soft: #59636e;
  --line: #d1d9e0; --card: #f6f8fa; --good: #1a7f37; --bad: #cf222e;
  --c0: #0969da; --c1: #bc4c00; --c2: #1a7f37; --c3: #8250df; --c4: #bf3989;
  --c5: #7d4e00; --c6: #57606a; --c7: #1b7c83 }
@media (prefers-color-scheme: dark) { :root {
  --page: #0d1117; --ink: #f0f6fc; --soft: #9198a1; --line: #3d444d; --card: #151b23;
  --good: #3fb950; --bad: #f85149; --c0: #4493f8; --c1: #f0883e; --c2: #3fb950;
  --c3: #ab7df8; --c4: #db61a2; --c5: #d29922; --c6: #8b949e; --c7: #39c5cf } }
@media print { :root { color-scheme: light; --page: #ffffff; --ink: #000000;
  --soft: #444444; --line: #bbbbbb; --card: #ffffff } }'''

_STYLE = '''
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.6rem; margin: .5rem 0 0; overflow-wrap: anywhere }
h2 { font-size: 1.2rem; margin: 2rem 0 .4rem; padding-top: .6rem;
  border-top: 1px solid var(--line) }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; overflow-wrap: anywhere }
p { margin: .4rem 0; max-width: 46rem; overflow-wrap: anywhere }
a { color: var(--c0) }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: .6rem 0 }
.soft, figcaption, caption { color: var(--soft); font-size: .87rem }
.warning { border-left: 4px solid var(--bad); padding: .4rem .8rem;
  background: var(--card) }
.good::before { content: '\\2713 ' } .bad::before { content: '\\2717 ' }
.good { color: var(--good) } .bad { color: var(--bad) }
.wide { overflow-x: auto; max-width: 100% }
table { border-collapse: collapse; font-size: .9rem; margin: .4rem 0 }
caption { text-align: left; padding: .2rem 0 }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: break-word; min-width: 3.2rem }
td:has(code):first-child { min-width: 8rem }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap }
code, pre { font: .85rem/1.45 ui-monospace, monospace; overflow-wrap: anywhere;
  white-space: pre-wrap; background: var(--card); border-radius: 4px;
  padding: .1rem .3rem }
pre { padding: .6rem; margin: .4rem 0 }
figure { margin: 0 }
figcaption { overflow-wrap: anywhere; line-height: 1.25; margin-top: 4px }
.cards { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)) }
.pictures { display: grid; gap: .6rem;
  grid-template-columns: repeat(auto-fill, minmax(6rem, 1fr)) }
.row { display: flex; flex-wrap: wrap; gap: .6rem; align-items: flex-start;
  margin: .8rem 0 }
.row figure, .pictures figure { max-width: 7rem; flex: 0 1 auto }
img, .gone { display: block; border-radius: 3px; max-width: 100%; height: auto;
  background: var(--card) }
.gone { display: grid; place-items: center; border: 1px dashed var(--soft);
  color: var(--soft); font-size: .75rem; min-width: 4rem; min-height: 4rem }
.right img { outline: 3px solid var(--good) }
.wrong img { outline: 3px dashed var(--bad) }
.query img { outline: 3px solid var(--ink) }
svg { display: block; max-width: 100%; height: auto }
details { margin: .4rem 0 } summary { cursor: pointer }
@media print { body { max-width: none; font-size: 11px } nav { display: none }
  figure, tr { break-inside: avoid } * { print-color-adjust: exact } }'''


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
  told = ''.join(
      f' {key.rstrip("_").replace("_", "-")}' + (
          '' if value is True else f'="{escape(value)}"')
      for key, value in attributes.items() if value is not None and value is not False)
  inside = ''.join(escape(child) for child in children if child is not None)
  return Markup(f'<{name}{told}>' + ('' if name in _EMPTY else f'{inside}</{name}>'))


def joined(parts: Sequence[Any], between: str = '') -> Markup:
  """Returns parts one behind the other, each escaped unless it is `Markup`."""
  return Markup(escape(between).join(escape(part) for part in parts))


def figure(value: float | None, form: str = '.2f', unit: str = '',
           key: str = '') -> Markup:
  """Returns a number as people read it, with its exact value in the HTML.

  Args:
    value: None, or what is not finite, shows as '-'.
    form: as for `format`.
    unit: what stands behind it.
    key: where the value comes from, such as 'results.json byol.knn_top1'.
  """
  if not isinstance(value, (int, float)) or not math.isfinite(value):
    return tag('span', '-', data_key=key or None)
  return tag('data', format(value, form) + unit, value=repr(value),
             data_key=key or None)


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
    shown = tag('img', src=data_uri(jpeg), alt=text, title=text, width=side)
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


def warning(text: Any) -> Markup:
  """Returns a paragraph that must not be overlooked."""
  return tag('p', text, class_='warning', role='alert')


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
          tag('title', title), tag('style', Markup(COLOURS + _STYLE + style))),
      tag('body', tag('header', tag('h1', title), *(
          part if isinstance(part, Markup) else tag('p', part) for part in about)),
          tag('nav', *links) if len(links) > 1 else None, tag('main', *chapters)),
      lang='en') + '\n'


def _anchor(title: str) -> str:
  return ''.join(c if c.isalnum() else '-' for c in title.lower())[:60]
