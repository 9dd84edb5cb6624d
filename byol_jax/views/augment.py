"""The paper's augmentations T and T' on the device (appendix B, table 6).

All draws of an image come from one key, that of (seed, step, global example
index, view): the same whatever the number of hosts and devices. What the paper
does not do comes from other methods (`recipes`), and costs nothing where a recipe
does without it.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from byol_jax.data.images import crops
from byol_jax.views import randaugment
from byol_jax.views import recipes
from byol_jax.views.planes import blend
from byol_jax.views.planes import clip
from byol_jax.views.planes import each
from byol_jax.views.planes import gray
from byol_jax.views.planes import Planes
from byol_jax.views.planes import where

# What `further_draws` are for; far from the 18 counters of `draws`.
RANDAUGMENT, CROP, TILES = 1001, 1002, 1003
NO_VIEW = 2**31 - 1  # draws of an image that belong to none of its views


class _Draws(NamedTuple):
  """The random numbers of one view of n images, uniform in [0, 1)."""
  crop: jax.Array        # [n, 4]
  flip: jax.Array        # [n]
  jitter: jax.Array      # [n]
  order: jax.Array       # [n, 4]; its ranks order the four jitter operations
  strength: jax.Array    # [n, 4]: brightness, contrast, saturation, hue
  grayscale: jax.Array   # [n]
  blur: jax.Array        # [n]
  sigma: jax.Array       # [n]
  solarize: jax.Array    # [n]


def draws(key: jax.Array, step: jax.Array, examples: jax.Array,
          view: int) -> _Draws:
  """Draws all random numbers of one view.

  Args:
    key: the run's key, made of its seed.
    step: int32 scalar.
    examples: int32 [n], global example indices, 0 .. batch_size - 1.
    view: 0 or 1.

  Returns:
    float32 arrays that lead with n.
  """
  key = jax.random.fold_in(key, step)
  def of_example(example):
    k = jax.random.fold_in(jax.random.fold_in(key, example), view)
    return jax.random.uniform(k, (18,))
  u = jax.vmap(of_example)(examples)
  return _Draws(
      crop=u[:, 0:4], order=u[:, 4:8], strength=u[:, 8:12], flip=u[:, 12],
      jitter=u[:, 13], grayscale=u[:, 14], blur=u[:, 15], sigma=u[:, 16],
      solarize=u[:, 17])


def further_draws(key: jax.Array, step: jax.Array, examples: jax.Array, view: int,
                  purpose: int, count: int) -> jax.Array:
  """Draws random numbers that only some recipes need.

  Args:
    key: as for `draws`, and so are `step` and `examples`.
    view: 0, 1 or NO_VIEW.
    purpose: one of RANDAUGMENT, CROP, TILES. They and `draws` are independent.
    count: how many numbers.

  Returns:
    float32 [n, count], uniform in [0, 1).
  """
  key = jax.random.fold_in(key, step)
  def of_example(example):
    k = jax.random.fold_in(jax.random.fold_in(key, example), view)
    return jax.random.uniform(jax.random.fold_in(k, purpose), (count,))
  return jax.vmap(of_example)(examples)


def order(key: jax.Array, step: jax.Array, examples: jax.Array) -> jax.Array:
  """Draws a number in [0, 1) for each example; arguments as for `draws`."""
  key = jax.random.fold_in(key, step)
  def of_example(example):
    return jax.random.uniform(
        jax.random.fold_in(jax.random.fold_in(key, example), NO_VIEW))
  return jax.vmap(of_example)(examples)


def to_planes(images: jax.Array) -> Planes:
  """Turns uint8 [n, H, W, 1 or 3] into planes in [0, 1]; gray is repeated."""
  scaled = images.astype(jnp.float32) / 255.0
  channels = [scaled[..., i] for i in range(images.shape[-1])]
  return tuple(channels * 3 if len(channels) == 1 else channels)


def random_resized_crop(
    images: jax.Array,
    u: jax.Array,
    size: int,
    area: tuple[float, float] = crops.AREA,
    aspect: tuple[float, float] = crops.ASPECT,
    sampler: str = 'byol',
) -> Planes:
  """Crops at random and resizes to size x size, bicubic (appendix B).

  Args:
    images: uint8 [n, H, W, 1 or 3].
    u: [n, 4] draws in [0, 1) or, for other samplers, more: `crops.crop_box`.
    size: of the output, in pixels.
    area: range of the crop's share of the image.
    aspect: range of the crop's width / height.
    sampler: one of `crops.SAMPLERS`.

  Returns:
    Planes [n, size, size] in [0, 1].
  """
  height, width = images.shape[1:3]
  box = crops.crop_box(u, height, width, area, aspect, sampler, xp=jnp)
  return crop_and_resize(images, *box, size)


def crop_and_resize(images: jax.Array, top: jax.Array, left: jax.Array,
                    height: jax.Array, width: jax.Array, size: int) -> Planes:
  """Resizes boxes of images to size x size, bicubic, and clips to [0, 1].

  A bicubic resize is linear and separable, so it is two small matrix products
  an image: rows times image times columns.

  Args:
    images: uint8 [n, H, W, 1 or 3].
    top: int [n], as are `left`, `height` and `width`: the boxes.
    left: the first column.
    height: number of rows.
    width: number of columns.
    size: of the output, in pixels.

  Returns:
    Planes [n, size, size] in [0, 1].
  """
  rows = _bicubic_matrix(top, height, images.shape[1], size)
  columns = _bicubic_matrix(left, width, images.shape[2], size)
  channels = [images[..., i].astype(jnp.float32) / 255.0
              for i in range(images.shape[-1])]
  planes = [jnp.clip(_separable(rows, plane, columns), 0.0, 1.0)
            for plane in channels]
  return tuple(planes * 3 if len(planes) == 1 else planes)


def _bicubic_matrix(start: jax.Array, length: jax.Array, side: int,
                    size: int) -> jax.Array:
  """Makes matrices [n, size, side] that resize [start, start + length) to size.

  Keys' cubic kernel with a = -1/2, no antialiasing, pixel centres at halves,
  weights outside of the crop dropped and the rest renormalized: what
  `tf.image.resize(..., 'bicubic')` does to the cropped image.
  """
  scale = (length / size)[:, None]
  centre = (jnp.arange(size) + 0.5) * scale - 0.5 + start[:, None]  # [n, size]
  pixel = jnp.arange(side)
  x = jnp.abs(centre[:, :, None] - pixel)
  near = (1.5 * x - 2.5) * x * x + 1.0
  far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
  weight = jnp.where(x < 1.0, near, jnp.where(x < 2.0, far, 0.0))
  inside = (pixel >= start[:, None]) & (pixel < (start + length)[:, None])
  weight = weight * inside[:, None, :]
  return weight / jnp.sum(weight, axis=-1, keepdims=True)


def _separable(rows: jax.Array, plane: jax.Array,
               columns: jax.Array) -> jax.Array:
  """Multiplies rows [n, h, H], plane [n, H, W], columns' [n, w, W]: [n, h, w]."""
  precision = jax.lax.Precision.HIGH  # bf16 or TF32 products would show
  half = jnp.einsum('nhi,nij->nhj', rows, plane, precision=precision)
  return jnp.einsum('nhj,nwj->nhw', half, columns, precision=precision)


