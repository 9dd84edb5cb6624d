"""BYOL: predict how a slowly moving copy of the network projects another view.

Grill et al. 2020 (arXiv:2006.07733), section 3.1 and algorithm 1. Two networks see
both views v and v' of each image:

  online:  y = f(v)    z = g(y)     p = q(z)      encoder, projector, predictor
  target:  y' = f'(v') z' = g'(y')                no gradient, no predictor

The online network learns by gradient descent on the loss, the target follows as a
moving average: xi <- tau xi + (1 - tau) theta (equation 1), with the new theta.
There are no negatives; predictor and moving average keep the outputs from
collapsing (table 5b).

Section 5 and appendix F.4 go from here to SimCLR by parts, each a setting: `beta`
brings negatives in, `target` says what the prediction is compared with. Without a
predictor (`network.predictor`) p is z. These are the rows of tables 5b, 18 and 19.
Appendix I has p = z Q with the linear map Q that is best for the batch.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from byol_jax.methods import losses
from byol_jax.methods import method


def make(settings: method.Settings = method.DEFAULTS) -> method.Method:
  """Returns BYOL.

  Args:
    settings: `target`, `beta`, `temperature`, `optimal_predictor`, and the `examples`
      of a sub-batch.
  """
  beta, temperature = settings.beta, settings.temperature

  def loss(outputs: method.Pass, carried: method.Carried,
           axis_name: str | None) -> tuple[jax.Array, method.Metrics]:
    """Computes ||n(p) - n(z')||^2 in both directions (equation 2, and below it).

    Args:
      outputs: both networks' outputs for both views.
      carried: {}.
      axis_name: the mapped axis of what looks at the whole batch, negatives and Q.

    Returns:
      The sum of both directions, the mean over this device's examples; in [0, 8]
      with beta = 0.
    """
    del carried
    p1, p2 = outputs.online.prediction
    if settings.target == 'ema':
      z1, z2 = outputs.target.projection
    else:
      z1, z2 = outputs.online.projection
    if settings.target != 'online':
      z1, z2 = jax.lax.stop_gradient((z1, z2))
    if settings.optimal_predictor:
      p1, p2 = losses.best_linear(p1, p2, z2, z1, axis_name)
    if beta == 0:
      return jnp.mean(losses.regression_loss(p1, z2)
                      + losses.regression_loss(p2, z1)), {}
    value, top1 = losses.infonce_loss(p1, p2, z1, z2, temperature=temperature,
                                      beta=beta, axis_name=axis_name)
    return value, {'contrast_top1': 100 * top1}

  # by chance cosines are 0: 4, and the logarithm of 2 N - 1 ones in each direction
  chance = 4 + 4 * beta * temperature * math.log(max(2 * settings.examples - 1, 1))
  return method.Method(
      title='BYOL', online_views=(0, 1),
      target_views=(0, 1) if settings.target == 'ema' else (),
      joint_statistics=False, loss=loss,
      meaning=(method.Meaning(0.0, 8.0) if beta == 0 else
               method.Meaning(0.0, chance=chance)),
      follow=method.moving_average)
