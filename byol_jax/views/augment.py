"""The paper's augmentations T and T' on the device (appendix B, table 6).

Crops are in `crop`, random numbers in `draws`. What the paper does not do comes from
other methods (`recipes`), and costs nothing where a recipe does without it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from byol_jax.views import randaugment
from byol_jax.views import recipes
from byol_jax.views.draws import Draws
from byol_jax.views.planes import blend
from byol_jax.views.planes import clip
from byol_jax.views.planes import each
from byol_jax.views.planes import gray
from byol_jax.views.planes import Planes
from byol_jax.views.planes import separable
from byol_jax.views.planes import where


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


def color_jitter(planes: Planes, d: Draws, recipe: recipes.Recipe) -> Planes:
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


def color_jitter_by_blends(planes: Planes, d: Draws,
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
  return tuple(separable(rows, p, columns) for p in planes)


def solarize(planes: Planes, threshold: float = 0.5) -> Planes:
  """Inverts values at or above the threshold."""
  return tuple(jnp.where(p < threshold, p, 1.0 - p) for p in planes)


def augment(planes: Planes, d: Draws, recipe: recipes.Recipe,
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
