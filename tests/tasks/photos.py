"""Photos to be prepared, and the config that prepares them."""

import numpy as np
from PIL import Image

from byol_jax.config import keys as keys_lib
from byol_jax.data.sources import open as open_lib


def photos_in(folder, count=23, size=(30, 40)):
  """Writes noise into train/ and test/ (5 photos), classes a and b by turns."""
  rng = np.random.default_rng(0)
  for k in range(count):
    path = folder / ('train' if k < count - 5 else 'test') / 'ab'[k % 2]
    path.mkdir(parents=True, exist_ok=True)
    pixels = rng.integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path / f'{k:03d}.jpg')
  return str(folder)


def make_config(photos, output, **options):
  """Returns a config that makes shards of four images."""
  c = keys_lib.base().unlock()
  c.task, c.data.source, c.data.path = 'prepare', 'folder', photos
  c.prepare.update(output=str(output), images_per_shard=4, **options)
  return c


def open_part(path, split='train'):
  """Opens a part of what was prepared."""
  return open_lib.open_part('prepared', path=str(path), split=split)
