"""How good a ranking of the gallery is, for each query and over all of them.

A query's figures follow from the ranks of its relevant images alone: 1 is the
nearest image of the gallery, the query itself left out. R is the number of relevant
images. In formulas below, r_1 < r_2 < ... < r_R are their ranks.

  recall_any_at_K    1 if r_1 <= K             "Recall@K" of SOP, In-shop and CUB-200
  recall_share_at_K  #(r_i <= K) / R           recall as information retrieval has it
  precision_at_1     1 if r_1 = 1
  r_precision        #(r_i <= R) / R
  map_at_r           sum over r_i <= R of (i / r_i) / R        Musgrave et al. 2020
  map                sum over all of (i / r_i) / R
  mrr                1 / r_1
  ndcg_at_10         sum over r_i <= 10 of w_i / log2(1 + r_i), divided by the same sum
                     for the best order; w_i is the weight of image i
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_RESAMPLES = 1000
_DEPTH = 10  # images that NDCG looks at


class Ranked(NamedTuple):
  """The relevant images of one query, nearest first.

  Attributes:
    ranks: int64 [R], ascending, from 1.
    weights: float64 [R], at least 0: how relevant each is.
  """
  ranks: np.ndarray
  weights: np.ndarray


def rank(similarities: np.ndarray, relevant: np.ndarray,
         weights: np.ndarray | None = None) -> Ranked:
  """Ranks the relevant images of a query among the whole gallery.

  Args:
    similarities: [N], to each image of the gallery; -inf for one that is left out.
      The lower row of equal ones counts as nearer.
    relevant: int [R], different rows of the gallery.
    weights: float [R]; None: all 1.

  Returns:
    The ranks, with the weights in their order.
  """
  relevant = np.asarray(relevant, np.int64)
  ascending = np.sort(similarities)
  own = similarities[relevant]
  ranks = 1 + len(ascending) - np.searchsorted(ascending, own, 'right')
  equal = np.searchsorted(ascending, own, 'right') - np.searchsorted(
      ascending, own, 'left')
  if (equal > 1).any():
    order = np.argsort(-similarities, kind='stable')
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(1, len(order) + 1)
    ranks = place[relevant]
  order = np.argsort(ranks)
  weights = np.ones(len(ranks)) if weights is None else np.asarray(weights, np.float64)
  return Ranked(ranks[order], weights[order])


def names(recall_at: Sequence[int]) -> list[str]:
  """Returns the names of the figures that `of_query` computes, in its order."""
  return [*(f'recall_any_at_{k}' for k in recall_at),
          *(f'recall_share_at_{k}' for k in recall_at),
          'precision_at_1', 'r_precision', 'map_at_r', 'map', 'mrr',
          f'ndcg_at_{_DEPTH}']


def of_query(ranked: Ranked, recall_at: Sequence[int]) -> np.ndarray:
  """Computes the figures of one query, as the head of this file defines them.

  Args:
    ranked: one relevant image or more, one of them with a weight above 0.
    recall_at: numbers K.

  Returns:
    float64 [len(names(recall_at))], each from 0 to 1.
  """
  ranks, weights = ranked
  count = len(ranks)
  precisions = np.arange(1, count + 1) / ranks
  shares = [np.count_nonzero(ranks <= k) / count for k in recall_at]
  return np.array([
      *(float(ranks[0] <= k) for k in recall_at), *shares,
      float(ranks[0] == 1), np.count_nonzero(ranks <= count) / count,
      precisions[ranks <= count].sum() / count, precisions.sum() / count,
      1 / ranks[0], _ndcg(ranks, weights)])


def _ndcg(ranks: np.ndarray, weights: np.ndarray) -> float:
  seen = ranks <= _DEPTH
  gained = np.sum(weights[seen] / np.log2(1 + ranks[seen]))
  best = np.sort(weights)[::-1][:_DEPTH]
  return float(gained / np.sum(best / np.log2(2 + np.arange(len(best)))))


def summary(values: np.ndarray, called: Sequence[str],
            seed: int = 0) -> dict[str, float | list[float]]:
  """Computes means over the queries, in percent, and how sure they are.

  Args:
    values: float64 [Q, M], a row for each query that has a relevant image.
    called: the names of the columns.
    seed: the seed of the bootstrap.

  Returns:
    {name: percent, name_interval: [low, high]}: the 95 % interval for other queries
    of this kind, from 1,000 resamples of the queries with replacement.
  """
  values = np.asarray(values, np.float64)
  rng, count = np.random.default_rng(seed), len(values)
  means = np.stack([
      np.bincount(rng.integers(count, size=count), minlength=count) @ values / count
      for _ in range(_RESAMPLES)])
  low, high = 100 * np.percentile(means, (2.5, 97.5), axis=0)
  result: dict[str, float | list[float]] = {}
  for k, name in enumerate(called):
    result[name] = 100 * float(values[:, k].mean())
    result[f'{name}_interval'] = [float(low[k]), float(high[k])]
  return result
