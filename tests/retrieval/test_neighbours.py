"""Exact search over devices against numpy."""

import jax
import numpy as np
import pytest

from byol_jax.retrieval import metrics
from byol_jax.retrieval import neighbours

AT = (1, 5)


def features(count, seed, size=6):
  rng = np.random.default_rng(seed)
  return rng.standard_normal((count, size)).astype(np.float32)


def cosines(gallery, queries):
  gallery, queries = (x / np.linalg.norm(x, axis=1, keepdims=True)
                      for x in (gallery.astype(float), queries.astype(float)))
  return queries @ gallery.T


def test_measure_equals_numpy():
  gallery, queries = features(70, 0), features(30, 1)
  labels, wanted = np.arange(70) % 5, np.arange(30) % 6  # 5 has no image
  found = neighbours.measure(
      gallery, queries, neighbours.by_label(wanted, labels), AT)
  assert found.queries.tolist() == np.flatnonzero(wanted < 5).tolist()
  exact = cosines(gallery, queries)
  expected = [metrics.of_query(metrics.rank(exact[q], np.flatnonzero(
      labels == wanted[q])), AT) for q in found.queries]
  np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-12)
  order = np.argsort(-exact, axis=1)[:, :10]
  np.testing.assert_array_equal(found.hits, order)
  np.testing.assert_allclose(
      found.cosines, np.take_along_axis(exact, order, 1), atol=1e-6)


def test_each_image_against_all_others():
  x, labels = features(40, 2), np.arange(40) % 4
  labels[7] = 9  # alone
  own = np.arange(40)
  found = neighbours.measure(x, x, neighbours.by_label(labels, labels), AT, own)
  assert 7 not in found.queries and len(found.queries) == 39
  exact = cosines(x, x)
  np.fill_diagonal(exact, -np.inf)
  for query, values in zip(found.queries, found.values):
    rows = np.setdiff1d(np.flatnonzero(labels == labels[query]), [query])
    np.testing.assert_allclose(
        values, metrics.of_query(metrics.rank(exact[query], rows), AT), atol=1e-12)
  assert not (found.hits == own[:, None]).any()


@pytest.mark.parametrize('limit', ['_TILE', '_KEPT', '_SIMILARITIES'])
def test_blocks_do_not_change_the_result(monkeypatch, limit):
  gallery, queries = features(90, 3), features(100, 4)
  relevance = neighbours.by_label(np.arange(100) % 3, np.arange(90) % 3)
  whole = neighbours.measure(gallery, queries, relevance, AT)
  monkeypatch.setattr(neighbours, limit, 32 if limit == '_TILE' else 1)
  for a, b in zip(whole, neighbours.measure(gallery, queries, relevance, AT)):
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_one_device_computes_the_same(monkeypatch):
  gallery, queries = features(90, 3, 64), features(600, 4, 64)
  relevance = neighbours.by_label(np.arange(600) % 3, np.arange(90) % 3)
  eight = neighbours.measure(gallery, queries, relevance, AT)
  one = jax.local_devices()[:1]
  monkeypatch.setattr(jax, 'local_devices', lambda: one)
  monkeypatch.setattr(jax, 'local_device_count', lambda: 1)
  for a, b in zip(eight, neighbours.measure(gallery, queries, relevance, AT)):
    np.testing.assert_array_equal(a, b)


def test_pairs_count_once_with_their_largest_weight():
  relevance = neighbours.by_pairs(
      np.array([2, 0, 2, 2, 0]), np.array([5, 1, 5, 3, 4]),
      np.array([1., 2., 3., 1., 0.]), num_queries=4)
  rows, weights = relevance.of(2)
  assert rows.tolist() == [3, 5] and weights.tolist() == [1, 3]
  assert relevance.of(0)[0].tolist() == [1]  # weight 0 is not relevant
  assert not len(relevance.of(1)[0]) and not len(relevance.of(3)[0])
  assert relevance.of(2, own=5)[0].tolist() == [3]


def test_weights_are_those_of_their_images():
  gallery = np.eye(3, dtype=np.float32)
  queries = np.array([[.9, .5, .1]], np.float32)
  relevance = neighbours.by_pairs(np.array([0, 0]), np.array([2, 0]),
                                  np.array([1., 3.]), 1)
  found = neighbours.measure(gallery, queries, relevance, AT)
  ndcg = dict(zip(metrics.names(AT), found.values[0]))['ndcg_at_10']
  assert ndcg == pytest.approx((3 + 1 / 2) / (3 + 1 / np.log2(3)))


def test_nearest_leaves_the_query_out():
  x = features(20, 5)
  x[4] = x[3]  # a duplicate of the query comes first
  found, rows = neighbours.nearest(x, x, 5, own=np.arange(20))
  assert rows[3, 0] == 4 and rows[4, 0] == 3
  assert not (rows == np.arange(20)[:, None]).any()
  exact = cosines(x, x)
  np.fill_diagonal(exact, -np.inf)
  np.testing.assert_allclose(found, -np.sort(-exact, axis=1)[:, :5], atol=1e-6)
  # without an own row, as for queries that are not in the gallery
  plain = neighbours.nearest(x[:10], x[10:], 5)[1]
  np.testing.assert_array_equal(
      neighbours.nearest(x[:10], x[10:], 5, own=np.full(10, -1))[1], plain)


def test_what_has_no_label_is_relevant_to_nothing():
  for none, some in ((-1, 3), ('', 'x')):
    labels = np.array([none, some, none, some])
    relevance = neighbours.by_label(labels, labels)
    assert [relevance.of(k, own=k)[0].tolist() for k in range(4)] == [[], [3], [], [1]]
