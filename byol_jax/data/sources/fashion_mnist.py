"""The source 'fashion_mnist': Fashion-MNIST, or another relative of MNIST, as IDX."""

from __future__ import annotations

import numpy as np

from byol_jax.data.sources import idx
from byol_jax.data.sources import table
from byol_jax.errors import UserError

DEBIAN = '/usr/share/datasets/fashion-mnist'  # the folder of Debian's package
CLASSES = ('T-shirt/top', 'Trouser', 'Pullover', 'Dress', 'Coat', 'Sandal', 'Shirt',
           'Sneaker', 'Bag', 'Ankle boot')


def open_split(request: table.Request, split: str) -> table.Images:
  """Reads images [60000 or 10000, 28, 28, 1] with their ten class names.

  Args:
    request: `path` is the folder with {train,t10k}-{images-idx3,labels-idx1}-ubyte,
      each with or without .gz; None for Debian's.
    split: 'train' or 'test'.
  """
  path = request.path or DEBIAN
  table.check_train_or_test(split, 'fashion_mnist')
  prefix = {'train': 'train', 'test': 't10k'}[split]
  images = idx.read_idx(idx.find_idx(path, f'{prefix}-images-idx3-ubyte'), 3)
  labels_path = idx.find_idx(path, f'{prefix}-labels-idx1-ubyte')
  labels = idx.read_idx(labels_path, 1)
  if len(images) != len(labels):
    raise UserError(
        f'{path} has {len(images)} {prefix} images and {len(labels)} labels: '
        'the files do not belong together')
  if labels.max() >= len(CLASSES):
    raise UserError(
        f'{labels_path} has a label {labels.max()}, Fashion-MNIST has 0 to 9')
  return table.Images(images[..., None], labels.astype(np.int32), CLASSES,
                      f'fashion_mnist in {path}')
