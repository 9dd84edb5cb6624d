"""The pieces of a page: everything is escaped, and nothing is loaded."""

import html_page
import numpy as np
import pytest

from byol_jax.data.images import thumbnail
from byol_jax.pages import template

MARKUP = '<script>alert("1")</script>&\'\x07\udce4'


def test_markup_in_texts_is_shown_and_not_understood():
  jpeg = thumbnail.jpeg(np.zeros((9, 20, 3), np.uint8), 10)
  page = template.page(MARKUP, template.chapter(
      MARKUP, MARKUP, template.table([MARKUP], [[MARKUP]], caption=MARKUP),
      template.picture(jpeg, MARKUP, caption=MARKUP),
      template.picture(None, MARKUP), template.warning(MARKUP),
      template.figure(1.0, key=MARKUP), about=MARKUP), about=[MARKUP])
  page.encode()  # a lone surrogate would end here
  found = html_page.Page(page)
  assert not [name for name, _ in found.elements if name == 'script']
  shown = '<script>alert("1")</script>&\'\\x07\\udce4'
  assert found.texts.count(shown) >= 9
  attributes = [value for _, of in found.elements for value in of.values()]
  assert attributes.count(shown) >= 5


def test_a_page_loads_nothing():
  page = template.page('t', template.chapter('One', 'x'), template.chapter('Two'))
  found = html_page.Page(page)
  addresses = [value for _, of in found.elements for key, value in of.items()
               if key in ('src', 'href')]
  assert addresses == ['data:,', '#one', '#two']
  [policy] = [of['content'] for _, of in found.elements
              if of.get('http-equiv') == 'Content-Security-Policy']
  assert policy.startswith("default-src 'none'; img-src data:")


@pytest.mark.parametrize('value, shown', [
    (12.345, '12.35%'), (None, '-'), (float('nan'), '-')])
def test_figure_keeps_the_exact_value(value, shown):
  [(name, attributes)] = html_page.Page(template.figure(value, unit='%', key='k')).elements
  assert shown in template.figure(value, unit='%')
  assert attributes['data-key'] == 'k'
  assert (name == 'data') == (shown != '-')
  if shown != '-':
    assert float(attributes['value']) == value


def test_file_names_break_at_their_signs():
  assert template.file_name('a/b_c-d.e__f.jpg') == (
      'b_<wbr>c-<wbr>d.<wbr>e__<wbr>f.<wbr>jpg')
  found = html_page.Page(template.file_name(MARKUP))
  assert ''.join(found.texts) == 'script>&\'\\x07\\udce4'
  assert {name for name, _ in found.elements} <= {'wbr'}


def test_flags_of_a_warning_stay_whole():
  found = html_page.Page(template.warning('set --config.a=1, or <b>'))
  assert [name for name, _ in found.elements] == ['p', 'code']
  assert '--config.a=1' in found.texts


def test_long_texts_are_cut_and_say_so():
  assert template.escape('x' * 5000).endswith('... (3000 more)')
