"""The source 'sop': Stanford Online Products (Song et al. 2016), from its folder.

Parts: train, 11,318 products, and test, 11,316 others.
"""

from __future__ import annotations

import os

import numpy as np

from byol_jax.data.sources import folder
from byol_jax.data.sources import table
from byol_jax.data.sources import words


def open_split(request: table.Request, split: str) -> table.Encoded | None:
  """Opens what Ebay_train.txt or Ebay_test.txt lists; classes are products."""
  table.check_train_or_test(split, 'sop')
  path = os.path.join(request.path, f'Ebay_{split}.txt')
  rows = words.read(path, 4, skip=1)
  products = np.unique([words.number(path, row[1]) for row in rows],
                       return_inverse=True)[1]
  return folder.encoded(
      folder.Listing(request.path, [row[3] for row in rows],
                     products.astype(np.int32), None),
      f'Stanford Online Products, {split}', request.max_bad)
