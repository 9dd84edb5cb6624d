"""Charts: the exact values, gaps, axes, and marks that differ in shape."""

import re

import html_page
import pytest

from byol_jax.pages import chart
from byol_jax.pages.chart import Bound
from byol_jax.pages.chart import Line


def test_values_are_those_that_were_given():
  points = [(1, 0.1234567890123), (2, None), (3, 7.0), (5, 1e-9)]
  page = html_page.Page(chart.curves('t', [Line('a', points)]))
  assert page.lines['a'] == [list(point) for point in points]
  assert page.says('a gap stands for 1 value not finite')
  [line] = [of for of in page.named('path') if of['class'] == 'c0 line']
  assert line['d'].count('M') == 2 and line['d'].count('L') == 1  # a gap


def test_long_lines_are_thinned_and_say_so():
  points = [(i, float(i)) for i in range(5000)]
  page = html_page.Page(chart.curves('t', [Line('a', points)]))
  kept = page.lines['a']
  assert len(kept) == 300 and kept[0] == [0, 0] and kept[-1] == [4999, 4999]
  assert page.says('thinned')
  assert len([of for of in page.named('path') if 'mark' in of['class']]) <= 11


@pytest.mark.parametrize('values, log', [
    ([1.0], False), ([0.0, 0.0], False), ([-1e-9, 1e-9], False), ([5.0], True),
    ([1e-8, 1e4], True), ([0.0, 1.0], True), ([3.0, 3.1], True), ([None], False),
    ([1e308, -1e307], False), ([0.98, 0.98003], False)])
def test_any_values(values, log):
  text = chart.curves('t', [Line('a', list(enumerate(values)))], log=log,
                      bounds=[Bound(2.0, 'here')])
  assert not re.search(r'nan|inf\b', text)
  ys = [float(y) for x, y in re.findall(r'[ML](-?[\d.]+) (-?[\d.]+)', text)]
  assert all(0 <= y <= 230 for y in ys)
  page = html_page.Page(text)
  ticks = [of for of in page.named('text') if of['text-anchor'] == 'end'
           and of['class'] == 'soft']
  assert 1 <= len(ticks) <= 12


def test_ticks_differ():
  text = chart.curves('t', [Line('a', [(1, 0.98), (2, 0.98003)])])
  names = re.findall(r'class="soft"[^>]*text-anchor="end">([^<]+)<', text)
  assert len(set(names)) == len(names) > 2


def test_marks_differ_in_shape_and_colour():
  drawn = [re.search(r'class="(c\d) mark( hollow)?" d="M\S+ \S+?(m[^"]*)"',
                     chart.mark(i, 0, 0)).groups() for i in range(40)]
  assert len(set(drawn)) == 40
  assert len({of[1:] for of in drawn[:16]}) == 16  # without colours, too


def test_names_are_escaped():
  page = html_page.Page(chart.curves(
      html_page.MARKUP, [Line(html_page.MARKUP, [(1, 1.0)]), Line('b', [(1, 2.0)])],
      bounds=[Bound(1.0, html_page.MARKUP)], about=html_page.MARKUP))
  assert page.runs_nothing() and html_page.MARKUP in page.lines
