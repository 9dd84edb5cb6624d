"""The projector and the predictor: two-layer perceptrons (paper, section 3.3)."""

from __future__ import annotations

import haiku as hk
import jax

from byol_jax.networks.resnet import NormFactory


class MLP(hk.Module):
  """A perceptron: linear, batch normalization, ReLU, linear without bias or norm."""

  def __init__(self, hidden_size: int, output_size: int, *, norm: NormFactory,
               name: str):
    super().__init__(name=name)
    self._hidden_size = hidden_size
    self._output_size = output_size
    self._norm = norm

  def __call__(self, x: jax.Array, is_training: bool,
               views: int = 1) -> jax.Array:
    """Maps [views * n, D] to [views * n, output_size]."""
    x = hk.Linear(self._hidden_size)(x)
    x = jax.nn.relu(self._norm(name='batch_norm')(x, is_training, views))
    return hk.Linear(self._output_size, with_bias=False)(x)
