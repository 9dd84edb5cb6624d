"""The place of a random resized crop: the reference's rule, for any array library.

The streaming path computes its boxes with plain numbers, the device-resident
path with `jax.numpy`, the tests with numpy. All call the one function below.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

Array = Any  # an array of the namespace `xp`

# BYOL (arXiv:2006.07733), appendix B: the range of a crop's share of the image's area,
# and of its width / height.
AREA = (0.08, 1.0)
ASPECT = (3 / 4, 4 / 3)
CENTER_SHARE = 0.875  # appendix C.1: 224 of 256 pixels of the shorter side


class CropSpec(NamedTuple):
  """The random resized crops that are made of each image."""
  image_size: int  # S, the side of a view in pixels
  num_views: int = 2  # V, views of each image
  area: tuple[float, float] = AREA
  aspect: tuple[float, float] = ASPECT


def crop_box(
    u: Array,
    height: Array | int,
    width: Array | int,
    area: tuple[float, float] = AREA,
    aspect: tuple[float, float] = ASPECT,
    *,
    xp: Any = np,
) -> tuple[Array, Array, Array, Array]:
  """Turns four uniform draws into the box of a random resized crop.

  With A = height * width, in the reference's order::

    target = U(area) * A          ratio = exp(U(log aspect[0], log aspect[1]))
    w = round(sqrt(target * ratio))          h = round(sqrt(target / ratio))
    w = min(w, width)                        h = min(h, height)

  and the box lies uniformly at an integer offset. An oversized side is clipped:
  there is neither the ten-trials loop nor the central fallback of torchvision,
  so the distribution of the aspect ratio differs from its. The one addition is
  that a side is at least 1, for images a few pixels wide.

  Args:
    u: float [..., 4], draws in [0, 1): area, aspect, top, left. Its dtype is
      the dtype of the arithmetic.
    height: int, scalar or [...], the image's height.
    width: int, scalar or [...], the image's width.
    area: range of the crop's share of the image's area.
    aspect: range of width / height.
    xp: the array namespace: `numpy`, `jax.numpy` or, for single images,
      `decode`'s of plain numbers.

  Returns:
    (top, left, h, w), int32 [...] each: `image[top:top + h, left:left + w]`.

  Source: BYOL (arXiv:2006.07733), appendix B; its reference implementation,
  google-deepmind/deepmind-research, byol/utils/dataset.py.
  """
  height = xp.asarray(height, u.dtype)
  width = xp.asarray(width, u.dtype)
  low, high = math.log(aspect[0]), math.log(aspect[1])
  target = (area[0] + (area[1] - area[0]) * u[..., 0]) * (height * width)
  ratio = xp.exp(low + (high - low) * u[..., 1])
  h = xp.round(xp.sqrt(target / ratio))
  w = xp.round(xp.sqrt(target * ratio))
  h = xp.maximum(xp.minimum(h, height), 1)
  w = xp.maximum(xp.minimum(w, width), 1)
  # The minimum: in float32, u * n can round up to n.
  top = xp.minimum(xp.floor(u[..., 2] * (height - h + 1)), height - h)
  left = xp.minimum(xp.floor(u[..., 3] * (width - w + 1)), width - w)
  return tuple(xp.asarray(side, xp.int32) for side in (top, left, h, w))


def center_box(
    height: Array | int,
    width: Array | int,
    share: float = CENTER_SHARE,
    *,
    xp: Any = np,
) -> tuple[Array, Array, Array, Array]:
  """Computes the evaluation's central square: side int(share * min(height, width)).

  Args:
    height: int, scalar or array, the image's height.
    width: int, scalar or array, the image's width.
    share: the square's share of the shorter side.
    xp: the array namespace.

  Returns:
    (top, left, side, side), int32 each. The offsets are (x + 1) // 2 for the x
    pixels left over, as in the reference. The side is at least 1.
  """
  height, width = xp.asarray(height, xp.int32), xp.asarray(width, xp.int32)
  shorter = xp.minimum(height, width)
  side = xp.floor(xp.asarray(shorter, xp.float32) * share)
  side = xp.maximum(xp.asarray(side, xp.int32), 1)
  return (height - side + 1) // 2, (width - side + 1) // 2, side, side
