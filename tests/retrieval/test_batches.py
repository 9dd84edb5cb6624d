"""Batches of pairs: images in their turn, popularity, and what the devices see."""

import io

import jax
import numpy as np
from PIL import Image
import pytest

from byol_jax.data import bad
from byol_jax.data.feed import order
from byol_jax.data.sources import table
from byol_jax.errors import UserError
from byol_jax.retrieval import batches
from byol_jax.retrieval import pairs as pairs_lib
from byol_jax.views import make as views_lib

RNG = np.random.default_rng(0)
ITEMS = batches.Items('abcde', [np.array(x) for x in ([0], [1, 2], [3], [4], [5, 6, 7])])
PAIRS = pairs_lib.Pairs(np.array([0, 1, 2, 4, 4, 1, 3]), np.array([1, 2, 3, 0, 1, 4, 4]),
                        np.arange(1.0, 8))
GROUPS = np.arange(5)
SPEC = views_lib.ViewSpec(image_size=6, area=(1.0, 1.0), aspect=(1.0, 1.0),
                          mean=(0.,) * 3, std=(1.,) * 3)


def make(**kwargs):
  return batches.Batches(PAIRS, ITEMS, GROUPS, **dict(
      batch_size=4, seed=5, popularity=True) | kwargs)


def test_an_item_shows_its_images_in_turn():
  assert ITEMS.rows(np.array([4, 1, 4, 4, 1, 4, 0, 1])).tolist() == [
      5, 1, 6, 7, 2, 5, 0, 1]
  images, items = ITEMS.owners
  assert images.tolist() == list(range(8)) and items.tolist() == [0, 1, 1, 2, 3, 4, 4, 4]


def test_a_batch_is_its_pairs():
  made = make()
  for step in (0, 1, 6):
    rows = order.rows(5, step, 4, 7)
    batch = made.of(step)
    np.testing.assert_array_equal(batch['images'], made.images[:, rows])
    np.testing.assert_array_equal(batch['weight'], PAIRS.weight[rows])
    known = batches.Known(PAIRS, GROUPS)
    np.testing.assert_array_equal(
        batch['masks'], known.masks(PAIRS.anchor[rows], PAIRS.positive[rows]))
    share = [[(side == item[row]).mean() for row in rows]
             for side, item in ((PAIRS.anchor, PAIRS.anchor),
                                (PAIRS.positive, PAIRS.positive))]
    np.testing.assert_allclose(np.exp(batch['log_frequency']), share, rtol=1e-6)
  assert not make(popularity=False).of(0)['log_frequency'].any()


def test_masks_are_what_is_no_negative():
  """Against the sentences of the docstring, pair by pair."""
  rng = np.random.default_rng(0)
  groups = np.array([0, 1, 2, 3, 4, 0, 5, 6, 7, 2])
  all_pairs = pairs_lib.Pairs(rng.integers(10, size=30), rng.integers(10, size=30), np.ones(30))
  known = {frozenset((groups[a], groups[p])) for a, p in zip(*all_pairs[:2])}
  anchor, positive = all_pairs.anchor[:12], all_pairs.positive[:12]
  masks = batches.Known(all_pairs, groups).masks(anchor, positive)
  a, p = groups[anchor], groups[positive]
  for i in range(12):
    for j in range(12):
      is_known = frozenset((a[i], p[j])) in known
      assert masks[0, i, j] == (i != j and (is_known or p[j] in (a[i], p[i])))
      is_known = frozenset((p[i], a[j])) in known
      assert masks[1, i, j] == (i != j and (is_known or a[j] in (a[i], p[i])))
  assert masks.any() and not masks.all()


def test_fewer_pairs_make_smaller_batches():
  assert [batches.batch_size(128, n) for n in (2, 3, 100, 128, 9999)] == [
      2, 2, 64, 128, 128]
  with pytest.raises(UserError, match='1 pair is left'):
    batches.batch_size(128, 1)


def _encoded(images):
  files = []
  for image in images:
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'PNG')
    files.append(file.getvalue())
  names = [f'{k}.png' for k in range(len(files))]
  return table.Encoded(files.__getitem__, len(files), None, names, None, 'x',
                       bad.BadImages(names, 'x', 0))


@pytest.mark.parametrize('kind', ['resident', 'streamed'])
@pytest.mark.parametrize('all_views', [False, True])
def test_the_devices_see_the_pairs(kind, all_views):
  """Images of one colour: each shows which it is, whatever the cut and the flip."""
  colours = RNG.integers(0, 256, (8, 1, 1, 3), np.uint8)
  images = np.broadcast_to(colours, (8, 9, 9, 3)).copy()
  data = (table.Images(images, np.zeros(8, np.int32), None, 'x')
          if kind == 'resident' else _encoded(images))
  feed = batches.Feed(
      data, SPEC._replace(recipes=(batches.crops.CROPS_AND_FLIPS,) * 2), PAIRS, ITEMS,
      GROUPS, seed=5, popularity=True, threads=1, all_views=all_views)
  assert feed.size == 7
  kept = np.array([6, 5, 3, 2, 1, 0])
  shared = feed.shared()
  assert set(shared) == ({'images'} if kind == 'resident' else set())
  grid = np.arange(4).reshape(2, 2)  # two devices
  alone = batches.Batches(PAIRS.take(kept), ITEMS, GROUPS, batch_size=4, seed=5,
                          popularity=True)
  fed = list(feed.batches(kept, grid, batch_size=4, start_step=2, num_steps=2))
  for step, batch in enumerate(fed, 2):
    whole = alone.of(step)
    for device in range(2):
      part = jax.tree.map(lambda x, d=device: x[d], batch)
      views = feed.views(shared, jax.random.PRNGKey(0), np.int32(step), part)
      shown = np.asarray(views).reshape(-1, 2, 6, 6, 3)  # [sides, n, S, S, 3]
      sides = (0, 1, 0, 1) if all_views else (0, 1)
      assert len(shown) == len(sides)
      for side, images_of_side in zip(sides, shown):
        expected = colours[whole['images'][side][grid[device]]] / 255
        np.testing.assert_allclose(images_of_side, np.broadcast_to(
            expected, images_of_side.shape), atol=0.01)
      targets = feed.targets(shared, part)
      np.testing.assert_array_equal(targets['weight'], whole['weight'][grid[device]])
      np.testing.assert_array_equal(targets['masks'], whole['masks'][:, grid[device]])
      np.testing.assert_array_equal(targets['log_frequency'],
                                    whole['log_frequency'][:, grid[device]])
