"""All random numbers of a view: one key an image, whoever computes it.

The key is that of (seed, step, global example index, view), so draws are the same
whatever the number of hosts and devices.
"""

from __future__ import annotations

from typing import NamedTuple

import jax

# What `further` draws are for; far from the 18 counters of `of_view`.
RANDAUGMENT, CROP, TILES = 1001, 1002, 1003
NO_VIEW = 2**31 - 1  # draws of an image that belong to none of its views


class Draws(NamedTuple):
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


def of_view(key: jax.Array, step: jax.Array, examples: jax.Array,
            view: int) -> Draws:
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
  return Draws(
      crop=u[:, 0:4], order=u[:, 4:8], strength=u[:, 8:12], flip=u[:, 12],
      jitter=u[:, 13], grayscale=u[:, 14], blur=u[:, 15], sigma=u[:, 16],
      solarize=u[:, 17])


def further(key: jax.Array, step: jax.Array, examples: jax.Array, view: int,
            purpose: int, count: int) -> jax.Array:
  """Draws random numbers that only some recipes need.

  Args:
    key: as for `of_view`, and so are `step` and `examples`.
    view: 0, 1 or NO_VIEW.
    purpose: one of RANDAUGMENT, CROP, TILES. They and `of_view` are independent.
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
  """Draws a number in [0, 1) for each example; arguments as for `of_view`."""
  key = jax.random.fold_in(key, step)
  def of_example(example):
    return jax.random.uniform(
        jax.random.fold_in(jax.random.fold_in(key, example), NO_VIEW))
  return jax.vmap(of_example)(examples)
