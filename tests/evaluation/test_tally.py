"""Means, deviations and changes of a study, by hand."""

import math

import pytest

from byol_jax.evaluation import tally


def run(seed, linear=None, knn=None, *, method=None, untrained=30.0, **more):
  results = {}
  if linear is not None:
    results = {
        **({'method': method} if method else {}),
        'run': {'steps': 20, 'training_seconds_this_session': 1.5, 'device': '1 x cpu'},
        method or 'byol': {'linear_top1': linear, 'knn_top1': knn},
        'untrained': {'linear_top1': untrained + seed, 'knn_top1': untrained}}
  return tally.Run(seed, f'cells/x-{seed}', 'done' if results else 'open', results,
                   **more)


def cell(name, *runs, paper=None, reference='a'):
  return tally.Cell(name, '', name, reference, paper, {'train.epochs': 3.0}, runs)


def test_means_and_changes():
  a = cell('a', run(0, 60.0, 50.0), run(1, 62.0, 51.0), paper=72.5)
  b = cell('b', run(0, 57.0, 50.0, method='simclr'), run(1, 61.0, 50.0), paper=70.3)
  rows = tally.summary([a, b], 1.4)
  assert rows[0]['linear'] == {'mean': 61.0, 'std': pytest.approx(2**0.5, abs=1e-4),
                               'n': 2}
  assert rows[0]['linear_change'] == {'mean': 0.0, 'std': 0.0, 'n': 2}
  # seed by seed: -3 and -1
  assert rows[1]['linear_change'] == {
      'mean': -2.0, 'std': pytest.approx(2**0.5, abs=1e-4), 'n': 2}
  assert rows[1]['knn']['mean'] == 50.0 and rows[1]['knn_change']['mean'] == -0.5
  assert (rows[1]['paper'], rows[1]['paper_change']) == (70.3, -2.2)
  untrained = rows[2]
  assert untrained['name'] == 'untrained encoder' and untrained['line'] is None
  assert untrained['linear']['mean'] == 30.5
  assert untrained['linear_change']['mean'] == -30.5
  assert untrained['paper_change'] == -71.1
  assert rows[1]['runs'][0] == {
      'seed': 0, 'workdir': 'cells/x-0', 'state': 'done', 'linear_top1': 57.0,
      'knn_top1': 50.0, 'steps': 20, 'seconds_of_last_session': 1.5,
      'device': '1 x cpu'}


def test_what_is_not_known_yet():
  """A change is taken over the seeds that both have."""
  a = cell('a', run(0, 60.0, 50.0), run(1))
  b = cell('b', run(0, 59.0, 50.0), run(1, 70.0, 70.0))
  c = cell('c', run(0), run(1)._replace(state='failed', message='no such folder'))
  rows = tally.summary([a, b, c], None)
  assert rows[0]['linear'] == {'mean': 60.0, 'std': None, 'n': 1}
  assert rows[1]['linear']['mean'] == 64.5
  assert rows[1]['linear_change'] == {'mean': -1.0, 'std': None, 'n': 1}
  assert rows[2]['linear'] is None and rows[2]['linear_change'] is None
  assert rows[2]['runs'][1]['message'] == 'no such folder'
  head, *lines = tally.columns(rows)
  assert head == ['cell', 'linear', 'change', 'k-NN', 'change', 'seeds']
  assert lines[:3] == [
      ['a', '60.00', 'reference', '50.00', 'reference', '1/2'],
      ['b', '64.50 +-7.78', '-1.00', '60.00 +-14.14', '+0.00', '2/2'],
      ['c', '-', '-', '-', '-', '0/2']]
  assert tally.summary([], None) == []


def test_the_time_of_a_run():
  assert tally.seconds([{}, {'run': {'training_seconds_this_session': 3.0}}, {'run': 3},
                        {'run': {'training_seconds_this_session': 5.0}}]) == 4.0
  assert math.isnan(tally.seconds([{}, {'run': {}}]))


@pytest.mark.parametrize('results', [
    {'byol': None}, {'byol': {'linear_top1': 'much'}}, {'run': 3}, {}])
def test_odd_results_are_no_figures(results):
  rows = tally.summary([cell('a', tally.Run(0, 'w', 'done', results))], None)
  assert rows[0]['linear'] is None


def test_tables():
  rows = tally.summary([cell('a', run(0, 60.0, 50.0), paper=72.5)], 1.4)
  lines = tally.columns(rows)
  assert lines[0][-2:] == ['paper', 'change'] and lines[2][-2:] == ['1.4', '-71.1']
  said = tally.table(lines).splitlines()
  assert said[1].split() == ['a', '60.00', 'reference', '50.00', 'reference', '1/1',
                             '72.5', '+0.0']
  assert len({len(line) for line in said}) == 1
  page = tally.markdown(lines).splitlines()
  assert page[1].startswith('| --- | ---: |') and len(page) == 4
  assert len({line.count('|') for line in page}) == 1