def adjust_brightness(planes: Planes, delta: jax.Array) -> Planes:
  """Adds delta [n] and clips to [0, 1]."""
  return clip(tuple(p + each(delta, p) for p in planes))


def scale_brightness(planes: Planes, factor: jax.Array) -> Planes:
  """Multiplies by factor [n] and clips to [0, 1]."""
  return clip(tuple(each(factor, p) * p for p in planes))


def adjust_contrast(planes: Planes, factor: jax.Array) -> Planes:
  """Scales by factor [n] around each plane's mean and clips to [0, 1]."""
  def adjust(p):
    mean = jnp.mean(p, axis=(-2, -1), keepdims=True)
    return mean + each(factor, p) * (p - mean)
  return clip(tuple(adjust(p) for p in planes))


def adjust_hue_and_saturation(planes: Planes, delta: jax.Array,
                              factor: jax.Array) -> Planes:
  """Turns the hue by delta [n] (in turns), scales HSV saturation by factor [n].

  Neither changes the other's coordinate, so one pass does both. With value v =
  max and chroma c = max - min, scaling the saturation c/v by f and clipping it
  at 1 is c -> min(c f, v).
  """
  r, g, b = planes
  value = jnp.maximum(jnp.maximum(r, g), b)
  chroma = value - jnp.minimum(jnp.minimum(r, g), b)
  inverse = 1.0 / jnp.where(chroma > 0.0, chroma, 1.0)
  # hue in sixths of a turn, from -1 to 5
  hue = jnp.where(
      r == value, (g - b) * inverse,
      jnp.where(g == value, 2.0 + (b - r) * inverse, 4.0 + (r - g) * inverse))
  hue = hue + 6.0 * each(delta, r)
  hue = hue - 6.0 * jnp.floor(hue * (1.0 / 6.0))
  chroma = jnp.minimum(chroma * each(factor, r), value)
  low = value - chroma
  def plane(ramp):
    return low + chroma * jnp.clip(ramp, 0.0, 1.0)
  return (plane(jnp.abs(hue - 3.0) - 1.0), plane(2.0 - jnp.abs(hue - 2.0)),
          plane(2.0 - jnp.abs(hue - 4.0)))


