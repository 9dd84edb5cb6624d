"""Weighted k-nearest-neighbour classification (k-NN) of frozen features.

The protocol of Wu et al. (arXiv 1805.01978, section 3.4) and DINO: the k most
similar training images by cosine vote for their class with weight
exp(cosine / temperature). Exact search; nothing is learned.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from byol_jax.devices import hosts
from byol_jax.devices import mapped
from byol_jax.evaluation import checks
from byol_jax.evaluation.scores import Classifier
from byol_jax.methods.losses import l2_normalize

_TILE = 32_768  # training rows on the devices at a time
_QUERIES = 512  # test rows a device takes at a time; with a tile they bound the memory


class Voting(NamedTuple):
  """The rule of the vote.

  Attributes:
    k: how many neighbours vote; all, where there are fewer.
    temperature: T above 0 in the weight exp(cosine / T).
  """
  k: int
  temperature: float

  def votes(self, similarities: np.ndarray, labels: np.ndarray,
            num_classes: int) -> np.ndarray:
    """Computes the votes of each query's neighbours for their classes.

    Args:
      similarities: [M, k] cosines, descending.
      labels: int [M, k] of the neighbours, in [0, num_classes).
      num_classes: number of classes.

    Returns:
      float64 [M, num_classes]; the nearest one's weight is 1.
    """
    # relative to the nearest, so that no temperature overflows
    weights = np.exp((similarities - similarities[:, :1]).astype(np.float64)
                     / self.temperature)
    result = np.zeros((len(labels), num_classes))
    np.add.at(result, (np.arange(len(labels))[:, None], labels), weights)
    return result


def fit(train_features: np.ndarray, train_labels: np.ndarray, voting: Voting, *,
        num_classes: int) -> Classifier:
  """Makes the k-NN classifier, a weighted vote of the k nearest training images.

  Args:
    train_features: [N, D].
    train_labels: [N], in [0, num_classes).
    voting: the rule of the vote.
    num_classes: number of classes.

  Returns:
    The classifier, of features [M, D]; its protocol has the k that votes.

  Raises:
    UserError: features are not finite, or labels out of range.
  """
  train_features, train_labels = checks.check_labelled(
      train_features, train_labels, num_classes, 'training')
  num_train, size = train_features.shape
  k = min(voting.k, num_train)

  def scores(features: np.ndarray) -> np.ndarray:
    similarities, rows = nearest(train_features, features, k)
    return voting.votes(similarities, train_labels[rows], num_classes)

  return Classifier(scores, {}, {
      'method': 'weighted k-nearest neighbours, exact',
      'similarity': 'cosine',
      'weight': 'exp(cosine / temperature)',
      'k': k,
      'temperature': float(voting.temperature),
      'train_images': num_train,
      'feature_size': size,
      'num_classes': num_classes,
  })


def nearest(train: np.ndarray, queries: np.ndarray,
            k: int) -> tuple[np.ndarray, np.ndarray]:
  """Finds the k most similar training rows of each query, by cosine.

  The queries are spread over the devices of all processes, the training rows
  pass over them in tiles.

  Args:
    train: float32 [N, D].
    queries: float32 [M, D].
    k: at most N.

  Returns:
    Cosines float32 [M, k], descending, and rows int32 [M, k]; the same for any
    number of devices.
  """
  mine = hosts.my_part(queries, _QUERIES)
  tile = min(len(train), max(k, _TILE))
  search = mapped.map_batches(_search, _QUERIES)
  each = _QUERIES * jax.local_device_count()
  best = (np.full((len(mine), k), -np.inf, np.float32),
          np.zeros((len(mine), k), np.int32))
  for first in range(0, len(train), tile):
    rows = train[first:first + tile]
    padded = np.pad(rows, ((0, tile - len(rows)), (0, 0)))  # one compilation
    shared = mapped.replicate(
        (padded, np.int32(first), np.int32(len(rows))))
    for start in range(0, len(mine), each):
      part = slice(start, start + each)
      best[0][part], best[1][part] = search(
          shared, (mine[part], best[0][part], best[1][part]))
  return hosts.gather(best[0]), hosts.gather(best[1])


def _search(tile, batch):
  """Returns the best of the neighbours known so far and a tile of training rows."""
  rows, first, count = tile
  queries, best_similarities, best_rows = batch
  similarities = jnp.matmul(l2_normalize(queries), l2_normalize(rows).T,
                            precision=jax.lax.Precision.HIGHEST)
  similarities = jnp.where(jnp.arange(len(rows)) < count, similarities, -jnp.inf)
  k = best_rows.shape[1]
  similarities, columns = jax.lax.top_k(similarities, min(k, len(rows)))
  similarities = jnp.concatenate([best_similarities, similarities], axis=1)
  columns = jnp.concatenate([best_rows, columns + first], axis=1)
  similarities, chosen = jax.lax.top_k(similarities, k)
  return similarities, jnp.take_along_axis(columns, chosen, axis=1)
