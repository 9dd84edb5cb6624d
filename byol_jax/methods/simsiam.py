"""SimSiam: predict how the same network projects another view, without gradient.

Chen and He 2020 (arXiv:2011.10566), section 3 and algorithm 1. One network sees both
views; each prediction is compared with the other view's projection as it is:

  y = f(v)   z = g(y)   p = q(z)                  encoder, projector, predictor

  L = -(cos(p, stop(z')) + cos(p', stop(z))) / 2                  (equation 4)

Without the stopped gradient (section 4.1) or the predictor (4.2) it collapses. The
paper keeps the predictor's learning rate constant (`train.predictor_schedule`).
"""

from __future__ import annotations

import jax

from byol_jax.methods import losses
from byol_jax.methods import method


def make(settings: method.Settings = method.DEFAULTS) -> method.Method:
  """Returns SimSiam, which reads no settings."""
  del settings

  def loss(outputs: method.Pass, carried: method.Carried,
           axis_name: str | None) -> tuple[jax.Array, method.Metrics]:
    """Computes the mean of both directions' negative cosines, in [-1, 1]."""
    del carried, axis_name
    p1, p2 = outputs.online.prediction
    z1, z2 = outputs.online.projection
    # each ||n(p) - n(z)||^2 is 2 - 2 cos: their sum is 4 + 4 L
    return (losses.byol_loss(p1, p2, z1, z2) - 4) / 4, {}

  return method.Method(
      title='SimSiam', online_views=(0, 1), target_views=(), joint_statistics=False,
      loss=loss, meaning=method.Meaning(-1.0, 1.0))
