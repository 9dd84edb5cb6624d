"""The first figures: tiles, the axis with the baselines, the table."""

import re

import html_page
import pytest

from byol_jax.pages import headline
from byol_jax.pages.headline import Result
from byol_jax.run.journal import Journal


def chapter(results=(), **fields):
  journal = Journal('runs/a', {}, {}, [], [], [])._replace(**fields)
  return html_page.Page(headline.chapter(results, journal, 'from 0 to 8; a note') or '')


def result(encoder, value, *, is_trained=False, interval=None, what='k-NN'):
  return Result(encoder, what, 'top-1', value, None, interval, 90,
                f'results.json {encoder}.knn_top1', is_trained)


THREE = [result('raw pixels', 80.0), result('untrained encoder', 75.15),
         result('BYOL', 83.05, is_trained=True, interval=(81.3, 84.6))]


def test_a_gain_is_a_distance_on_one_axis():
  page = chapter(THREE)
  lefts = {re.search(r'[\w ]+', told)[0]: float(left) for left, told in re.findall(
      r'<svg[^>]*style="left:([\d.]+)%"><path[^>]*><title>([^<]+)', page.text)}
  assert lefts['untrained encoder'] < lefts['raw pixels'] < lefts['BYOL']
  for name, value in (('BYOL', 83.05), ('raw pixels', 80.0)):
    # the axis goes from 74 to 86
    assert lefts[name] == pytest.approx(100 * (value - 74) / 12, abs=0.01)
  assert page.says('83.0 %') and page.says('raw pixels 80.0 %')
  assert len({of['d'].partition('m')[2] for of in page.named('path')}) == 6  # 3 shapes, 2 sizes


def test_a_trained_encoder_alone_has_no_axis():
  page = chapter(THREE[2:])
  assert not [of for of in page.named('div') if of.get('class') == 'race']
  assert page.says('81.30 to 84.60')


def test_last_values_of_a_run_that_goes_on():
  metrics = [{'step': 10, 'loss': 1.25, 'knn_top1': 60.0}, {'step': 20, 'loss': None}]
  page = chapter(metrics=metrics)
  assert ('metrics.jsonl loss', 1.25) in page.figures
  assert ('metrics.jsonl knn_top1', 60.0) in page.figures
  assert page.says('from 0 to 8; step 10')


def test_time_is_told_of_one_session():
  run = {'run': {'training_seconds_this_session': 208.25, 'device': '1 x cpu'}}
  name = 'results.json run.training_seconds_this_session'
  one = Journal('a', {}, run, [], [{}], [])
  page = html_page.Page(headline.chapter([], one, ''))
  assert page.says('0:03:28') and (name, 208.25) in page.figures
  several = Journal('a', {}, run, [], [{}, {}], [])
  assert headline.chapter([], several, '') is None


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -3.0, 1e300])
def test_values_that_are_no_accuracies_stand_in_the_table_alone(value):
  page = chapter([result('raw pixels', value), result('BYOL', value, is_trained=True)])
  assert [of for of in page.named('table')] and not page.says('nan')
  assert not [of for of in page.named('div') if of.get('class') in ('race', 'tile')]


def test_equal_values_and_no_results():
  assert chapter([result('raw pixels', 50.0),
                  result('BYOL', 50.0, is_trained=True)]).says('50.0 %')
  assert chapter().text == ''
