"""BYOL: predict how a slowly moving copy of the network projects another view.

Grill et al. 2020 (arXiv:2006.07733), section 3.1 and algorithm 1. Two networks see
both views v and v' of each image:

  online:  y = f(v)    z = g(y)     p = q(z)      encoder, projector, predictor
  target:  y' = f'(v') z' = g'(y')                no gradient, no predictor

The online network learns by gradient descent on the loss, the target follows as a
moving average: xi <- tau xi + (1 - tau) theta (equation 1), with the new theta.
There are no negatives; predictor and moving average keep the outputs from
collapsing (table 5b).
"""

from __future__ import annotations

import jax

from byol_jax.methods import losses
from byol_jax.methods import method


def loss(outputs: method.Pass, carried: method.Carried,
         axis_name: str | None) -> tuple[jax.Array, method.Metrics]:
  """Computes ||n(p) - n(z')||^2 in both directions (equation 2, and below it).

  Args:
    outputs: both networks' outputs for both views.
    carried: {}.
    axis_name: unused, since no example meets another one.

  Returns:
    The sum of both directions, the mean over this device's examples, in [0, 8].
  """
  del carried, axis_name
  p1, p2 = outputs.online.prediction
  z1, z2 = outputs.target.projection
  return losses.byol_loss(p1, p2, z1, z2), {}


def make() -> method.Method:
  """Returns BYOL."""
  return method.Method(
      title='BYOL', online_views=(0, 1), target_views=(0, 1),
      joint_statistics=False, loss=loss, meaning=method.Meaning(0.0, 8.0),
      follow=method.moving_average)
