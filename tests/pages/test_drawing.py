"""The drawing of a study: well-formed, and everything at its place."""

import re
from xml.etree import ElementTree

import pytest

from byol_jax.pages import drawing

NAMESPACE = '{http://www.w3.org/2000/svg}'


def row(place, change, *, line='', std=0.5, paper=None):
  return {'name': f'{line}{place}', 'line': line, 'place': place,
          'linear_change': None if change is None else {
              'mean': change, 'std': std, 'n': 3},
          'paper_change': paper}


def draw(*rows, title='Batch size'):
  text = drawing.svg([*rows, row('', -30.0, line=None)], figure='linear', title=title,
                     subtitle='top-1 < 100')
  return text, ElementTree.fromstring(text)


def of(root, tag, kind):
  return [x for x in root.iter(NAMESPACE + tag) if kind in x.get('class', '').split()]


def level(root, label):
  """The y coordinate of a mark of the axis."""
  return next(float(x.get('y')) - 4 for x in root.iter(NAMESPACE + 'text')
              if x.text == label and x.get('text-anchor') == 'end')


def test_bars_of_one_line():
  text, root = draw(row('ema', 0.0), row('online', -10.0, paper=-20.0),
                    row('open', None), row('stopped', 5.0, std=None))
  bars = of(root, 'rect', 'bar')
  assert len(bars) == 3 and len(of(root, 'rect', 'paper')) == 1
  zero = level(root, '0')
  assert [float(x.get('y')) for x in bars] == pytest.approx(
      [zero, zero, level(root, '+5')], abs=0.1)
  assert float(bars[1].get('height')) == pytest.approx(level(root, '-10') - zero, abs=.11)
  assert len([x for x in root.iter(NAMESPACE + 'path')
              if 'M' in x.get('d') and 'V' in x.get('d')]) == 2  # error bars
  assert {'ema', 'online', 'open', 'stopped', 'top-1 < 100'} <= {
      x.text for x in root.iter(NAMESPACE + 'text')}
  assert 'dashed: the published change' in text
  assert 'prefers-color-scheme: dark' in text


def test_lines_of_several():
  text, root = draw(*(row(place, change, line=line) for line, changes in (
      ('byol', (0.0, -0.1, None)), ('simclr', (0.0, -3.0, -6.0)))
      for place, change in zip(('64', '32', '16'), changes)))
  lines = of(root, 'polyline', 'line')
  assert [len(x.get('points').split()) for x in lines] == [2, 3]
  x, y = map(float, lines[1].get('points').split()[-1].split(','))
  assert y == pytest.approx(level(root, '-6'), abs=0.1)
  assert [len(of(root, 'path', f'c{i}')) - 2 for i in range(2)] == [2 + 2, 3 + 3]
  assert all(len({x.get('d').partition('m')[2] for x in of(root, 'path', 'mark')
                  if f'c{i}' in x.get('class').split()}) == 1 for i in range(2))
  assert sum(t.text in ('byol', 'simclr') for t in root.iter(NAMESPACE + 'text')) == 2
  assert sum(t.text == '16' for t in root.iter(NAMESPACE + 'text')) == 1
  assert 'published' not in text


@pytest.mark.parametrize('rows', [
    [row('a', None)], [row('a', 0.0, std=0.0)],
    [row('a', 0.0), row('b', 0.001)], [row('a', 0.0), row('b', -99.9)],
    [row('a long & winding <name>' * 3, -1.0)]], ids=len)
def test_any_figures(rows):
  text, root = draw(*rows, title='<own> & grid')
  assert not re.search(r'nan|inf\b', text)
  width, height = (float(root.get(side)) for side in ('width', 'height'))
  marks = [x for x in root.iter(NAMESPACE + 'text') if x.get('text-anchor') == 'end'
           and not x.get('transform')]
  assert 2 <= len(marks) <= 9 and len({x.text for x in marks}) == len(marks)
  assert all(0 < float(x.get('y')) < height for x in marks) and width < 800
