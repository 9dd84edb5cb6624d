"""The page of a search: queries and hits, and names that are markup."""

import html_page
import numpy as np

from byol_jax.data.images import thumbnail
from byol_jax.pages import gallery
from byol_jax.pages.gallery import Found

JPEG = thumbnail.jpeg(np.zeros((8, 8, 3), np.uint8), 8)


def test_queries_and_hits_are_shown_and_nothing_runs():
  hits = [Found('shop/' + html_page.MARKUP, JPEG, {'price': 3.0}, 0.75),
          Found('b.jpg', None, {'note': html_page.MARKUP, 'price': None}, 0.5)]
  text = gallery.page('Alike', [(Found('q.jpg', JPEG, {}), hits),
                                (Found('lonely.jpg', JPEG, {}), [])], ['About.'])
  page = html_page.Page(text)
  assert page.runs_nothing()
  assert [of.get('class') for of in page.named('figure')] == [
      'query', None, None, 'query']
  assert [value for _, value in page.figures] == [0.75, 0.5]
  for said in ('price: 3', 'price: -', 'gone', 'nothing found', 'q.jpg', 'About.'):
    assert page.says(said)
  assert '<script' not in text


def test_values_as_people_read_them():
  assert [gallery.shown(x) for x in (None, 3.0, 2.5, 'a')] == ['-', '3', '2.5', 'a']
