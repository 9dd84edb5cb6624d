"""SimCLR: find an image's other view among all views of the batch.

Chen et al. 2020 (arXiv:2002.05709), section 2.1 and algorithm 1; constants as in the
authors' code. One network sees both views, and no other:

  y = f(v)   z = g(y)                             encoder, projector

  l(i, j) = -log(exp(cos(z_i, z_j) / T) / sum_{k != i} exp(cos(z_i, z_k) / T))

over the 2 N views of a batch, of all devices together (equation 1). The negatives
keep the outputs from collapsing, so large batches help (figure 9). Accumulation does
not enlarge them: each sub-batch is a batch of its own. Batch normalization takes its
statistics over both views together.
"""

from __future__ import annotations

import math

import jax

from byol_jax.methods import losses
from byol_jax.methods import method


def make(settings: method.Settings = method.DEFAULTS) -> method.Method:
  """Returns SimCLR.

  Args:
    settings: `temperature`, and the `examples` of a sub-batch.
  """
  def loss(outputs: method.Pass, carried: method.Carried,
           axis_name: str | None) -> tuple[jax.Array, method.Metrics]:
    """Computes NT-Xent; see `losses.ntxent_loss`."""
    del carried
    value, top1 = losses.ntxent_loss(
        *outputs.online.projection, temperature=settings.temperature,
        axis_name=axis_name)
    return value, {'contrast_top1': 100 * top1}

  return method.Method(
      title='SimCLR', online_views=(0, 1), target_views=(), joint_statistics=True,
      loss=loss, meaning=method.Meaning(
          0.0, chance=2 * math.log(max(2 * settings.examples - 1, 1))))
