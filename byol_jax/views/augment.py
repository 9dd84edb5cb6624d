"""The paper's augmentations T and T' on the device (appendix B, table 6).

All draws of an image come from one key, that of (seed, step, global example
index, view): the same whatever the number of hosts and devices. Images are
worked on as planes, three arrays [n, H, W], because a minor dimension of three
wastes most of a vector register.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from byol_jax.data.images import crops
from byol_jax.views import recipes

Planes = tuple[jax.Array, jax.Array, jax.Array]  # red, green, blue: [n, H, W]

GRAY_WEIGHTS = (0.2989, 0.5870, 0.1140)


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


_NO_VIEW = 2**31 - 1  # draws of an image that belong to none of its views


def order(key: jax.Array, step: jax.Array, examples: jax.Array) -> jax.Array:
  """Draws a number in [0, 1) for each example; arguments as for `draws`."""
  key = jax.random.fold_in(key, step)
  def of_example(example):
    return jax.random.uniform(
        jax.random.fold_in(jax.random.fold_in(key, example), _NO_VIEW))
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
) -> Planes:
  """Crops at random and resizes to size x size, bicubic (appendix B).

  Args:
    images: uint8 [n, H, W, 1 or 3].
    u: [n, 4] draws in [0, 1), see `crops.crop_box`.
    size: of the output, in pixels.
    area: range of the crop's share of the image.
    aspect: range of the crop's width / height.

  Returns:
    Planes [n, size, size] in [0, 1].
  """
  height, width = images.shape[1:3]
  box = crops.crop_box(u, height, width, area, aspect, xp=jnp)
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


def _each(draw: jax.Array, x: jax.Array) -> jax.Array:
  """Reshapes [n] to [n, 1, 1], to go with planes."""
  return draw.reshape(-1, *(1,) * (x.ndim - 1))


def _where(drawn: jax.Array, yes: Planes, no: Planes) -> Planes:
  return tuple(jnp.where(_each(drawn, n), y, n) for y, n in zip(yes, no))


def _clip(planes: Planes) -> Planes:
  return tuple(jnp.clip(p, 0.0, 1.0) for p in planes)


def adjust_brightness(planes: Planes, delta: jax.Array) -> Planes:
  """Adds delta [n] and clips to [0, 1]."""
  return _clip(tuple(p + _each(delta, p) for p in planes))


def adjust_contrast(planes: Planes, factor: jax.Array) -> Planes:
  """Scales by factor [n] around each plane's mean and clips to [0, 1]."""
  def adjust(p):
    mean = jnp.mean(p, axis=(-2, -1), keepdims=True)
    return mean + _each(factor, p) * (p - mean)
  return _clip(tuple(adjust(p) for p in planes))


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
  hue = hue + 6.0 * _each(delta, r)
  hue = hue - 6.0 * jnp.floor(hue * (1.0 / 6.0))
  chroma = jnp.minimum(chroma * _each(factor, r), value)
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

  out = planes
  for gap in range(3):
    b_here, c_here = gap_b == gap, gap_c == gap
    before = b_here & (b_first | ~c_here)
    out = adjust_brightness(out, jnp.where(before, brightness, 0.0))
    out = adjust_contrast(out, 1.0 + jnp.where(c_here, contrast, 0.0))
    out = adjust_brightness(out, jnp.where(b_here & ~before, brightness, 0.0))
    if gap < 2 and (recipe.saturation > 0 or recipe.hue > 0):
      saturate = s_first if gap == 0 else ~s_first
      out = adjust_hue_and_saturation(
          out, jnp.where(saturate, 0.0, hue),
          1.0 + jnp.where(saturate, saturation, 0.0))
  return _where(d.jitter < recipe.jitter, out, planes)


def grayscale(planes: Planes) -> Planes:
  """Computes 0.2989 r + 0.5870 g + 0.1140 b in all planes."""
  gray = sum(w * p for w, p in zip(GRAY_WEIGHTS, planes))
  return (gray, gray, gray)


def gaussian_blur(planes: Planes, sigma: jax.Array) -> Planes:
  """Blurs with a kernel of about a tenth of the height, zero-padded.

  The kernel has 2 int(H / 20) + 1 taps (23 at 224 pixels) and sums to 1;
  beyond the border it sees zeros, so borders darken, as in the reference. The
  convolution is written as products with banded matrices, two an image.

  Args:
    planes: [n, H, W].
    sigma: [n], in pixels.

  Returns:
    Planes like the input.
  """
  height, width = planes[0].shape[1:]
  radius = int(height / 10 / 2)
  def banded(side):
    distance = jnp.abs(jnp.arange(side)[:, None] - jnp.arange(side))
    kernel = jnp.exp(-(jnp.arange(-radius, radius + 1) / sigma[:, None])**2 / 2)
    total = jnp.sum(kernel, axis=-1)[:, None, None]
    weight = jnp.exp(-(distance / sigma[:, None, None])**2 / 2) / total
    return jnp.where(distance <= radius, weight, 0.0)
  rows, columns = banded(height), banded(width)
  return tuple(_separable(rows, p, columns) for p in planes)


def solarize(planes: Planes, threshold: float = 0.5) -> Planes:
  """Inverts values at or above the threshold."""
  return tuple(jnp.where(p < threshold, p, 1.0 - p) for p in planes)


def augment(planes: Planes, d: _Draws, recipe: recipes.Recipe) -> Planes:
  """Applies flip, jitter, grayscale, blur, solarize, in this order; in [0, 1].

  Operations of probability 0 cost nothing.
  """
  out = planes
  if recipe.flip > 0:
    out = _where(d.flip < recipe.flip, tuple(p[:, :, ::-1] for p in out), out)
  if recipe.jitter > 0:
    out = color_jitter(out, d, recipe)
  if recipe.grayscale > 0:
    out = _where(d.grayscale < recipe.grayscale, grayscale(out), out)
  if recipe.blur > 0:
    low, high = recipe.blur_sigma
    blurred = gaussian_blur(out, low + (high - low) * d.sigma)
    out = _where(d.blur < recipe.blur, blurred, out)
  if recipe.solarize > 0:
    out = _where(d.solarize < recipe.solarize,
                 solarize(out, recipe.solarize_threshold), out)
  return _clip(out)


def normalize(planes: Planes, mean: tuple[float, ...],
              std: tuple[float, ...]) -> jax.Array:
  """Makes of planes in [0, 1] images [n, H, W, 3], (x - mean) / std per channel."""
  return jnp.stack([(p - m) / s for p, m, s in zip(planes, mean, std)], axis=-1)
