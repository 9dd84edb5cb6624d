"""Batches of pairs: which images, with what weight, and what is no negative."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import functools
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from byol_jax.data.feed import feed as feed_lib
from byol_jax.data.feed import order
from byol_jax.data.sources import table
from byol_jax.errors import UserError
from byol_jax.evaluation import crops
from byol_jax.retrieval import pairs as pairs_lib
from byol_jax.views import make as views_lib


class Items:
  """The images of each item."""

  def __init__(self, names: Sequence[str], images: Sequence[np.ndarray]):
    """Takes the items' names and, for each, its images: int64 [m], m at least 1."""
    self.names, self.images = names, images

  def rows(self, items: np.ndarray) -> np.ndarray:
    """Returns an image for each mention of an item, int64 [P]: each in its turn."""
    order = np.argsort(items, kind='stable')
    ordered = items[order]
    starts = np.searchsorted(ordered, ordered)
    turn = np.empty(len(items), np.int64)
    turn[order] = np.arange(len(items)) - starts
    return np.array([self.images[item][k % len(self.images[item])]
                     for item, k in zip(items.tolist(), turn.tolist())], np.int64)

  @functools.cached_property
  def owners(self) -> tuple[np.ndarray, np.ndarray]:
    """Returns all images int64 [M] and the item of each, int64 [M]."""
    return (np.concatenate(self.images), np.repeat(
        np.arange(len(self.images)), [len(rows) for rows in self.images]))