def color_jitter(planes: Planes, d: _Draws, recipe: recipes.Recipe) -> Planes:
  """Changes brightness, contrast, saturation, hue in a random order per image.

  Evaluating four slots with a choice of four operations each would cost
  sixteen operations an image once the choices are batched. Hue and saturation
  commute, so the order only says how many of the two come before brightness
  and before contrast, and which of these is first: two passes in HSV with
  cheap ones around them, whose parameters are neutral where an image's order
  has nothing there.

  Source: BYOL (arXiv:2006.07733), appendix B; `brightness_mode` 'times': SimCLR's
  color_jitter_rand (google-research/simclr, tf2/data_util.py, impl 'simclrv2').
  """
  bound = jnp.array([recipe.brightness, recipe.contrast, recipe.saturation,
                     recipe.hue])
  amount = (2.0 * d.strength - 1.0) * bound  # [n, 4], in +-bound
  brightness, contrast, saturation, hue = jnp.moveaxis(amount, -1, 0)
  at_b, at_c, at_s, at_h = jnp.moveaxis(d.order, -1, 0)  # distinct: no ties
  gap_b = (at_s < at_b).astype(jnp.int32) + (at_h < at_b)
  gap_c = (at_s < at_c).astype(jnp.int32) + (at_h < at_c)
  b_first = at_b < at_c
  s_first = at_s < at_h
  brighten, as_it_is = adjust_brightness, 0.0
  if recipe.brightness_mode == 'times':
    brighten, as_it_is = scale_brightness, 1.0
    brightness = _factor(d.strength[:, 0], recipe.brightness)

  out = planes
  for gap in range(3):
    b_here, c_here = gap_b == gap, gap_c == gap
    before = b_here & (b_first | ~c_here)
    out = brighten(out, jnp.where(before, brightness, as_it_is))
    out = adjust_contrast(out, 1.0 + jnp.where(c_here, contrast, 0.0))
    out = brighten(out, jnp.where(b_here & ~before, brightness, as_it_is))
    if gap < 2 and (recipe.saturation > 0 or recipe.hue > 0):
      saturate = s_first if gap == 0 else ~s_first
      out = adjust_hue_and_saturation(
          out, jnp.where(saturate, 0.0, hue),
          1.0 + jnp.where(saturate, saturation, 0.0))
  return where(d.jitter < recipe.jitter, out, planes)


def _factor(u: jax.Array, bound: float) -> jax.Array:
  """Turns draws into factors, uniform from max(0, 1 - bound) to 1 + bound."""
  low = max(0.0, 1.0 - bound)
  return low + (1.0 + bound - low) * u


def color_jitter_by_blends(planes: Planes, d: _Draws,
                           recipe: recipes.Recipe) -> Planes:
  """Changes the colours as `color_jitter`, by torchvision's rules.

  Brightness, contrast and saturation blend with black, with the mean of the gray
  image and with the gray image. None of them commutes with hue, which costs most,
  so it is done once, in the middle: the other three come before it where an
  image's order says so, and are neutral there where it says after.

  Source: torchvision's ColorJitter for float images, which MoCo v2 and SimSiam use
  on 8-bit images. There is no rounding to 8 bits between operations here.
  """
  at = jnp.moveaxis(d.order, -1, 0)  # distinct: no ties
  factors = [_factor(d.strength[:, i], bound) for i, bound in enumerate(
      (recipe.brightness, recipe.contrast, recipe.saturation))]
  rank = [sum((at[k] < at[i]).astype(jnp.int32) for k in range(3) if k != i)
          for i in range(3)]  # among these three
  before_hue = sum((at[k] < at[3]).astype(jnp.int32) for k in range(3))

  def blends(planes, happens):
    for place in range(3):
      here = [r == place for r in rank]
      factor = sum(jnp.where(h, f, 0.0) for h, f in zip(here, factors))
      level = gray(planes)
      mean = jnp.mean(level, axis=(-2, -1), keepdims=True)
      base = jnp.where(each(here[1], level), mean,
                       jnp.where(each(here[2], level), level, 0.0))
      planes = blend(planes, (base,) * 3, jnp.where(happens(place), factor, 1.0))
    return planes

  if recipe.hue == 0:
    out = blends(planes, lambda place: jnp.bool_(True))
  else:
    out = blends(planes, lambda place: place < before_hue)
    turn = (2.0 * d.strength[:, 3] - 1.0) * recipe.hue
    out = adjust_hue_and_saturation(out, turn, jnp.ones_like(turn))
    out = blends(out, lambda place: place >= before_hue)
  return where(d.jitter < recipe.jitter, out, planes)


