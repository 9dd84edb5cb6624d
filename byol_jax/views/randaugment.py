"""RandAugment on the device, as InfoMin uses it (arXiv:2005.10243; PyContrast).

Each of a few layers draws one of 15 operations for each image and does it with
probability 1/2. A choice of 15 branches would compute all of them once images are
batched. So a layer is four passes, whose parameters are neutral where an image's
operation needs no such pass: three shears (rotate, shear, translate), a table of
256 values a channel, and a blend.

Source: HobbitLong/PyContrast, 'rand-n2-m10-mstd0.5', a copy of timm's, which works on
8-bit PIL images. Tables see 8 bits here, too; elsewhere nothing is rounded.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from byol_jax.views.planes import blend
from byol_jax.views.planes import each
from byol_jax.views.planes import gray
from byol_jax.views.planes import Planes
from byol_jax.views.planes import where

NAMES = ('AutoContrast', 'Equalize', 'Invert', 'Rotate', 'PosterizeTpu', 'Solarize',
         'SolarizeAdd', 'Color', 'Contrast', 'Brightness', 'Sharpness', 'ShearX',
         'ShearY', 'TranslateXRel', 'TranslateYRel')
FILL = (124, 116, 104)  # what is seen beyond the border: the mean color of ImageNet
DRAWS = 5  # uniform numbers of a layer
_PROBABILITY = 0.5
_DEVIATION = 0.5  # of the magnitude
_MOST_DEGREES, _MOST_SHEAR, _MOST_TRANSLATION = 30.0, 0.3, 0.45
_NUMBER = {name: i for i, name in enumerate(NAMES)}


class Layer(NamedTuple):
  """The draws of one layer for each of n images."""
  operation: jax.Array  # int32 [n], in the order of NAMES
  happens: jax.Array    # bool [n]
  magnitude: jax.Array  # [n], from 0 to 10
  negative: jax.Array   # bool [n], of rotations, shears and translations
  bicubic: jax.Array    # bool [n], else bilinear


def randaugment(planes: Planes, u: jax.Array, magnitude: float) -> Planes:
  """Does some layers of operations, one after another.

  Args:
    planes: [n, H, W] in [0, 1].
    u: [n, layers, DRAWS], uniform in [0, 1).
    magnitude: the mean of the operations' magnitudes, from 0 to 10.

  Returns:
    Planes like the input.
  """
  for i in range(u.shape[1]):
    planes = do_layer(planes, choose(u[:, i], magnitude))
  return planes


def choose(u: jax.Array, magnitude: float) -> Layer:
  """Turns draws [n, DRAWS] into what a layer does.

  A magnitude is normal around the mean and clipped at 10. With a mean of 10, which is
  InfoMin's, half of them are exactly 10.
  """
  normal = jax.scipy.special.ndtri(jnp.clip(u[:, 2], 1e-7, 1 - 1e-7))
  return Layer(
      operation=jnp.minimum((u[:, 0] * len(NAMES)).astype(jnp.int32), len(NAMES) - 1),
      happens=u[:, 1] < _PROBABILITY,
      magnitude=jnp.clip(magnitude + _DEVIATION * normal, 0.0, 10.0),
      negative=u[:, 3] < 0.5, bicubic=u[:, 4] < 0.5)


def do_layer(planes: Planes, layer: Layer) -> Planes:
  """Does one operation to each image of planes [n, H, W] in [0, 1]."""
  def drawn(*names):
    among = sum(layer.operation == _NUMBER[name] for name in names) > 0
    return among & layer.happens
  moves = drawn('Rotate', 'ShearX', 'ShearY', 'TranslateXRel', 'TranslateYRel')
  planes = where(moves, _move(planes, layer), planes)
  maps = drawn('AutoContrast', 'Equalize', 'Invert', 'PosterizeTpu', 'Solarize',
               'SolarizeAdd')
  planes = where(maps, _map_levels(planes, layer), planes)
  blends = drawn('Color', 'Contrast', 'Brightness', 'Sharpness')
  return _blend(planes, layer, jnp.where(
      blends, 0.1 + 1.8 * layer.magnitude / 10, 1.0))


# -------------------------------------------------------------------- the shears
def _move(planes: Planes, layer: Layer) -> Planes:
  """Rotates, shears or translates, with FILL beyond the border.

  Shears and translations move a whole row or column by one amount, and a rotation is
  three shears (Paeth 1986), so no pixel is gathered by its own index, which
  TPUs do slowly. A rotation is interpolated three times instead of once.
  """
  height, width = planes[0].shape[1:]
  share = jnp.where(layer.negative, -1.0, 1.0) * layer.magnitude / 10
  def amount(name, most):
    return jnp.where(layer.operation == _NUMBER[name], most * share, 0.0)[:, None]
  angle = amount('Rotate', math.radians(_MOST_DEGREES))
  x, y = jnp.arange(width) + 0.5, jnp.arange(height) + 0.5
  turn = jnp.tan(angle / 2)
  # (x, y) shows (x + third(y), y) of what shows (x, y + second(x)) of the first shear.
  third = -turn * (y - height / 2)
  first = third + amount('ShearX', _MOST_SHEAR) * y + amount(
      'TranslateXRel', _MOST_TRANSLATION * width)
  def second(x):
    return (jnp.sin(angle) * (x - width / 2) + amount('ShearY', _MOST_SHEAR) * x
            + amount('TranslateYRel', _MOST_TRANSLATION * height))

  # The first two shears are needed beyond the border, as far as the third one reaches.
  beyond = math.ceil(math.tan(math.radians(_MOST_DEGREES) / 2) * height / 2) + 1
  wide = jnp.arange(-beyond, width + beyond) + 0.5
  images = jnp.pad(jnp.stack(planes, 1), ((0, 0),) * 3 + ((beyond, beyond),),
                   mode='edge')
  images = _shift_rows(images, first, layer.bicubic)
  images = _shift_rows(jnp.swapaxes(images, 2, 3), second(wide), layer.bicubic)
  images = _shift_rows(jnp.swapaxes(images, 2, 3), third, layer.bicubic)
  images = jnp.clip(images[..., beyond:beyond + width], 0.0, 1.0)

  # whether the source of a pixel is within the image
  at_x = x + third[:, :, None]
  at_y = y[:, None] + second(at_x.reshape(len(at_x), -1)).reshape(at_x.shape)
  # first(y) is linear in y
  slope = (first[:, -1:] - first[:, :1]) / max(height - 1, 1)
  at_x = at_x + first[:, :1, None] + slope[:, :, None] * (at_y - 0.5)
  inside = (at_x >= 0) & (at_x < width) & (at_y >= 0) & (at_y < height)
  return tuple(jnp.where(inside, images[:, i], fill / 255)
               for i, fill in enumerate(FILL))


def _shift_rows(images: jax.Array, shift: jax.Array, bicubic: jax.Array) -> jax.Array:
  """Makes out[y, x] = image[y, x + shift[y]], interpolated; the border repeats.

  Whole pixels are shifted by powers of two, each where a row's number has that bit.
  From the largest on, so that columns without further use are dropped early.

  Args:
    images: [n, 3, H, W].
    shift: [n, H], in pixels.
    bicubic: bool [n]; False: bilinear. PIL's cubic, a = -1.
  """
  width = images.shape[3]
  most = width // 2 + 1  # translations are .45 of the width
  whole = jnp.floor(shift)
  t = (shift - whole)[:, None, :, None]
  left = jnp.clip(whole + most, 0, 2 * most).astype(jnp.int32)[:, None, :, None]
  bits = (2 * most).bit_length()
  images = jnp.pad(images, ((0, 0),) * 3 + ((most + 1, (1 << bits) - most + 1),),
                   mode='edge')
  for step in (1 << bit for bit in reversed(range(bits))):
    needed = width + 2 + step
    images = jnp.where(left & step > 0, images[..., step:step + needed],
                       images[..., :needed])
  cubic = (t * (-1 + t * (2 - t)), 1 + t * t * (t - 2), t * (1 + t * (1 - t)),
           t * t * (t - 1))
  linear = (0 * t, 1 - t, t, 0 * t)
  bicubic = bicubic[:, None, None, None]
  return sum(jnp.where(bicubic, *weights) * images[..., i:i + width]
             for i, weights in enumerate(zip(cubic, linear)))


# -------------------------------------------------------------------- the tables
def _map_levels(planes: Planes, layer: Layer) -> Planes:
  """Replaces each of 256 levels by another one.

  To look a level up, its upper four bits choose a row of 16 and its lower four an
  entry: two small products instead of a gather, which TPUs do slowly. They are exact,
  also of bfloat16, because levels are whole numbers below 257.
  """
  images = jnp.stack(planes, 1)  # [n, 3, H, W]
  levels = jnp.round(images.reshape(*images.shape[:2], -1) * 255).astype(jnp.int32)
  upper = jax.nn.one_hot(levels >> 4, 16, dtype=jnp.float32)  # [n, 3, H W, 16]
  lower = jax.nn.one_hot(levels & 15, 16, dtype=jnp.float32)
  counts = jnp.einsum('ncpu,ncpl->ncul', upper, lower)
  counts = counts.reshape(*counts.shape[:2], 256).astype(jnp.int32)
  table = _tables(levels, counts, layer).astype(jnp.float32)
  rows = jnp.einsum('ncpu,ncul->ncpl', upper, table.reshape(*table.shape[:2], 16, 16))
  out = jnp.sum(rows * lower, -1).reshape(images.shape) / 255
  return tuple(out[:, i] for i in range(3))


def _tables(levels: jax.Array, counts: jax.Array, layer: Layer) -> jax.Array:
  """Makes the table of each image and channel.

  Args:
    levels: int32 [n, 3, H W].
    counts: int32 [n, 3, 256], how many pixels have each level.
    layer: the operations and magnitudes.

  Returns:
    int32 [n, 3, 256], from 0 to 255.
  """
  level = jnp.arange(256)
  low = jnp.min(levels, -1, keepdims=True)
  high = jnp.max(levels, -1, keepdims=True)
  stretched = jnp.where(high > low, jnp.clip(
      (level - low) * 255 // jnp.maximum(high - low, 1), 0, 255), level)

  total = jnp.sum(counts, -1, keepdims=True)
  last = jnp.take_along_axis(counts, high, -1)
  step = (total - last) // 255
  below = jnp.cumsum(counts, -1) - counts
  equal = jnp.where(step > 0, jnp.minimum(
      (step // 2 + below) // jnp.maximum(step, 1), 255), level)

  def whole(most):  # PIL's are whole numbers; 1e-5: 0.3 * 10 in float32
    return jnp.floor(layer.magnitude / 10 * most + 1e-5).astype(
        jnp.int32)[:, None, None]
  lost = 8 - whole(4)
  options = {
      'AutoContrast': stretched,
      'Equalize': equal,
      'Invert': 255 - level,
      'PosterizeTpu': (level >> lost) << lost,
      'Solarize': jnp.where(level < whole(256), level, 255 - level),
      'SolarizeAdd': jnp.where(
          level < 128, jnp.minimum(level + whole(110), 255), level)}
  table = level
  for name, option in options.items():
    table = jnp.where((layer.operation == _NUMBER[name])[:, None, None], option, table)
  return jnp.broadcast_to(table, counts.shape)


# -------------------------------------------------------------------- the blend
def _blend(planes: Planes, layer: Layer, factor: jax.Array) -> Planes:
  """Blends with black, the mean of gray, gray or a smooth image; factor: [n]."""
  def chosen(name):
    return each(layer.operation == _NUMBER[name], planes[0])
  level = gray(planes)
  mean = jnp.mean(level, axis=(-2, -1), keepdims=True)
  common = jnp.where(chosen('Contrast'), mean,
                     jnp.where(chosen('Color'), level, 0.0))
  base = tuple(jnp.where(chosen('Sharpness'), _smooth(p), common) for p in planes)
  return blend(planes, base, factor)


def _smooth(plane: jax.Array) -> jax.Array:
  """Averages 3 x 3 pixels, the middle with weight 5 (PIL's SMOOTH); not the border."""
  height, width = plane.shape[1:]
  if min(height, width) < 3:
    return plane
  rows = plane[:, :-2] + plane[:, 1:-1] + plane[:, 2:]
  nine = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
  return plane.at[:, 1:-1, 1:-1].set((nine + 4 * plane[:, 1:-1, 1:-1]) / 13)
