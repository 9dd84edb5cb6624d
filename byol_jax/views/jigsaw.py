"""The jigsaw of InfoMin: one more crop of an image, cut into 3 x 3 tiles.

Source: HobbitLong/PyContrast, datasets with `jigsaw`: a crop of 255 pixels and of .6 to
1 of the image, flipped at random; of each third a tile of 64 pixels at random; no
change of colour. Its order of the tiles is drawn behind the encoder, which sees each
tile alone, so it may as well be drawn here.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from byol_jax.data.images import crops
from byol_jax.views.planes import Planes
from byol_jax.views.planes import where

TILES = 9
DRAWS = 1 + 3 * TILES  # flip; rows, columns and order of the tiles
_FLIP = 0.5


def cut(planes: Planes, u: jax.Array, spec: crops.Jigsaw) -> Planes:
  """Cuts crops into tiles in a random order.

  Args:
    planes: [n, size, size].
    u: [n, DRAWS], uniform in [0, 1).
    spec: says how large a tile is.

  Returns:
    Planes [n, TILES, tile, tile].
  """
  flip, rows, columns, order = jnp.split(u, (1, 1 + TILES, 1 + 2 * TILES), axis=1)
  planes = where(flip[:, 0] < _FLIP, tuple(p[:, :, ::-1] for p in planes), planes)
  side = spec.size // 3
  left_over = side - spec.tile
  rows, columns = (jnp.minimum((x * (left_over + 1)).astype(jnp.int32), left_over)
                   for x in (rows, columns))
  order = jnp.argsort(order, axis=1)

  def tiles(plane):
    cells = plane[:, :3 * side, :3 * side].reshape(-1, 3, side, 3, side)
    cells = cells.transpose(0, 1, 3, 2, 4).reshape(-1, TILES, side, side)
    cells = _part(cells, rows, spec.tile, left_over)
    cells = _part(jnp.swapaxes(cells, 2, 3), columns, spec.tile, left_over)
    return jnp.take_along_axis(jnp.swapaxes(cells, 2, 3), order[:, :, None, None], 1)
  return tuple(tiles(p) for p in planes)


def _part(cells: jax.Array, start: jax.Array, length: int, most: int) -> jax.Array:
  """Takes `length` rows of each cell [n, TILES, h, w], from start, int [n, TILES], on.

  Shifted by powers of two, like the rows of `randaugment`: no gather.
  """
  bits = most.bit_length()
  start = start[:, :, None, None]
  short = length + (1 << bits) - 1 - cells.shape[2]
  cells = jnp.pad(cells, ((0, 0), (0, 0), (0, max(short, 0)), (0, 0)))
  for step in (1 << bit for bit in reversed(range(bits))):
    needed = length + step - 1
    cells = jnp.where(start & step > 0, cells[:, :, step:step + needed],
                      cells[:, :, :needed])
  return cells[:, :, :length]