def grayscale(planes: Planes) -> Planes:
  """Computes 0.2989 r + 0.5870 g + 0.1140 b in all planes."""
  return (gray(planes),) * 3


def gaussian_blur(planes: Planes, sigma: jax.Array, border: str = 'zero',
                  radius: int | None = None) -> Planes:
  """Blurs with a kernel of about a tenth of the height.

  The kernel has 2 int(H / 20) + 1 taps (23 at 224 pixels) and sums to 1. Beyond
  the border it sees zeros, so borders darken, as in BYOL's and SimCLR's code; or
  the image's reflection about its outermost pixels, as in InfoMin's. The
  convolution is written as products with banded matrices, two an image.

  Args:
    planes: [n, H, W].
    sigma: [n], in pixels.
    border: 'zero' or 'reflect'.
    radius: taps on either side; None: by the height.

  Returns:
    Planes like the input.
  """
  height, width = planes[0].shape[1:]
  radius = int(height / 10 / 2) if radius is None else radius
  def banded(side):
    distance = jnp.abs(jnp.arange(side)[:, None] - jnp.arange(side))
    kernel = jnp.exp(-(jnp.arange(-radius, radius + 1) / sigma[:, None])**2 / 2)
    total = jnp.sum(kernel, axis=-1)[:, None, None]
    def taps(distance):
      weight = jnp.exp(-(distance / sigma[:, None, None])**2 / 2) / total
      return jnp.where(distance <= radius, weight, 0.0)
    matrix = taps(distance)
    if border == 'reflect':
      # pixel j stands for those at -j and at 2 (side - 1) - j, too
      pixel = jnp.arange(side)
      there = pixel[:, None] + pixel
      matrix += jnp.where(pixel > 0, taps(there), 0.0)
      matrix += jnp.where(pixel < side - 1, taps(2 * (side - 1) - there), 0.0)
    return matrix
  rows, columns = banded(height), banded(width)
  return tuple(_separable(rows, p, columns) for p in planes)


def solarize(planes: Planes, threshold: float = 0.5) -> Planes:
  """Inverts values at or above the threshold."""
  return tuple(jnp.where(p < threshold, p, 1.0 - p) for p in planes)


def augment(planes: Planes, d: _Draws, recipe: recipes.Recipe,
            layers: jax.Array | None = None) -> Planes:
  """Applies flip, jitter, grayscale, blur, solarize, in this order; in [0, 1].

  RandAugment comes after the blur, and grayscale then after it, as InfoMin does.
  Operations of probability 0 cost nothing.

  Args:
    planes: [n, S, S] in [0, 1].
    d: the draws.
    recipe: probabilities and ranges.
    layers: [n, recipe.randaugment, randaugment.DRAWS], further draws; None where the
      recipe has no RandAugment.
  """
  out = planes
  if recipe.flip > 0:
    out = where(d.flip < recipe.flip, tuple(p[:, :, ::-1] for p in out), out)
  if recipe.jitter > 0:
    jitter = color_jitter_by_blends if recipe.color == 'pil' else color_jitter
    out = jitter(out, d, recipe)
  if recipe.grayscale > 0 and not recipe.randaugment:
    out = where(d.grayscale < recipe.grayscale, grayscale(out), out)
  if recipe.blur > 0:
    low, high = recipe.blur_sigma
    blurred = gaussian_blur(out, low + (high - low) * d.sigma, recipe.blur_border)
    out = where(d.blur < recipe.blur, blurred, out)
  if recipe.randaugment:
    out = randaugment.randaugment(out, layers, recipe.randaugment_magnitude)
    if recipe.grayscale > 0:
      out = where(d.grayscale < recipe.grayscale, grayscale(out), out)
  if recipe.solarize > 0:
    out = where(d.solarize < recipe.solarize,
                solarize(out, recipe.solarize_threshold), out)
  return clip(out)


def normalize(planes: Planes, mean: tuple[float, ...],
              std: tuple[float, ...]) -> jax.Array:
  """Makes of planes in [0, 1] images [..., H, W, 3]: (x - mean) / std per channel."""
  return jnp.stack([(p - m) / s for p, m, s in zip(planes, mean, std)], axis=-1)
