"""The source 'fashion_sample': 10,000 + 2,000 images of Fashion-MNIST, 28 x 28."""

from __future__ import annotations

import os

from byol_jax.data.sources import fashion_mnist
from byol_jax.data.sources import npz
from byol_jax.data.sources import table

_FILE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                     'samples', 'fashion_sample.npz')


def open_split(request: table.Request, split: str) -> table.Images:
  """Reads the file that comes with the package."""
  del request
  table.check_train_or_test(split, 'fashion_sample')
  return npz.open_split(table.Request(_FILE), split)._replace(
      class_names=fashion_mnist.CLASSES, name='fashion_sample')
