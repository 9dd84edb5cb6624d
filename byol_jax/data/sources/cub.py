"""The source 'cub': CUB-200-2011 (Wah et al. 2011) as metric learning splits it.

Parts: train, the first 100 classes, and test, the other 100.
"""

from __future__ import annotations

import os

import numpy as np

from byol_jax.data.sources import folder
from byol_jax.data.sources import table
from byol_jax.data.sources import words
from byol_jax.errors import UserError

_OF_TRAIN = 100


def open_split(request: table.Request, split: str) -> table.Encoded | None:
  """Opens the images of one half of the classes, which count from 0."""
  table.check_train_or_test(split, 'cub')
  files = dict(words.read(os.path.join(request.path, 'images.txt'), 2))
  labelled = os.path.join(request.path, 'image_class_labels.txt')
  classes = {image: words.number(labelled, label) - 1
             for image, label in words.read(labelled, 2)}
  without = next((image for image in files if image not in classes), None)
  if without is not None:
    raise UserError(f'{request.path}: image {without} of images.txt has no line in '
                    'image_class_labels.txt: take both as the data set comes')
  chosen = [image for image in files
            if (classes[image] < _OF_TRAIN) == (split == 'train')]
  if not chosen and split == 'test':
    return None
  labels = np.array([classes[image] for image in chosen], np.int32)
  return folder.encoded(
      folder.Listing(os.path.join(request.path, 'images'),
                     [files[image] for image in chosen],
                     labels - (0 if split == 'train' else _OF_TRAIN), None),
      f'CUB-200-2011, {split}', request.max_bad)
