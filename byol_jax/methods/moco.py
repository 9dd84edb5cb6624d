"""MoCo v2, and InfoMin: find an image's other view among the keys of a queue.

He et al. 2019 (arXiv:1911.05722), algorithm 1; Chen, Fan et al. 2020
(arXiv:2003.04297). The online network makes queries of view v, the target network
keys of view v':

  q = n(g(f(v)))    k = n(g'(f'(v')))             no gradient through k

  L = -log(exp(q.k / T) / (exp(q.k / T) + sum_j exp(q.queue_j / T)))

The queue holds the last K keys, so that negatives do not depend on the batch. The
target follows as a moving average (equation 2): the original averages before the
forward pass, we after the optimizer, which makes the same keys. `symmetric` makes
each view a query once, against the same queue (their CIFAR-10 notebook).

InfoMin (Tian et al. 2020, arXiv:2005.10243) adds a jigsaw: the same key is to be found
from nine tiles of a third crop, L <- (1 - w) L + w L_jigsaw.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from byol_jax.methods import losses
from byol_jax.methods import method
from byol_jax.methods import names as method_names


def make(settings: method.Settings = method.DEFAULTS) -> method.Method:
  """Returns MoCo v2.

  Args:
    settings: `queue`, `projection_size`, `temperature`, `symmetric`, `jigsaw`,
      `shuffle`.
  """
  size, temperature, weight = settings.queue, settings.temperature, settings.jigsaw
  views = (0, 1) if settings.symmetric else (0,)
  key_views = (1, 0) if settings.symmetric else (1,)

  def init(key: jax.Array) -> method.Carried:
    """Draws a queue of random unit rows; `pointer` is the row that is written next."""
    rows = jax.random.normal(key, (size, settings.projection_size))
    return {'queue': losses.l2_normalize(rows), 'pointer': jnp.zeros((), jnp.int32)}

  def loss(outputs: method.Pass, carried: method.Carried,
           axis_name: str | None) -> tuple[jax.Array, method.Metrics]:
    """Computes the loss of each query against its key; the sum if symmetric."""
    del axis_name  # the queue is the same on all devices
    keys = losses.l2_normalize(outputs.target.projection)  # [V, n, P], as key_views
    total, hits = 0.0, []
    for query, key in zip(outputs.online.projection, keys):
      value, top1 = losses.queue_loss(
          losses.l2_normalize(query), key, carried['queue'], temperature)
      hits.append(top1)
      if weight:
        tiles = losses.l2_normalize(outputs.online.jigsaw)
        solved, _ = losses.queue_loss(tiles, key, carried['queue'], temperature)
        value = (1 - weight) * value + weight * solved
      total += value
    return total, {'contrast_top1': 100 * sum(hits) / len(hits)}

  def advance(outputs: method.Pass, carried: method.Carried,
              axis_name: str | None) -> method.Carried:
    """Writes the keys of all devices over the oldest ones, view by view."""
    queue, pointer = carried['queue'], carried['pointer']
    keys = losses.l2_normalize(outputs.target.projection)
    keys = jnp.concatenate([losses.gather(x, axis_name) for x in keys[::-1]])
    queue = jax.lax.dynamic_update_slice_in_dim(
        queue, keys.astype(queue.dtype), pointer, axis=0)
    return {'queue': queue, 'pointer': (pointer + len(keys)) % size}

  return method.Method(
      title=method_names.title('infomin' if weight else 'moco'), online_views=views,
      target_views=key_views, joint_statistics=False, loss=loss, init=init,
      advance=advance, tiles=weight > 0, shuffled=settings.shuffle,
      meaning=method.Meaning(0.0, chance=len(views) * math.log(size + 1)),
      note='it starts low and rises while the queue fills with keys of images')
