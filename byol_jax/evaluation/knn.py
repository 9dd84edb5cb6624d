"""Weighted k-nearest-neighbour classification of frozen features.

The protocol of Wu et al. (arXiv 1805.01978, section 3.4) and DINO: the k most
similar training images by cosine vote for their class with weight
exp(cosine / temperature). Exact search; nothing is learned.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from byol_jax.errors import UserError
from byol_jax.evaluation import checks
from byol_jax.losses import l2_normalize

_TILE = 32_768  # training rows that one block of similarities covers


@functools.partial(jax.jit, static_argnames=('k', 'num_classes'))
def _votes(queries, tiles, labels, temperature, *, k: int, num_classes: int):
  """Votes [M, num_classes] of the k nearest training rows for each query.

  Args:
    queries: [M, D], normalised.
    tiles: [T, n, D], normalised training features, cut into tiles to bound the
      memory of the similarities; k <= n.
    labels: [T, n]; -1 marks padding.
    temperature: scalar.
    k: neighbours.
    num_classes: C.
  """
  def nearest_so_far(best, tile):
    best_similarities, best_labels = best
    features, labels = tile
    similarities = jnp.matmul(queries, features.T,
                              precision=jax.lax.Precision.HIGHEST)
    similarities = jnp.where(labels >= 0, similarities, -jnp.inf)
    similarities, rows = jax.lax.top_k(similarities, k)
    similarities = jnp.concatenate([best_similarities, similarities], axis=1)
    labels = jnp.concatenate([best_labels, labels[rows]], axis=1)
    similarities, columns = jax.lax.top_k(similarities, k)
    return (similarities, jnp.take_along_axis(labels, columns, axis=1)), None

  m = queries.shape[0]
  none_yet = (jnp.full((m, k), -jnp.inf), jnp.full((m, k), -1, jnp.int32))
  (similarities, voted), _ = jax.lax.scan(
      nearest_so_far, none_yet, (tiles, labels))
  # relative to the nearest, so that no temperature overflows
  weights = jnp.exp((similarities - similarities[:, :1]) / temperature)
  return jnp.zeros((m, num_classes)).at[
      jnp.arange(m)[:, None], voted].add(weights)


def knn_accuracy(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    *,
    k: int,
    temperature: float,
    num_classes: int,
    chunk: int = 1024,
) -> dict[str, Any]:
  """Accuracy of the weighted vote of the k nearest training images.

  Args:
    train_features: [N, D].
    train_labels: [N], in [0, num_classes).
    test_features: [M, D].
    test_labels: [M].
    k: neighbours.
    temperature: T in the weight exp(cosine / T).
    num_classes: number of classes.
    chunk: test images per block; bounds memory, does not change the result.

  Returns:
    `top1` and, with more than 5 classes, `top5`, in percent, and `protocol`,
    how they were measured.

  Raises:
    UserError: k > N or other impossible values, non-finite features.
  """
  train_features, train_labels = checks.check_labelled(
      train_features, train_labels, num_classes, 'training')
  test_features, test_labels = checks.check_labelled(
      test_features, test_labels, num_classes, 'test')
  num_train, size = train_features.shape
  if not 1 <= k <= num_train:
    raise UserError(f'evaluation.knn_k is {k}, but there are {num_train} '
                    f'training images: choose 1 to {num_train}')
  if not temperature > 0:
    raise UserError(f'evaluation.knn_temperature is {temperature}: it must be '
                    'positive')

  tile = min(num_train, max(k, _TILE))
  padding = -num_train % tile
  tiles = l2_normalize(jnp.asarray(
      np.pad(train_features, ((0, padding), (0, 0))).reshape(-1, tile, size)))
  labels = jnp.asarray(np.pad(train_labels, (0, padding),
                              constant_values=-1).reshape(-1, tile))
  chunk = min(chunk, len(test_features))
  votes = []
  for start in range(0, len(test_features), chunk):
    queries = test_features[start:start + chunk]
    rows = len(queries)
    queries = np.pad(queries, ((0, chunk - rows), (0, 0)))  # one compilation
    votes.append(np.asarray(_votes(
        l2_normalize(jnp.asarray(queries)), tiles, labels, temperature, k=k,
        num_classes=num_classes))[:rows])
  votes = np.concatenate(votes)

  results = {'top1': checks.top_k_accuracy(votes, test_labels, 1)}
  if num_classes > 5:
    results['top5'] = checks.top_k_accuracy(votes, test_labels, 5)
  results['protocol'] = {
      'method': 'weighted k-nearest neighbours, exact',
      'similarity': 'cosine',
      'weight': 'exp(cosine / temperature)',
      'k': k,
      'temperature': float(temperature),
      'train_images': num_train,
      'test_images': len(test_labels),
      'feature_size': size,
      'num_classes': num_classes,
  }
  return results
