"""The source 'inshop': DeepFashion's In-shop Clothes Retrieval (Liu et al. 2016).

Parts: train, query and gallery; the products of the last two are not those of train.
"""

from __future__ import annotations

import os

import numpy as np

from byol_jax.data.sources import folder
from byol_jax.data.sources import table
from byol_jax.data.sources import words
from byol_jax.errors import UserError

_PARTS = ('train', 'query', 'gallery')


def open_split(request: table.Request, split: str) -> table.Encoded | None:
  """Opens one part of list_eval_partition.txt; classes are products."""
  if split == 'test':
    return None
  if split not in _PARTS:
    raise UserError(f'inshop has the parts {", ".join(_PARTS)}, not {split!r}')
  below = [os.path.join(request.path, part) for part in ('Eval', 'Anno', '')]
  path = next((found for folder in below if os.path.isfile(
      found := os.path.join(folder, 'list_eval_partition.txt'))),
      os.path.join(below[0], 'list_eval_partition.txt'))
  rows = words.read(path, 3, skip=2)
  # one number for a product in all parts
  products = np.unique([row[1] for row in rows], return_inverse=True)[1]
  chosen = [i for i, row in enumerate(rows) if row[2] == split]
  if not chosen:
    raise UserError(f'{path!r} lists no image of the part {split!r}')
  images = os.path.join(request.path, 'Img')
  root = images if os.path.isdir(images) else request.path
  return folder.encoded(
      folder.Listing(root, [rows[i][0] for i in chosen],
                     products[chosen].astype(np.int32), None),
      f'In-shop, {split}', request.max_bad)
