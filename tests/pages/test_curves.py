"""Curves: each metric has a chart, those that are known among their like."""

import html_page

from byol_jax.pages import curves


def test_every_metric_has_its_chart():
  metrics = [{'step': 5, 'epoch': 0.5, 'loss': 2.0, 'own': 1.0, 'flag': True},
             {'step': 10, 'loss': None, 'tau': 0.9, 'seconds_left': 3}]
  page = html_page.Page(curves.chapter(metrics, loss='from 0 to 8', end=20, bounds={}))
  assert page.lines == {'loss': [[5, 2.0], [10, None]], 'own': [[5, 1.0]],
                        'tau': [[10, 0.9]]}
  titles = [text for text in page.texts if text in (
      'What is learned', 'How it runs', 'Others', 'Loss', 'own')]
  assert titles == ['What is learned', 'Loss', 'How it runs', 'Others', 'own']
  assert page.says('from 0 to 8')


def test_without_metrics_there_is_no_chapter():
  assert curves.chapter([{'step': 3}], loss='', end=None, bounds={}) is None


def test_names_of_metrics_are_escaped():
  page = html_page.Page(curves.chapter(
      [{'step': 1, html_page.MARKUP: 1.0}], loss='', end=None, bounds={}))
  assert page.runs_nothing() and html_page.MARKUP in page.lines
