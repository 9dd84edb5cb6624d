"""Chapters of images: frames, signs without colour, images that are gone."""

import html_page
import numpy as np

from byol_jax.data.images import thumbnail
from byol_jax.pages import pictures
from byol_jax.pages.pictures import Shown

JPEG = thumbnail.jpeg(np.zeros((8, 8, 3), np.uint8), 8)


def test_right_and_wrong_have_frames_and_signs():
  query = pictures.Query(Shown('a.jpg', 'cat', JPEG), [
      (Shown('b.jpg', 'cat', JPEG), 0.9), (Shown('c.jpg', 'dog', None), 0.25)])
  page = html_page.Page(pictures.nearest(pictures.Pictures(queries=[query])))
  assert [of.get('class') for of in page.named('figure')] == ['query', 'right', 'wrong']
  assert [of['class'] for of in page.named('span') if of.get('class')] == ['good', 'bad']
  assert [value for _, value in page.figures] == [0.9, 0.25]
  assert page.says('gone') and len(page.named('img')) == 2


def test_without_labels_there_is_no_right():
  query = pictures.Query(Shown('d/a.jpg', '', JPEG), [(Shown('d/b.jpg', '', JPEG), 0.9)])
  page = html_page.Page(pictures.nearest(pictures.Pictures(queries=[query])))
  assert [of.get('class') for of in page.named('figure')] == ['query', None]
  assert page.says('b.jpg') and not page.says('same class')


def test_map():
  points = np.array([[0.0, 0], [1, 2], [3, 1], [3, 1]])
  found = pictures.Map(points, (0.5, 0.25), list('wxyz'),
                       ['a', html_page.MARKUP, 'a', ''], JPEG, 99)
  page = html_page.Page(pictures.mapped(pictures.Pictures(map=found)))
  assert page.runs_nothing() and page.says('Features of 99 images')
  assert page.says('4 of them are drawn') and len(page.named('b')) == 4
  assert [value for _, value in page.figures] == [50, 25]


def test_a_map_of_thousands_of_classes():
  n = 600
  found = pictures.Map(np.random.default_rng(0).normal(size=(n, 2)), (0.5, 0.2),
                       [f'{i}' for i in range(n)], [f'c{i:04}' for i in range(n)], JPEG,
                       n)
  page = html_page.Page(pictures.mapped(pictures.Pictures(map=found)))
  assert page.says(f'and {n - pictures.MOST_CLASSES} more classes')


def test_nothing_to_show():
  nothing = pictures.Pictures()
  assert [part(nothing) for part in (pictures.views, pictures.nearest,
                                     pictures.mapped)] == [None] * 3