class Known:
  """The pairs that are known, to be left out of the negatives."""

  def __init__(self, pairs: pairs_lib.Pairs, groups: np.ndarray):
    """Takes the pairs, and each item's group: items of one group are the same."""
    self._groups, self._num_items = groups, len(groups)
    ends = groups[pairs.anchor], groups[pairs.positive]
    self._keys = np.unique(np.concatenate([
        pairs_lib.keys(*ends, self._num_items),
        pairs_lib.keys(*reversed(ends), self._num_items)]))

  def masks(self, anchor: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Returns what is no negative in a batch of pairs, bool [2, B, B].

    Args:
      anchor: int [B], items.
      positive: int [B].

    Returns:
      [0, i, j]: positive j is no negative of anchor i, as they are a known pair, or j
      is the same as anchor or positive i. [1, i, j]: anchor j is none of positive i.
      The diagonals, the pairs themselves, are False.
    """
    a, p = self._groups[anchor], self._groups[positive]
    keys = pairs_lib.keys(a[:, None], p[None], self._num_items)
    place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
    known = self._keys[place] == keys
    same, same_a, same_p = (x[:, None] == y[None] for x, y in ((a, p), (a, a), (p, p)))
    masks = np.stack([known | same | same_p, known.T | same.T | same_a])
    masks[:, np.arange(len(a)), np.arange(len(a))] = False
    return masks


class Batches:
  """The batches of a training on pairs, pure functions of (seed, step)."""

  def __init__(self, pairs: pairs_lib.Pairs, items: Items, groups: np.ndarray, *,
               batch_size: int, seed: int, popularity: bool):
    """Prepares the batches.

    Args:
      pairs: each pair once.
      items: their images.
      groups: int64 [items], the group of near-duplicates of each item.
      batch_size: B, of all devices.
      seed: the seed of the order.
      popularity: whether negatives are corrected by how often they are drawn.
    """
    self.size, self.batch_size, self._seed = pairs.size, batch_size, seed
    self._pairs = pairs
    self._known = Known(pairs, groups)
    self.images = np.stack([items.rows(x) for x in (pairs.anchor, pairs.positive)])
    self._log_frequency = np.zeros((2, pairs.size), np.float32)
    if popularity:
      for side, ends in enumerate((pairs.anchor, pairs.positive)):
        count = np.bincount(groups[ends])
        self._log_frequency[side] = np.log(count[groups[ends]] / pairs.size)

  def of(self, step: int) -> dict[str, np.ndarray]:
    """Returns one batch.

    Returns:
      'images' int64 [2, B], of anchors and positives; 'weight' float32 [B]; 'masks'
      bool [2, B, B], what is no negative (`Known.masks`); 'log_frequency'
      float32 [2, B].
    """
    rows = order.rows(self._seed, step, self.batch_size, self.size)
    return {'images': self.images[:, rows],
            'weight': self._pairs.weight[rows].astype(np.float32),
            'masks': self._known.masks(self._pairs.anchor[rows],
                                       self._pairs.positive[rows]),
            'log_frequency': self._log_frequency[:, rows]}


def batch_size(wanted: int, num_pairs: int) -> int:
  """Returns the batch: the wanted one, or for fewer pairs the power of 2 below."""
  if num_pairs < 2:
    raise UserError(f'{num_pairs} pair is left to learn from: there must be two, each '
                    'with a negative in the other')
  return wanted if num_pairs >= wanted else 2 ** int(np.log2(num_pairs))


class Feed:
  """Random crops and flips of pairs of images, as a `trainer.Feed`.

  An anchor shows its first view and its positive its second, each cut by itself.
  """

  def __init__(self, data: table.Data, spec: views_lib.ViewSpec,
               pairs: pairs_lib.Pairs, items: Items, groups: np.ndarray, *, seed: int,
               popularity: bool, threads: int, all_views: bool = False):
    """Takes the images, how they are cut, and the pairs; see `Batches`.

    With `all_views` the views are those of the spec, two of each image.
    """
    both = (crops.CROPS_AND_FLIPS,) * 2
    self._spec = spec if all_views else spec._replace(
        recipes=both, sampler='byol', jigsaw=None)
    self._all_views = all_views
    self._data, self._pairs, self._seed, self._threads = data, pairs, seed, threads
    self._batches = functools.partial(
        Batches, items=items, groups=groups, seed=seed, popularity=popularity)
    self.size = pairs.size

  def shared(self) -> dict[str, np.ndarray]:
    """Returns the arrays for every device: the images, if they live there."""
    shared = self._of_images(None, 1).shared()
    return {'images': shared['images']} if shared else {}

  def _of_images(self, rows: np.ndarray | None, batch_size: int) -> feed_lib.Feed:
    data = self._data._replace(labels=None)
    if rows is not None and isinstance(data, table.Encoded):
      data, rows = table.take(data, rows), None
    return feed_lib.make(data, self._spec.crop, seed=self._seed, rows=rows,
                         batch_size=batch_size, threads=self._threads)

  def batches(self, rows: np.ndarray, grid: np.ndarray, *, batch_size: int,
              start_step: int, num_steps: int, stop: threading.Event | None = None,
              ) -> Iterator[dict[str, Any]]:
    """Yields batches of the pairs `rows`, int [n], as `trainer.Feed`."""
    pairs = self._batches(self._pairs.take(rows), batch_size=batch_size)
    # the same order of as many entries puts both images of a pair at one place
    sides = [self._of_images(images, batch_size).batches(
        start_step, num_steps, grid, stop) for images in pairs.images]
    for step, anchor, positive in zip(
        range(start_step, start_step + num_steps), *sides):
      batch = pairs.of(step)
      # the device leads, so that each has its rows; columns are all of the batch
      yield {'anchor': anchor, 'positive': positive, 'weight': batch['weight'][grid],
             'masks': np.moveaxis(batch['masks'][:, grid], 0, 1),
             'log_frequency': np.moveaxis(batch['log_frequency'][:, grid], 0, 1)}

  def views(self, shared: dict[str, jax.Array], key: jax.Array, step: jax.Array,
            batch: dict[str, Any]) -> jax.Array:
    """Returns a device's views float32 [2 n, S, S, 3], the anchors first.

    With `all_views` [4 n, S, S, 3]: the first views of anchors and positives, then the
    second ones.
    """
    anchor, positive = (
        views_lib.make({**shared, 'key': key}, step, batch[side], self._spec).images
        for side in ('anchor', 'positive'))
    if self._all_views:
      return jnp.concatenate([anchor[0], positive[0], anchor[1], positive[1]])
    return jnp.concatenate([anchor[0], positive[1]])

  def targets(self, shared: dict[str, Any], batch: dict[str, Any]) -> Any:
    """Returns the arguments of `losses.pair_loss` beside the embeddings."""
    del shared
    return {name: batch[name] for name in ('weight', 'masks', 'log_frequency')}
