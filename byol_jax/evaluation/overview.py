"""Computes what people look at of features: nearest images, a map of two axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.linalg

_AT_A_TIME = 1024  # queries; bounds the memory


class Plane(NamedTuple):
  """Features on the two axes along which they vary most.

  Attributes:
    points: float64 [n, 2].
    shares: the shares of the variance that the axes hold.
  """
  points: np.ndarray
  shares: tuple[float, float]


def unit(x: np.ndarray) -> np.ndarray:
  """Returns features [n, D] with length 1 as float32; what is all zero stays."""
  x = np.asarray(x, np.float32)
  length = np.linalg.norm(x, axis=1, keepdims=True)
  return x / np.where(length > 0, length, 1)


def plane(x: np.ndarray) -> Plane | None:
  """Computes the first two principal components of features of length 1.

  The smaller of the two matrices of products is taken; docs/report.md has time and
  memory.

  Args:
    x: float [n, D].

  Returns:
    None where there is nothing to see: fewer than 3 images, features that are not
    finite, or all the same.
  """
  if len(x) < 3 or x.shape[1] < 2 or not np.isfinite(x).all():
    return None
  x = unit(x)
  x -= x.mean(axis=0)
  by_image = len(x) <= x.shape[1]
  products = (x @ x.T if by_image else x.T @ x).astype(np.float64)
  total = float(np.trace(products))
  if total < 1e-10 * len(x):  # no more than rounding
    return None
  last = len(products) - 1
  values, vectors = scipy.linalg.eigh(products, subset_by_index=[last - 1, last],
                                      overwrite_a=True, check_finite=False)
  values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
  points = vectors * np.sqrt(values) if by_image else np.concatenate([
      x[i:i + _AT_A_TIME].astype(np.float64) @ vectors
      for i in range(0, len(x), _AT_A_TIME)])
  # an axis has no direction of its own: the farthest point gets the positive side
  farthest = points[np.abs(points).argmax(axis=0), np.arange(2)]
  points = points * np.where(farthest < 0, -1, 1)
  return Plane(points, (float(values[0]) / total, float(values[1]) / total))


def nearest(x: np.ndarray, queries: Sequence[int],
            k: int) -> tuple[np.ndarray, np.ndarray]:
  """Finds the images nearest to some of them, by cosine, without the image itself.

  Args:
    x: float [n, D], n > 1.
    queries: which of the rows are asked for.
    k: how many; at most n - 1.

  Returns:
    Rows int [len(queries), k] and their cosines, descending; of equal ones the first.
  """
  x, k = unit(x), min(k, len(x) - 1)
  rows, cosines = [], []
  for start in range(0, len(queries), _AT_A_TIME):
    part = np.asarray(queries[start:start + _AT_A_TIME])
    found = x[part] @ x.T
    found[np.arange(len(part)), part] = -np.inf
    order = np.argsort(-found, axis=1, kind='stable')[:, :k]
    rows.append(order)
    cosines.append(np.take_along_axis(found, order, axis=1))
  return np.concatenate(rows), np.concatenate(cosines)


def queries(labels: np.ndarray | None, size: int, most: int) -> list[int]:
  """Chooses images to ask with: of as many classes as possible, then in order.

  Args:
    labels: int [size], or None.
    size: how many images there are.
    most: how many to choose.
  """
  if labels is None:
    return list(range(min(size, most)))
  _, first = np.unique(labels, return_index=True)
  chosen = sorted(first.tolist())[:most]
  rest = [row for row in range(min(size, 2 * most)) if row not in set(chosen)]
  return sorted(chosen + rest[:most - len(chosen)])
