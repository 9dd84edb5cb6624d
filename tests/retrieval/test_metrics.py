"""Figures of a ranking against plain definitions, and as metric learning has them."""

import math

import numpy as np
import pytest

from byol_jax.retrieval import metrics
from byol_jax.retrieval import neighbours

AT = (1, 5, 10, 100)


def plain(order, weight_of):
  """Computes a query's figures from its whole ranked list, one by one."""
  relevant = {row for row, weight in weight_of.items() if weight > 0}
  hits = [row in relevant for row in order]
  count = len(relevant)
  found = {}
  for k in AT:
    found[f'recall_any_at_{k}'] = 1.0 if any(hits[:k]) else 0.0
    found[f'recall_share_at_{k}'] = sum(hits[:k]) / count
  found['precision_at_1'] = float(hits[0])
  found['r_precision'] = sum(hits[:count]) / count
  for name, depth in (('map_at_r', count), ('map', len(order))):
    found[name] = sum(sum(hits[:i + 1]) / (i + 1) for i in range(min(depth, len(order)))
                      if hits[i]) / count
  found['mrr'] = 1 / (1 + hits.index(True))
  def gain(weights):
    return sum(w / math.log2(2 + i) for i, w in enumerate(weights[:10]))
  best = sorted((weight_of[row] for row in relevant), reverse=True)
  found['ndcg_at_10'] = gain([weight_of.get(row, 0) for row in order]) / gain(best)
  return found


def ours(similarities, weight_of):
  rows = np.array(sorted(weight_of))
  ranked = metrics.rank(similarities, rows, np.array([weight_of[r] for r in rows]))
  return dict(zip(metrics.names(AT), metrics.of_query(ranked, AT), strict=True))


@pytest.mark.parametrize('case', ['random', 'ties', 'all equal', 'one', 'all', 'few',
                                  'last'])
def test_equals_the_plain_definitions(case):
  rng = np.random.default_rng(sum(map(ord, case)))
  for size in (1, 2, 7, 150):
    for _ in range(20):
      similarities = rng.standard_normal(size).astype(np.float32)
      if case == 'ties':
        similarities = np.round(similarities)
      elif case == 'all equal':
        similarities[:] = .5
      count = {'one': 1, 'all': size, 'last': 1}.get(case, rng.integers(1, size + 1))
      rows = rng.permutation(size)[:count]
      if case == 'last':
        rows = [int(np.argmin(similarities))]
      weight_of = {int(row): float(rng.integers(1, 4)) for row in rows}
      order = sorted(range(size), key=lambda i: (-similarities[i], i))
      expected = plain(order, weight_of)
      found = ours(similarities, weight_of)
      assert found.keys() == expected.keys()
      for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), (name, size)


@pytest.mark.parametrize('size', [1, 2, 37, 130])
@pytest.mark.parametrize('case', ['equal', 'zeros', 'twice', 'all', 'none', 'weights'])
def test_what_is_rare_has_the_plain_definitions(case, size):
  # equal images are equally near, wherever they stand: the first counts as nearer
  gallery = np.random.default_rng(6).standard_normal((size, 6)).astype(np.float32)
  if case in ('equal', 'zeros'):
    gallery[:] = gallery[0] if case == 'equal' else 0
  elif case == 'twice':
    gallery[size // 2:] = gallery[:size - size // 2]
  queries, own = gallery[:7], np.arange(7)[:size]
  own[-1] = -1  # one is not of the gallery
  weight_of = [{'all': dict.fromkeys(range(size), 1.0), 'none': {},
                'weights': {0: 0.0, q: 1.0, size - 1: 0.5}}.get(
                    case, {0: 1.0, size - 1: 2.0}) for q in range(len(queries))]
  pairs = [(q, row, weight) for q, weights in enumerate(weight_of)
           for row, weight in weights.items()]
  found = neighbours.measure(gallery, queries, neighbours.by_pairs(
      *(np.array([pair[k] for pair in pairs], kind)
        for k, kind in enumerate((int, int, float))), len(queries)), AT, own)
  x = gallery / np.maximum(np.linalg.norm(gallery, axis=1, keepdims=True), 1e-9)
  exact, expected = (x[:7] @ x.T).round(6), {}
  for q, of_query in enumerate(weight_of):
    weights = {row: w for row, w in of_query.items() if w and row != own[q]}
    order = [row for row in np.argsort(-exact[q], kind='stable') if row != own[q]]
    if weights:
      expected[q] = plain(order, weights)
  assert found.queries.tolist() == list(expected)
  for values, wanted in zip(found.values, expected.values(), strict=True):
    for name, value in zip(metrics.names(AT), values, strict=True):
      assert value == pytest.approx(wanted[name], abs=1e-12), name


def test_equals_the_formulas_of_pytorch_metric_learning():
  # restated from its documentation, on [queries, neighbours] of equal labels
  rng = np.random.default_rng(0)
  queries, gallery = 40, 120
  labels = rng.integers(0, 6, gallery)
  wanted = rng.integers(0, 6, queries)
  similarities = rng.standard_normal((queries, gallery)).astype(np.float32)
  order = np.argsort(-similarities, axis=1, kind='stable')
  same = labels[order] == wanted[:, None]
  count = np.array([np.sum(labels == label) for label in wanted])
  within = np.arange(gallery)[None] < count[:, None]
  precision = np.cumsum(same, axis=1) / (1 + np.arange(gallery))[None]
  expected = {
      'precision_at_1': same[:, 0].mean(),
      'r_precision': ((same & within).sum(axis=1) / count).mean(),
      'map_at_r': ((precision * same * within).sum(axis=1) / count).mean(),
      'mrr': (1 / (1 + same.argmax(axis=1))).mean()}
  values = np.stack([metrics.of_query(metrics.rank(
      row, np.flatnonzero(labels == label)), AT) for row, label in zip(
          similarities, wanted)])
  found = dict(zip(metrics.names(AT), values.mean(axis=0)))
  for name, value in expected.items():
    assert found[name] == pytest.approx(value, abs=1e-12)


def test_what_is_left_out_is_behind_everything():
  similarities = np.array([.9, -np.inf, .5, -.8], np.float32)
  assert metrics.rank(similarities, np.array([3, 2])).ranks.tolist() == [2, 3]


def test_intervals_hold_the_mean_and_shrink_with_the_queries():
  rng = np.random.default_rng(0)
  widths = []
  for count in (100, 10_000):
    values = (rng.random((count, 1)) < .3).astype(float)
    found = metrics.summary(values, ['hit'])
    low, high = found['hit_interval']
    assert found['hit'] == pytest.approx(100 * values.mean())
    assert low < found['hit'] < high
    # the normal approximation, to a tenth
    width = 2 * 196 * math.sqrt(values.mean() * (1 - values.mean()) / count)
    assert high - low == pytest.approx(width, rel=.1)
    widths.append(high - low)
  assert widths[1] < widths[0] / 5
  assert metrics.summary(values, ['hit']) == found  # no other random numbers
