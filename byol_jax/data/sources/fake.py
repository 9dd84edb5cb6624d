"""The source 'fake': random pixels and labels, for speed tests."""

from __future__ import annotations

import zlib

import numpy as np

from byol_jax.data.sources import table
from byol_jax.errors import UserError


def open_split(request: table.Request, split: str) -> table.Images:
  """Draws images [num_images, image_size, image_size, 3]; each split has its own."""
  num_images, side = request.num_images, request.image_size
  if num_images < 1 or side < 1:
    raise UserError(f'fake data needs at least one image and pixel, not {num_images} '
                    f'images of side {side}')
  rng = np.random.default_rng([request.seed, zlib.crc32(split.encode())])
  images = rng.integers(0, 256, (num_images, side, side, 3), np.uint8)
  labels = None
  if request.num_classes:
    labels = rng.integers(0, request.num_classes, num_images, np.int32)
  return table.Images(images, labels, None, f'fake {split}')
