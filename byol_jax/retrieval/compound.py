"""Pairs and BYOL together: both losses on the same views of the same images.

An anchor and a positive have two views each. BYOL's loss compares the views of an
image, that of pairs the first view of an anchor with the second of its positive.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from byol_jax.methods import losses
from byol_jax.methods import method
from byol_jax.networks.model import Model
from byol_jax.training import supervised
from byol_jax.views import make as views_lib


class Compound(NamedTuple):
  """BYOL beside the pairs.

  Attributes:
    weight: of BYOL's loss, which is 0 to 8.
    tau: the target's memory, constant.
    networks: ((online params, online state), (target params, target state)) of the
      run, with their heads.
    spec: how a run makes its two views; of the size of evaluated images.
  """
  weight: float
  tau: float
  networks: Any
  spec: views_lib.ViewSpec

  def start(self) -> tuple[Any, Any]:
    """Returns (params, statistics) for a `trainer.Trainer`.

    What does not learn by gradients travels as statistics: also the target.
    """
    (params, state), target = self.networks
    return params, {'online': state, 'target': target}

  def wrapped(self, model: Model) -> Model:
    """Returns a model whose encoder makes features of pairs, and BYOL's loss."""
    def encode(params, statistics, images, is_training):
      del is_training  # BYOL needs the statistics of the batch
      # [view 1 of anchors, of positives, view 2 of anchors, of positives]
      online, state = model.online.apply(
          params, statistics['online'], images, True, 2)
      target_params, target_state = statistics['target']
      target, target_state = model.target.apply(
          target_params, target_state, images, True, 2)
      loss = losses.byol_loss(*jnp.split(online.prediction, 2),
                              *jnp.split(target.projection, 2))
      # before the optimizer, one step later than in pretraining: a pass returns
      # statistics, and the target is one of them
      target_params = method.moving_average(
          target_params, {module: jax.lax.stop_gradient(params[module])
                          for module in target_params}, jnp.float32(1 - self.tau))
      anchor, _, _, positive = jnp.split(online.features, 4)
      return ({'pairs': jnp.concatenate([anchor, positive]), 'byol': loss},
              {'online': state, 'target': (target_params, target_state)})
    return model._replace(encoder=model.encoder._replace(apply=encode))

  def loss(self, of_pairs: supervised.Loss) -> supervised.Loss:
    """Returns the sum of a loss of pairs and BYOL's."""
    def loss(head, features, targets):
      return (of_pairs(head, features['pairs'], targets)
              + self.weight * features['byol'])
    return loss
