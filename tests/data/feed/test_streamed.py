"""Streamed batches: the views of each example, in the layout of the devices."""

import io
import threading

import numpy as np
from PIL import Image
import pytest

from byol_jax.data import bad as bad_lib
from byol_jax.data.feed import streamed
from byol_jax.data.images.crops import CropSpec
from byol_jax.data.sources import table
from byol_jax.errors import UserError


def _data(count=10, labels=True, damaged=(), max_bad=None):
  """PNGs of 8 x 8, each of one shade: any crop of it has that shade."""
  def read(index):
    if index in damaged:
      return b'no picture'
    file = io.BytesIO()
    Image.new('RGB', (8, 8), (20 * index,) * 3).save(file, 'PNG')
    return file.getvalue()
  names = [f'{k}.png' for k in range(count)]
  return table.Encoded(
      read, count, np.arange(count, dtype=np.int32) + 50 if labels else None, names,
      None, 'shades', bad_lib.BadImages(names, 'shades', max_bad))


def _feed(data, **more):
  return streamed.Streamed(data, CropSpec(4, num_views=2), seed=3, batch_size=4, **more)


_WHOLE = np.arange(4, dtype=np.int32)


def test_every_image_once_an_epoch_with_its_label():
  data = _data()
  batches = list(_feed(data).batches(0, 5, _WHOLE))  # two epochs of ten
  views = np.concatenate([batch['views'] for batch in batches])
  assert views.shape == (20, 2, 4, 4, 3) and views.dtype == np.uint8
  shown = views[:, 0, 0, 0, 0] // 20
  assert (views == 20 * shown[:, None, None, None, None]).all()
  assert sorted(shown[:10]) == sorted(shown[10:]) == list(range(10))
  labels = np.concatenate([batch['labels'] for batch in batches])
  np.testing.assert_array_equal(labels, shown + 50)


@pytest.mark.parametrize('more', [dict(threads=1), dict(threads=3, prefetch=4)])
def test_a_part_of_a_later_batch_is_what_the_whole_run_shows(more):
  """Nothing depends on history, the host's share, or the threads."""
  *_, whole = _feed(_data()).batches(0, 4, _WHOLE)
  grid = np.array([[[3, 1]]], np.int32)
  part, = _feed(_data(), **more).batches(3, 1, grid)
  for name in ('views', 'labels'):
    assert part[name].shape[:3] == (1, 1, 2)
    np.testing.assert_array_equal(part[name], whole[name][grid])
  np.testing.assert_array_equal(part['examples'], grid)


def test_without_labels_none_travel_and_nothing_lives_on_the_devices():
  feed = _feed(_data(labels=False))
  batch, = feed.batches(0, 1, _WHOLE)
  assert set(batch) == {'views', 'examples'} and feed.shared() == {}


def test_bad_images_are_replaced_and_counted():
  feed = _feed(_data(damaged=(2, 7), max_bad=2))
  batches = list(feed.batches(0, 5, _WHOLE))
  shown = np.concatenate([batch['views'][:, 0, 0, 0, 0] for batch in batches]) // 20
  assert len(shown) == 20 and not {2, 7} & set(shown.tolist())
  labels = np.concatenate([batch['labels'] for batch in batches])
  np.testing.assert_array_equal(labels, shown + 50)  # of those in their place
  assert set(feed.bad().reasons()) == {2, 7}
  with pytest.raises(UserError, match='2 of 10 images .*max_bad_images allows 1'):
    list(_feed(_data(damaged=(2, 7), max_bad=1)).batches(0, 5, _WHOLE))


def test_a_stop_ends_the_batches():
  stop = threading.Event()
  batches = _feed(_data()).batches(0, 10**6, _WHOLE, stop)
  next(batches)
  stop.set()
  assert sum(1 for _ in batches) < 10
