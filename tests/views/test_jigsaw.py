"""The jigsaw's tiles: where they lie, in which order, and the same on both feeds."""

import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.data.images import crops
from byol_jax.views import draws as draws_lib
from byol_jax.views import jigsaw
from byol_jax.views import make as views_lib
from byol_jax.views import planes as planes_lib
from byol_jax.views import recipes

_FILE = pathlib.Path(__file__).parents[1] / 'fixtures' / 'torch_ops.npz'
KEY = jax.random.PRNGKey(0)
SMALL = crops.Jigsaw(size=30, tile=7)
NEUTRAL = recipes.AUGMENTATIONS['table17/crop_only'].view1


def _u(n, *, flip=0.9, rows=0.0, columns=0.0, order=None):
  """Draws of n images, without a flip and in order where nothing is given."""
  order = np.arange(9) / 9 if order is None else order
  parts = [np.broadcast_to(np.asarray(x, float), (n, width)) for x, width in (
      (flip, 1), (rows, 9), (columns, 9), (order, 9))]
  return jnp.asarray(np.concatenate(parts, 1), jnp.float32)


def _coordinates(n, size):
  """Planes whose pixels say their row, their column and 0."""
  rows, columns = np.mgrid[:size, :size].astype(np.float32)
  return tuple(jnp.broadcast_to(x, (n, size, size)) for x in (rows, columns, 0 * rows))


def test_tiles_lie_where_pycontrast_cuts_them():
  with np.load(_FILE) as recorded:
    offsets = [recorded[f'jigsaw/offset_{x}'] for x in ('rows', 'columns')]
    corners = [recorded[f'jigsaw/corner_{x}'] for x in ('rows', 'columns')]
  u = _u(1, rows=(offsets[0] + 0.5) / 22, columns=(offsets[1] + 0.5) / 22)
  rows, columns, _ = jigsaw.cut(_coordinates(1, 255), u, crops.Jigsaw())
  assert rows.shape == (1, 9, 64, 64)
  np.testing.assert_array_equal(rows[0, :, 0, 0], corners[0])
  np.testing.assert_array_equal(columns[0, :, 0, 0], corners[1])
  np.testing.assert_array_equal(rows[0, :, :, 5] - rows[0, :, :1, 5],
                                np.tile(np.arange(64), (9, 1)))
  np.testing.assert_array_equal(columns[0, :, 5] - columns[0, :, 5, :1],
                                np.tile(np.arange(64), (9, 1)))


@pytest.mark.parametrize('size, tile', [(255, 64), (30, 7), (31, 10), (32, 1), (9, 3)])
def test_all_offsets_are_equally_likely(size, tile):
  n, spec = 600, crops.Jigsaw(size=size, tile=tile)
  u = np.random.default_rng(0).random((n, jigsaw.DRAWS))
  u[:, 0], u[:, 19:] = 0.9, np.arange(9) / 9
  rows, columns, _ = (np.asarray(x) for x in jigsaw.cut(
      _coordinates(n, size), jnp.asarray(u, jnp.float32), spec))
  for first, cell in ((rows[:, :, 0, 0], np.arange(9) // 3),
                      (columns[:, :, 0, 0], np.arange(9) % 3)):
    counts = np.bincount((first - cell * (size // 3)).astype(int).reshape(-1))
    assert len(counts) == size // 3 - tile + 1  # the last offset, too
    expected = 9 * n / len(counts)
    assert np.abs(counts - expected).max() <= 5 * math.sqrt(expected)


def test_flip_and_order():
  n = 3
  order = np.array([np.arange(9), np.arange(9)[::-1], [4, 0, 1, 2, 3, 5, 6, 7, 8]])
  u = _u(n, flip=[[0.9], [0.9], [0.1]], order=np.argsort(order, 1) / 9)
  rows, columns, _ = jigsaw.cut(_coordinates(n, 30), u, SMALL)
  for i in range(n):
    np.testing.assert_array_equal(rows[i, :, 0, 0], 10 * (order[i] // 3))
    expected = 10 * (order[i] % 3)
    np.testing.assert_array_equal(columns[i, :, 0, 0],
                                  29 - expected if i == 2 else expected)


def _spec(**options):
  return views_lib.ViewSpec(image_size=12, recipes=(NEUTRAL, NEUTRAL), mean=(0,) * 3,
                            std=(1,) * 3, jigsaw=SMALL, **options)


@pytest.mark.parametrize('sampler', crops.SAMPLERS)
def test_tiles_of_resident_images(sampler):
  """Tiles of one more crop, functions of seed, step and example only."""
  images = jnp.asarray(np.random.default_rng(0).integers(
      0, 256, (6, 40, 50, 3)), jnp.uint8)
  spec = _spec(sampler=sampler)
  make = jax.jit(lambda key, step, batch: views_lib.make(
      {'key': key, 'images': images}, step, batch, spec))
  batch = {name: jnp.arange(6) for name in ('rows', 'examples')}
  views = make(KEY, 3, batch)
  assert views.tiles.shape == (6, 9, 7, 7, 3) and views.tiles.dtype == jnp.float32
  some = {name: jnp.array([4, 1]) for name in ('rows', 'examples')}
  np.testing.assert_allclose(make(KEY, 3, some).tiles, views.tiles[jnp.array([4, 1])],
                             atol=1e-6)
  for other in (make(KEY, 4, batch), make(jax.random.PRNGKey(1), 3, batch)):
    assert np.abs(other.tiles - views.tiles).max((1, 2, 3, 4)).min() > 0.05
  plain = views_lib.make({'key': KEY, 'images': images}, jnp.int32(3), batch,
                         spec._replace(jigsaw=None))
  assert plain.tiles is None
  np.testing.assert_allclose(plain.images, views.images, atol=1e-6)  # as without


def test_tiles_of_streamed_images():
  """The host's crop, and the device's flip, places and order."""
  crop = np.random.default_rng(0).integers(0, 256, (4, 30, 30, 3)).astype(np.uint8)
  batch = {'views': np.zeros((4, 2, 12, 12, 3), np.uint8), 'jigsaw': crop,
           'examples': jnp.arange(4)}
  tiles = views_lib.make({'key': KEY}, jnp.int32(3), batch, _spec()).tiles
  u = draws_lib.further(KEY, jnp.int32(3), jnp.arange(4), draws_lib.NO_VIEW,
                        draws_lib.TILES, jigsaw.DRAWS)
  expected = jigsaw.cut(planes_lib.to_planes(crop), u, SMALL)
  np.testing.assert_allclose(tiles, np.stack(expected, -1), atol=1e-6)
