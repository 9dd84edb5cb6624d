"""Figures over seeds, and the tables that people read."""

import pytest

from byol_jax.evaluation import figures


def test_one_seed_as_it_is():
  assert figures.over_seeds('knn', [{'top1': 50.0, 'k': 3}], 90) == {
      'knn_top1': 50.0, 'knn_k': 3}


def test_several_seeds_as_mean_and_deviation():
  each = [{'top1': 50.0, 'l2': .1}, {'top1': 54.0, 'l2': .2}]
  found = figures.over_seeds('logistic', each, 90)
  assert found['logistic_seeds'] == each and 'logistic_l2' not in found
  assert (found['logistic_top1'], found['logistic_top1_std']) == (
      52.0, pytest.approx(8 ** .5))
  low, high = found['logistic_top1_interval']
  assert low < 52 < high


def test_a_row_for_each_kind_that_was_measured():
  lines = figures.table('knn', {
      'byol': {'knn_top1': 52.0, 'knn_top1_std': 1.5, 'knn_top1_interval': [40, 60]},
      'raw_pixels': {'knn_top1': 30.0}}).splitlines()
  assert [line[:20].strip() for line in lines] == ['knn', 'BYOL', 'raw pixels']
  table = figures.table('knn', {'method': 'infomin', 'infomin': {'knn_top1': 52.0}})
  assert table.splitlines()[1].startswith('InfoMin ')
  assert '52.00% +-1.50' in lines[1] and lines[1].endswith('40.00 to 60.00')
  assert lines[2].endswith('-')


def test_results_table():
  table = figures.results_table({
      'raw_pixels': {'knn_top1': 79.61, 'linear_top1': 83.},
      'untrained': {'knn_top1': 59.02},
      'byol': {'knn_top1': 86.9, 'linear_top1': 88.04}})
  assert table.splitlines() == [
      '                          k-NN    linear',
      'raw pixels               79.6%     83.0%',
      'untrained encoder        59.0%         -',
      'BYOL                     86.9%     88.0%']
