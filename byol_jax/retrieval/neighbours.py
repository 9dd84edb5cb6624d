"""Exact search by cosine on all devices, and the ranks of what is relevant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from byol_jax.data import workers
from byol_jax.devices import hosts
from byol_jax.devices import mapped
from byol_jax.evaluation import knn
from byol_jax.methods.losses import l2_normalize
from byol_jax.retrieval import metrics

_TILE = 32_768          # gallery rows on the devices at a time
_QUERIES = 512          # the most queries a device takes at a time
_SIMILARITIES = 32 << 20  # bytes of similarities that a device's queries have
_KEPT = 1 << 30         # bytes of a gallery that stays on each device
_HITS = 10              # nearest images that are kept of each query


class Relevance:
  """Says which images of the gallery are relevant to which query."""

  def __init__(self, starts: np.ndarray, rows: np.ndarray, group: np.ndarray,
               weights: np.ndarray | None = None):
    """Makes it of groups; programs call `by_label` or `by_pairs`.

    Args:
      starts: int64 [G + 1]: group g has rows[starts[g]:starts[g + 1]].
      rows: int64 [P], rows of the gallery.
      group: int64 [Q], the group of each query; -1 for none.
      weights: float64 [P]; None: all 1.
    """
    self._starts, self._rows, self._group = starts, rows, group
    self._weights = weights

  def __len__(self) -> int:
    """Returns the number of queries."""
    return len(self._group)

  def of(self, query: int, own: int = -1) -> tuple[np.ndarray, np.ndarray]:
    """Returns the relevant rows int64 [R] and their weights float64 [R].

    Rows of weight 0 and the row `own` are no part of them.
    """
    group = self._group[query]
    part = slice(*self._starts[group:group + 2]) if group >= 0 else slice(0)
    rows = self._rows[part]
    weights = np.ones(len(rows)) if self._weights is None else self._weights[part]
    counts = (rows != own) & (weights > 0)
    return rows[counts], weights[counts]


def by_label(queries: np.ndarray, gallery: np.ndarray) -> Relevance:
  """Makes images of a query's label relevant.

  Args:
    queries: int or texts [Q]; -1 or '' for a query without a label, which has none.
    gallery: likewise, [N].
  """
  known, group = np.unique(gallery, return_inverse=True)
  rows = np.argsort(group, kind='stable')
  starts = np.searchsorted(group[rows], np.arange(len(known) + 1))
  place = np.minimum(np.searchsorted(known, queries), len(known) - 1)
  has_label = queries != ('' if queries.dtype.kind == 'U' else -1)
  return Relevance(starts, rows, np.where(
      has_label & (known[place] == queries), place, -1))


def by_pairs(queries: np.ndarray, gallery: np.ndarray, weights: np.ndarray | None,
             num_queries: int) -> Relevance:
  """Makes single images relevant.

  Args:
    queries: int [P], the query of each pair.
    gallery: int [P], the row of the gallery that is relevant to it.
    weights: float [P], or None. A pair that is named twice counts once, with its
      largest weight.
    num_queries: Q.
  """
  weights = np.ones(len(queries)) if weights is None else np.asarray(weights, float)
  order = np.lexsort((-weights, gallery, queries))
  queries, gallery, weights = queries[order], gallery[order], weights[order]
  first = np.ones(len(order), bool)
  first[1:] = (np.diff(queries) != 0) | (np.diff(gallery) != 0)
  queries, gallery, weights = queries[first], gallery[first], weights[first]
  return Relevance(
      np.searchsorted(queries, np.arange(num_queries + 1)),
      np.asarray(gallery, np.int64), np.arange(num_queries), weights)


class Measured(NamedTuple):
  """Holds the results of a search of all queries in the gallery.

  Attributes:
    queries: int64 [q], the queries that have a relevant image.
    values: float64 [q, M], their figures, as `metrics.names` calls them.
    cosines: float32 [Q, k], of the nearest images of every query, the query's own
      row left out; k is at most 10.
    hits: int64 [Q, k], their rows.
  """
  queries: np.ndarray
  values: np.ndarray
  cosines: np.ndarray
  hits: np.ndarray


def measure(gallery: np.ndarray, queries: np.ndarray, relevance: Relevance,
            recall_at: Sequence[int], own: np.ndarray | None = None) -> Measured:
  """Ranks the whole gallery for each query, exactly, on the devices of all processes.

  Args:
    gallery: float32 [N, D], finite.
    queries: float32 [Q, D], finite.
    relevance: of Q queries.
    recall_at: numbers K, for `metrics.of_query`.
    own: int64 [Q], the gallery's row that is the query itself; -1 for none.

  Returns:
    Figures of the queries, the same for any number of devices.
  """
  own = np.full(len(queries), -1) if own is None else own
  k = max(min(_HITS, len(gallery) - bool((own >= 0).any())), 0)
  num_figures = len(metrics.names(recall_at))

  def look(task: tuple[int, np.ndarray]):
    query, similarities = task
    if own[query] >= 0:
      similarities[own[query]] = -np.inf
    rows, weights = relevance.of(query, own[query])
    values = np.full(num_figures, np.nan) if not len(rows) else metrics.of_query(
        metrics.rank(similarities, rows, weights), recall_at)
    hits = np.argpartition(-similarities, range(k))[:k] if k else np.zeros(0, int)
    return values, similarities[hits], hits

  size = _queries_a_device(len(gallery))
  mine = hosts.my_part(np.arange(len(queries)), size)
  found = list(workers.each(look, _rows(gallery, queries, mine, size),
                            threads=workers.cores()))
  values, cosines, hits = (
      np.stack([part[i] for part in found]) if found else np.zeros((0, width))
      for i, width in enumerate((num_figures, k, k)))
  # as bytes: jax would round float64
  values = hosts.gather(np.ascontiguousarray(values).view(np.uint32)).view(np.float64)
  cosines = hosts.gather(cosines.astype(np.float32))
  hits = hosts.gather(hits.astype(np.int32)).astype(np.int64)
  with_relevant = np.flatnonzero(~np.isnan(values[:, 0]))
  return Measured(with_relevant, values[with_relevant], cosines, hits)


def nearest(gallery: np.ndarray, queries: np.ndarray, k: int,
            own: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
  """Finds the k nearest images of the gallery by cosine, exactly.

  Args:
    gallery, queries, own: as for `measure`.
    k: at most the number of images beside the query itself.

  Returns:
    Cosines float32 [Q, k], descending, and rows int32 [Q, k]; of equal ones the lower
    row comes first.
  """
  if own is None:
    return knn.nearest(gallery, queries, k)
  cosines, rows = knn.nearest(gallery, queries, min(k + 1, len(gallery)))
  # the query itself, or else the last one, goes
  last = np.zeros(rows.shape, bool)
  last[:, k:] = True
  is_own = rows == np.asarray(own)[:, None]
  leaves = np.where(is_own.any(axis=1, keepdims=True), is_own, last)
  return cosines[~leaves].reshape(-1, k), rows[~leaves].reshape(-1, k)


def _queries_a_device(size: int) -> int:
  """Returns how many queries a device takes at a time, for a gallery of `size`.

  It does not follow from the number of devices: the last bits of a product may follow
  from it.
  """
  most = max(_SIMILARITIES // (4 * size), 8)
  return min(_QUERIES, 1 << (most.bit_length() - 1))


def _rows(gallery: np.ndarray, queries: np.ndarray, mine: np.ndarray,
          size: int) -> Iterator[tuple[int, np.ndarray]]:
  """Yields the queries `mine` with their similarities to all the gallery: float32 [N].

  `size` is the number of queries a device and call.
  """
  search = mapped.map_batches(_similarities, size)
  tile = min(len(gallery), _TILE)

  def tiles() -> Iterator[jax.Array]:
    for first in range(0, len(gallery), tile):
      rows = gallery[first:first + tile]
      yield mapped.replicate(np.pad(rows, ((0, tile - len(rows)), (0, 0))))

  kept = list(tiles()) if gallery.nbytes <= _KEPT else None
  each = size * jax.local_device_count()
  for start in range(0, len(mine), each):
    part = mine[start:start + each]
    similarities = np.concatenate(
        [search(rows, queries[part]) for rows in kept or tiles()],
        axis=1)[:, :len(gallery)]
    yield from zip(part.tolist(), similarities)


def _similarities(rows: jax.Array, queries: jax.Array) -> jax.Array:
  return jnp.matmul(l2_normalize(queries), l2_normalize(rows).T,
                    precision=jax.lax.Precision.HIGHEST)
