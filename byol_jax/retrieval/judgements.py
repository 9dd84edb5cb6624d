"""Reads files that say which images of a gallery are relevant to which query."""

from __future__ import annotations

from collections.abc import Sequence
import logging
from typing import NamedTuple

import numpy as np

from byol_jax.errors import UserError
from byol_jax.retrieval import tables

_console = logging.getLogger('byol_jax')

# titles of the columns: the first that is there counts
_QUERY = ('query', 'query_id', 'anchor')
_ITEM = ('item', 'gallery', 'item_id', 'doc_id', 'positive')
_WEIGHT = ('weight', 'relevance', 'grade')


class Judged(NamedTuple):
  """Pairs of a query and a relevant image.

  Attributes:
    queries: int64 [P], rows of the queries.
    items: int64 [P], rows of the gallery.
    weights: float64 [P], at least 0.
    unknown: the number of pairs left out, since they name no image of these.
  """
  queries: np.ndarray
  items: np.ndarray
  weights: np.ndarray
  unknown: int


def read(path: str, queries: Sequence[str], gallery: Sequence[str]) -> Judged:
  """Reads a CSV or Parquet file of query,item[,weight], with these titles.

  Args:
    path: the file.
    queries: names of the queries.
    gallery: names of the images in the gallery.

  Raises:
    UserError: the file cannot be read, lacks a column, has a weight that is no number
      from 0, or names none of these images.
  """
  table = tables.read(path, 'retrieve.pairs')
  asked, relevant = table.need(_QUERY, 'the query'), table.need(_ITEM, 'the item')
  weights = table.numbers(_WEIGHT, 'weight')
  if weights is None:
    weights = np.ones(table.size)
  row_of = [{name: row for row, name in enumerate(names)}
            for names in (queries, gallery)]
  found, unknown, first = [], 0, ''
  for query, item, weight in zip(asked, relevant, weights):
    rows = row_of[0].get(query), row_of[1].get(item)
    if None not in rows:
      found.append((*rows, weight))
      continue
    unknown += 1
    first = first or (query if rows[0] is None else item)
  if not found:
    raise UserError(f'no pair of {path!r} names a query and an image of the gallery'
                    f' (the first unknown name: {first!r}; a name here: '
                    f'{gallery[0]!r})')
  if unknown:
    _console.warning(
        'left out %d of %d pairs of %s, which name images that are not here; the first '
        'is %r', unknown, unknown + len(found), path, first)
  of_query, of_item, weight = zip(*found)
  return Judged(np.array(of_query), np.array(of_item), np.array(weight, float), unknown)
