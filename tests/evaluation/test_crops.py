"""Random crops of training images: a pure function of (seed, step)."""

import io

import jax
import numpy as np
from PIL import Image
import pytest

from byol_jax.data import bad
from byol_jax.data.sources import table
from byol_jax.evaluation import crops
from byol_jax.views import make as views_lib

SPEC = views_lib.ViewSpec(image_size=4, mean=(0.,) * 3, std=(1.,) * 3)
ROWS = np.array([1, 3, 5, 7, 8, 10])


def images(num=12):
  """Image i is of one grey, 10 i, and has label i: no crop changes that."""
  pixels = np.arange(num, dtype=np.uint8).repeat(8 * 8 * 3).reshape(num, 8, 8, 3) * 10
  return table.Images(pixels, np.arange(num, dtype=np.int32), None, 'greys')


def encoded():
  whole = images()
  def read(row):
    file = io.BytesIO()
    Image.fromarray(whole.images[row]).save(file, 'PNG')
    return file.getvalue()
  names = [str(row) for row in range(12)]
  return table.Encoded(read, 12, whole.labels, names, None, 'greys',
                       bad.BadImages(names, 'greys', 100))


def steps(data, start, num, seed=0):
  """Greys, and labels, of the batches of some steps."""
  feed = crops.Feed(data, SPEC, seed=seed, threads=2)
  shared, key = feed.shared(), jax.random.PRNGKey(seed)
  found = []
  for step, batch in enumerate(feed.batches(
      ROWS, np.arange(4, dtype=np.int32), batch_size=4, start_step=start,
      num_steps=num), start):
    views = feed.views(shared, key, step, batch)
    assert views.shape == (4, 4, 4, 3)
    found.append((np.rint(255 * np.asarray(views).mean((1, 2, 3))).tolist(),
                  np.asarray(feed.labels_of(feed.labels, batch)).tolist()))
  return found


@pytest.mark.parametrize('data', [images(), encoded()], ids=['in memory', 'encoded'])
def test_labels_are_those_of_the_crops(data):
  whole = steps(data, 0, 6)
  for greys, labels in whole:
    assert greys == [10 * label for label in labels]
    assert set(labels) <= set(ROWS.tolist())
  assert steps(data, 4, 2) == whole[4:]
  assert steps(data, 0, 6, seed=1) != whole


def test_images_in_memory_and_encoded_come_in_the_same_order():
  assert steps(images(), 0, 6) == steps(encoded(), 0, 6)
