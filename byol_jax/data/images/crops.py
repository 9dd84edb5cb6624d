"""The place of a random resized crop: BYOL's rule and others, for any array library.

The streaming path computes its boxes with plain numbers or numpy, the device-resident
path with `jax.numpy`. All call `crop_box`.
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

# How a box is drawn, and how often it may be tried: four draws each time.
SAMPLERS = {'byol': 1, 'tf': 100, 'torchvision': 10}
_TF_COVERED = 0.1  # min_object_covered of the whole image, in SimCLR's call


class Jigsaw(NamedTuple):
  """The crop that InfoMin cuts into 3 x 3 tiles (arXiv:2005.10243; PyContrast)."""
  size: int = 255  # pixels of a side of the crop
  tile: int = 64   # of a tile, at random within a third of the crop
  area: tuple[float, float] = (0.6, 1.0)


class CropSpec(NamedTuple):
  """The random resized crops that are made of each image."""
  image_size: int  # S, the side of a view in pixels
  num_views: int = 2  # V, views of each image
  area: tuple[float, float] = AREA
  aspect: tuple[float, float] = ASPECT
  sampler: str = 'byol'
  jigsaw: Jigsaw | None = None  # one more crop

  @property
  def draws(self) -> int:
    """Returns how many draws a view's box takes."""
    return draws(self.sampler)


def draws(sampler: str) -> int:
  """Returns how many draws `crop_box` takes."""
  return 4 * SAMPLERS[sampler]


def crop_box(
    u: Array,
    height: Array | int,
    width: Array | int,
    area: tuple[float, float] = AREA,
    aspect: tuple[float, float] = ASPECT,
    sampler: str = 'byol',
    *,
    xp: Any = np,
) -> tuple[Array, Array, Array, Array]:
  """Turns uniform draws into the box of a random resized crop.

  With A = height * width, 'byol' does, in the reference's order::

    target = U(area) * A          ratio = exp(U(log aspect[0], log aspect[1]))
    w = round(sqrt(target * ratio))          h = round(sqrt(target / ratio))
    w = min(w, width)                        h = min(h, height)

  and the box lies uniformly at an integer offset. An oversized side is clipped:
  there is neither the ten-trials loop nor the central fallback of torchvision,
  so the distribution of the aspect ratio differs from its. The one addition is
  that a side is at least 1, for images a few pixels wide.

  'tf' and 'torchvision' try several boxes and take the first that fits: see `_try_tf`
  and `_try_torchvision`. The tries are fixed in number, so a box is a function of its
  draws with these samplers, too.

  Args:
    u: float [..., draws(sampler)], in [0, 1); for 'byol' area, aspect, top, left. Its
      dtype is the dtype of the arithmetic.
    height: int, scalar or [...], the image's height.
    width: int, scalar or [...], the image's width.
    area: range of the crop's share of the image's area.
    aspect: range of width / height.
    sampler: one of SAMPLERS.
    xp: the array namespace: `numpy`, `jax.numpy` or, for single images and 'byol',
      `decode`'s of plain numbers.

  Returns:
    (top, left, h, w), int32 [...] each: `image[top:top + h, left:left + w]`.

  Source: BYOL (arXiv:2006.07733), appendix B; its reference implementation,
  google-deepmind/deepmind-research, byol/utils/dataset.py.
  """
  height = xp.asarray(height, u.dtype)
  width = xp.asarray(width, u.dtype)
  if sampler != 'byol':
    return _first_that_fits(u, height, width, area, aspect, sampler, xp)
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


def _first_that_fits(u, height, width, area, aspect, sampler, xp):
  """Tries boxes with one sampler; arguments and result as of `crop_box`."""
  u = u.reshape(*u.shape[:-1], -1, 4)  # [..., tries, 4]
  one_try, fallback = {'tf': (_try_tf, _whole),
                       'torchvision': (_try_torchvision, _central)}[sampler]
  fits, *sides = one_try(u, height[..., None], width[..., None], area, aspect, xp)
  first = xp.argmax(fits, -1)[..., None]
  found = xp.any(fits, -1)
  return tuple(
      xp.asarray(xp.where(found, xp.take_along_axis(side, first, -1)[..., 0], other),
                 xp.int32)
      for side, other in zip(sides, fallback(height, width, aspect, xp)))


def _try_tf(u, height, width, area, aspect, xp):
  """Draws an aspect ratio uniformly, then a height that the areas allow, uniformly.

  A box fits if its area is in the range after rounding, and .1 of the image or more.
  Source: TensorFlow, sample_distorted_bounding_box_op.cc (GenerateRandomCrop), as
  SimCLR calls it (tf2/data_util.py). Its offsets leave out the last one.

  Returns:
    fits, top, left, h, w, [..., tries] each.
  """
  least, most = area[0] * height * width, area[1] * height * width
  ratio = aspect[0] + (aspect[1] - aspect[0]) * u[..., 0]
  high = xp.round(xp.sqrt(most / ratio))
  # the largest height whose rounded width fits
  high = xp.where(xp.round(high * ratio) > width,
                  xp.floor((width + 0.5 - 1e-7) / ratio), high)
  high = xp.minimum(high, height)
  low = xp.minimum(xp.round(xp.sqrt(least / ratio)), high)
  h = xp.minimum(low + xp.floor(u[..., 1] * (high - low + 1)), high)
  h = xp.where(h * xp.round(h * ratio) < least, h + 1, h)
  h = xp.where(h * xp.round(h * ratio) > most, h - 1, h)
  w = xp.round(h * ratio)
  fits = ((h * w >= xp.maximum(least, _TF_COVERED * height * width)) & (h * w <= most)
          & (h <= height) & (w <= width) & (h > 0) & (w > 0))
  def offset(u, left_over):
    return xp.maximum(xp.minimum(xp.floor(u * left_over), left_over - 1), 0)
  return fits, offset(u[..., 2], height - h), offset(u[..., 3], width - w), h, w


def _try_torchvision(u, height, width, area, aspect, xp):
  """Draws as BYOL does, but a box that is too large does not fit.

  Source: torchvision, RandomResizedCrop.get_params. Result as of `_try_tf`.
  """
  target = (area[0] + (area[1] - area[0]) * u[..., 0]) * (height * width)
  low, high = math.log(aspect[0]), math.log(aspect[1])
  ratio = xp.exp(low + (high - low) * u[..., 1])
  w, h = xp.round(xp.sqrt(target * ratio)), xp.round(xp.sqrt(target / ratio))
  fits = (h > 0) & (h <= height) & (w > 0) & (w <= width)
  top = xp.minimum(xp.floor(u[..., 2] * (height - h + 1)), height - h)
  left = xp.minimum(xp.floor(u[..., 3] * (width - w + 1)), width - w)
  return fits, top, left, h, w


def _whole(height, width, aspect, xp):
  """Returns the whole image, where no try of TensorFlow's fits."""
  del aspect, xp
  return 0 * height, 0 * width, height, width


def _central(height, width, aspect, xp):
  """Returns the largest central box of an allowed ratio: torchvision's last resort."""
  w = xp.where(width > aspect[1] * height, xp.round(height * aspect[1]), width)
  h = xp.where(width < aspect[0] * height, xp.round(width / aspect[0]), height)
  w, h = xp.maximum(w, 1), xp.maximum(h, 1)  # images a few pixels wide
  return xp.floor((height - h) / 2), xp.floor((width - w) / 2), h, w


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
