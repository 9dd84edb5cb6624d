"""Data sets on the device: which ones live there, and the indices that travel."""

import io

import numpy as np
from PIL import Image
import pytest

from byol_jax.data import bad as bad_lib
from byol_jax.data.feed import resident
from byol_jax.data.sources import table
from byol_jax.errors import UserError

_MIB = 1 << 20


def _images(count=10, side=4, labels=True):
  pixels = np.arange(count, dtype=np.uint8)[:, None, None, None]
  return table.Images(np.broadcast_to(pixels, (count, side, side, 3)),
                      np.arange(count, dtype=np.int32) % 3 if labels else None,
                      None, 'shades')


def _encoded(sizes):
  """PNGs of these sides, each of one shade."""
  def read(index):
    file = io.BytesIO()
    Image.new('RGB', (sizes[index],) * 2, (index,) * 3).save(file, 'PNG')
    return file.getvalue()
  names = [f'{k}.png' for k in range(len(sizes))]
  return table.Encoded(read, len(sizes), np.arange(len(sizes), dtype=np.int32), names,
                       None, 'pictures', bad_lib.BadImages(names, 'pictures'))


# ------------------------------------------------------------------- what lives there
@pytest.mark.parametrize('mode', ['yes', 'auto'])
def test_images_in_memory_stay_what_they_are(mode):
  data = _images()
  assert resident.make_resident(data, mode, 10 * 4 * 4 * 3, 4) is data
  with pytest.raises(UserError, match='shades takes 0 MiB: .*resident_limit_mib'):
    resident.make_resident(data, mode, 10 * 4 * 4 * 3 - 1, 4)


def test_images_in_memory_cannot_be_streamed():
  with pytest.raises(UserError, match="resident is 'no', but shades is in memory"):
    resident.make_resident(_images(), 'no', _MIB, 4)


@pytest.mark.parametrize('mode, sizes, image_size, limit, lives_there', [
    ('auto', [8] * 6, 4, 6 * 8 * 8 * 3, True),
    ('auto', [8] * 6, 4, 6 * 8 * 8 * 3 - 1, False),  # a byte too many
    ('auto', [9] * 6, 4, _MIB, False),  # more than twice the views: cropped on the host
    ('yes', [9] * 6, 4, _MIB, True),
    ('auto', [8] * 5 + [7], 4, _MIB, False),  # not of one size
    ('no', [8] * 6, 4, _MIB, False)])
def test_which_encoded_images_live_there(mode, sizes, image_size, limit, lives_there):
  data = _encoded(sizes)
  made = resident.make_resident(data, mode, limit, image_size)
  if lives_there:
    assert made.images.shape == (6, sizes[0], sizes[0], 3)
    assert (made.images == np.arange(6)[:, None, None, None]).all()
    np.testing.assert_array_equal(made.labels, data.labels)
  else:
    assert made is data


@pytest.mark.parametrize('sizes, limit', [([8] * 5 + [7], _MIB), ([8] * 6, 100)])
def test_what_cannot_live_there_is_not_made_to(sizes, limit):
  with pytest.raises(UserError, match="resident is 'yes', but .* pictures differ"):
    resident.make_resident(_encoded(sizes), 'yes', limit, 4)


# ------------------------------------------------------------------------ what travels
def _rows(feed, start, steps, grid):
  return [batch['rows'] for batch in feed.batches(start, steps, grid)]


def test_every_image_once_an_epoch_wherever_a_session_starts():
  feed = resident.Resident(_images(10), seed=3, batch_size=4)
  whole = np.arange(4, dtype=np.int32)
  shown = np.concatenate(_rows(feed, 0, 10, whole))  # four epochs of ten
  for epoch in shown.reshape(4, 10):
    assert sorted(epoch) == list(range(10))
  assert len({tuple(epoch) for epoch in shown.reshape(4, 10)}) == 4
  np.testing.assert_array_equal(np.concatenate(_rows(feed, 7, 3, whole)), shown[28:])
  other = resident.Resident(_images(10), seed=4, batch_size=4)
  assert np.concatenate(_rows(other, 0, 10, whole)).tolist() != shown.tolist()


def test_a_host_gets_its_examples_in_the_layout_of_its_devices():
  feed = resident.Resident(_images(10), seed=3, batch_size=8)
  whole, = feed.batches(5, 1, np.arange(8, dtype=np.int32))
  grid = np.array([[[6, 1]], [[0, 7]]], np.int32)
  mine, = feed.batches(5, 1, grid)
  assert mine['rows'].dtype == np.int32 and mine['rows'].shape == (2, 1, 2)
  np.testing.assert_array_equal(mine['rows'], whole['rows'][grid])
  np.testing.assert_array_equal(mine['examples'], grid)


def test_some_of_the_images():
  some = np.array([9, 2, 5])
  feed = resident.Resident(_images(10), seed=0, batch_size=6, rows=some)
  rows, = _rows(feed, 0, 1, np.arange(6, dtype=np.int32))  # two epochs of three
  assert sorted(rows[:3]) == sorted(rows[3:]) == [2, 5, 9]


def test_all_images_are_on_the_devices_whichever_are_fed():
  data = _images(10)
  shared = resident.Resident(data, 0, 2, rows=np.array([1])).shared()
  assert shared['images'] is data.images and shared['labels'] is data.labels
  assert set(resident.Resident(_images(labels=False), 0, 2).shared()) == {'images'}
