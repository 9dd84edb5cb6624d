"""Images as planes: three arrays [n, H, W], and what all operations on them share.

A minor dimension of three wastes most of a vector register, so colours lead.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

Planes = tuple[jax.Array, jax.Array, jax.Array]  # red, green, blue: [n, H, W]

GRAY_WEIGHTS = (0.2989, 0.5870, 0.1140)


def each(draw: jax.Array, x: jax.Array) -> jax.Array:
  """Reshapes [n] to [n, 1, 1], to go with planes."""
  return draw.reshape(-1, *(1,) * (x.ndim - 1))


def where(drawn: jax.Array, yes: Planes, no: Planes) -> Planes:
  """Chooses planes by image; drawn: bool [n]."""
  return tuple(jnp.where(each(drawn, n), y, n) for y, n in zip(yes, no))


def clip(planes: Planes) -> Planes:
  """Clips to [0, 1]."""
  return tuple(jnp.clip(p, 0.0, 1.0) for p in planes)


def gray(planes: Planes) -> jax.Array:
  """Computes 0.2989 r + 0.5870 g + 0.1140 b, [n, H, W]."""
  return sum(w * p for w, p in zip(GRAY_WEIGHTS, planes))


def blend(planes: Planes, base: Planes, factor: jax.Array) -> Planes:
  """Computes factor x + (1 - factor) base and clips to [0, 1].

  Where the factor is 1, an image within [0, 1] stays equal to the bit.

  Args:
    planes: [n, H, W].
    base: what a factor of 0 gives; may broadcast.
    factor: [n], also above 1.
  """
  return clip(tuple(each(factor, p) * p + (1.0 - each(factor, p)) * b
                    for p, b in zip(planes, base)))


def separable(rows: jax.Array, plane: jax.Array,
              columns: jax.Array) -> jax.Array:
  """Multiplies rows [n, h, H], plane [n, H, W], columns' [n, w, W]: [n, h, w]."""
  precision = jax.lax.Precision.HIGH  # bf16 or TF32 products would show
  half = jnp.einsum('nhi,nij->nhj', rows, plane, precision=precision)
  return jnp.einsum('nhj,nwj->nhw', half, columns, precision=precision)
