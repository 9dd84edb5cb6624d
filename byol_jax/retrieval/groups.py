"""Groups of items that belong together, and parts of pairs that share none of them.

A pair must not be split from others of its product: its anchor would be learned from,
and its positive tested. So whole groups are dealt, and later events test.
"""

from __future__ import annotations

from collections.abc import Callable
import hashlib
from typing import NamedTuple

import numpy as np
import scipy.sparse
from scipy.sparse import csgraph

from byol_jax.errors import UserError
from byol_jax.retrieval.pairs import Pairs

_MOST_OF_A_GROUP = 0.5  # a larger group of pairs cannot be dealt


class Parts(NamedTuple):
  """Pairs to learn from and pairs to test on, without an item or a time in common.

  Attributes:
    kept: int64 [n], rows of the pairs to learn from.
    held_out: int64 [m], rows of the pairs to test on.
    counts: {text: number} of the pairs that are in neither.
    by: what was dealt, in words.
  """
  kept: np.ndarray
  held_out: np.ndarray
  counts: dict[str, int]
  by: str


def joined(first: np.ndarray, second: np.ndarray, size: int) -> np.ndarray:
  """Numbers the connected groups of a graph: int64 [size], the group of each node.

  Args:
    first: int [E], one end of each edge.
    second: int [E], the other.
    size: the number of nodes.
  """
  graph = scipy.sparse.coo_array(
      (np.ones(len(first), np.int8), (first, second)), (size, size))
  return csgraph.connected_components(graph, directed=False)[1].astype(np.int64)


def same_bytes(content: Callable[[int], bytes], num_images: int) -> np.ndarray:
  """Returns the first image that has the same bytes, int64 [N].

  Args:
    content: image -> its bytes.
    num_images: N.
  """
  first: dict[bytes, int] = {}
  return np.array([first.setdefault(hashlib.sha256(content(row)).digest(), row)
                   for row in range(num_images)], np.int64)


def alike(x: np.ndarray, least: float, at_a_time: int = 1024,
          ) -> tuple[np.ndarray, np.ndarray]:
  """Finds images whose features have a cosine of at least `least`.

  Args:
    x: float32 [N, D].
    least: the cosine.
    at_a_time: rows of the product that are in memory at a time.

  Returns:
    int64 [E] and int64 [E], the images of each such pair, the first before the second.
  """
  unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
  found = [np.zeros((2, 0), np.int64)]
  for start in range(0, len(unit), at_a_time):
    near = unit[start:start + at_a_time] @ unit[start:].T >= least
    one, other = np.nonzero(near)
    found.append(start + np.stack([one, other])[:, one < other])
  return tuple(np.concatenate(found, axis=1))


def divide(pairs: Pairs, groups: np.ndarray, share: float, seed: int, *,
           by_time: bool) -> Parts:
  """Divides pairs into two parts that have no item, near-duplicate or time in common.

  Items that pairs connect are dealt together. Where one such group holds more than
  half of the pairs, as in a log of clicks on everything, the items themselves are
  dealt, with their near-duplicates, and pairs across the parts are dropped.

  Args:
    pairs: the pairs.
    groups: int64 [items], the group of near-duplicates of each item.
    share: the share of the pairs that is wanted in the second part, about.
    seed: the seed of the deal.
    by_time: whether the second part is also later than the first, where times are
      known: the first has no pair after the time at which 1 - share of all are over,
      the second none before.

  Raises:
    UserError: a part has no pair.
  """
  first, second = groups[pairs.anchor], groups[pairs.positive]
  number = int(groups.max(initial=0)) + 1
  linked = joined(first, second, number)
  by = 'items that pairs connect, with their near-duplicates'
  if np.bincount(linked[first]).max() > _MOST_OF_A_GROUP * pairs.size:
    linked, by = np.arange(number), 'items with their near-duplicates'
  is_out = _dealt(linked[first], linked[second], share, seed)
  one, two = is_out[linked[first]], is_out[linked[second]]
  counts = {'pairs with an item in either part': int((one != two).sum())}
  early, late = ~one & ~two, one & two
  if by_time and pairs.time is not None:
    border = np.quantile(pairs.time, 1 - share)
    by += f', and by time at {border:.0f} s'
    is_later = pairs.time >= border
    counts |= {'pairs to learn from, but too late': int((early & is_later).sum()),
               'pairs to test on, but too early': int((late & ~is_later).sum())}
    early, late = early & ~is_later, late & is_later
  parts = Parts(np.flatnonzero(early), np.flatnonzero(late), counts, by)
  for part, what in ((parts.kept, 'learn from'), (parts.held_out, 'test on')):
    if not len(part):
      raise UserError(
          f'no pair is left to {what} when {pairs.size} pairs are divided by {by}: '
          + ', '.join(f'{x} {name}' for name, x in counts.items())
          + '; give more pairs, of more items, or another pairs.test or pairs.holdout')
  return parts


def _dealt(first: np.ndarray, second: np.ndarray, share: float,
           seed: int) -> np.ndarray:
  """Deals groups at random until they hold `share` of the ends: bool [groups]."""
  ends = np.bincount(np.concatenate([first, second]))
  order = np.random.default_rng(seed).permutation(np.flatnonzero(ends))
  before = np.cumsum(ends[order]) - ends[order]
  chosen = np.zeros(len(ends), bool)
  chosen[order[before < share * ends.sum()]] = True
  return chosen
