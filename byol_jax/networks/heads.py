"""The projector and the predictor: perceptrons, in the form that a method wants."""

from __future__ import annotations

import haiku as hk
import jax

from byol_jax.networks.architectures import Perceptron
from byol_jax.networks.resnet import NormFactory


class MLP(hk.Module):
  """A perceptron: its form says how many layers, where biases and norms are."""

  def __init__(self, form: Perceptron, hidden_size: int, output_size: int, *,
               norm: NormFactory, name: str):
    super().__init__(name=name)
    self._form = form
    self._sizes = [hidden_size] * (form.layers - 1) + [output_size]
    self._norm = norm

  def __call__(self, x: jax.Array, is_training: bool,
               views: int = 1) -> jax.Array:
    """Maps [views * n, D] to [views * n, output_size]."""
    form = self._form
    w_init = form.weight_std and hk.initializers.RandomNormal(form.weight_std)
    for size in self._sizes[:-1]:
      x = hk.Linear(size, with_bias=form.hidden_bias, w_init=w_init)(x)
      if form.hidden_norm:
        x = self._norm(name='batch_norm')(x, is_training, views)
      x = jax.nn.relu(x)
    x = hk.Linear(self._sizes[-1], with_bias=form.output_bias, w_init=w_init)(x)
    if form.output_norm != 'none':
      x = self._norm(name='batch_norm', create_offset=False,
                     create_scale=form.output_norm == 'scale')(x, is_training, views)
    return x


class Jigsaw(hk.Module):
  """InfoMin's head for the tiles of a jigsaw: a perceptron a tile, then a layer.

  Tian et al. 2020 (arXiv:2005.10243) with PIRL's head (arXiv:1912.01991): 2048-2048-128
  for each of the nine tiles, and a linear layer from the nine outputs to 128.
  """

  def __init__(self, form: Perceptron, hidden_size: int, output_size: int, *,
               norm: NormFactory, name: str = 'jigsaw'):
    super().__init__(name=name)
    self._form, self._norm = form, norm
    self._hidden_size, self._output_size = hidden_size, output_size

  def __call__(self, x: jax.Array, is_training: bool, tiles: int) -> jax.Array:
    """Maps [n * tiles, D], the tiles of an image one after another, to [n, size]."""
    x = MLP(self._form, self._hidden_size, self._output_size, norm=self._norm,
            name='tile')(x, is_training)
    return hk.Linear(self._output_size)(x.reshape(-1, tiles * self._output_size))
