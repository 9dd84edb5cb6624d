"""Random crops on the device, resized as TensorFlow does (appendix B)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from byol_jax.data.images import crops
from byol_jax.views.planes import Planes
from byol_jax.views.planes import separable


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
  planes = [jnp.clip(separable(rows, plane, columns), 0.0, 1.0)
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
