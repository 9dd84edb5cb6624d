"""Encoders without training, for the ways in and out."""

import numpy as np
import pytest

from byol_jax.config import keys as keys_lib
from byol_jax.networks import architectures
from byol_jax.training import build
from byol_jax.weights import load as weights_lib


@pytest.fixture(name='made')
def _made(monkeypatch):
  """Makes encoders with random arrays, running statistics and affine layers."""
  def make(bottleneck=False, stem='small', padding='torch', width=1, name='resnet8',
           embedding=0):
    if name == 'resnet8':
      monkeypatch.setitem(
          architectures.ARCHITECTURES, name, architectures.Architecture(
              (1, 1), bottleneck, (16, 32), 16))
    config = keys_lib.base().unlock()
    config.network.update(name=name, stem=stem, padding=padding, width=width,
                          precision='float32', embedding=embedding)
    config.data.update(image_size=24 if name == 'resnet8' else 64, eval_image_size=0, center_share=0.875)
    rng = np.random.default_rng(0)
    def drawn(leaf, like):
      shape = like.shape
      if leaf == 'w':
        fan_in = np.prod(shape[:-1])
        return (rng.normal(size=shape) * np.sqrt(2 / fan_in)).astype(np.float32)
      if leaf == 'counter':
        return np.asarray(7, like.dtype)
      low, high = (-0.2, 0.2) if leaf == 'offset' else (0.5, 1.5)
      return rng.uniform(low, high, shape).astype(np.float32)
    params, state = ({module: {leaf: drawn(leaf, like) for leaf, like in leaves.items()}
                      for module, leaves in tree.items()}
                     for tree in build.encoder_shapes(config))
    for module, leaves in state.items():
      if module.endswith('/mean_ema'):
        leaves['average'] -= np.float32(1)
      leaves['hidden'] = leaves['average'] * np.float32(1 - 0.9**7)
    return weights_lib.Weights(config.lock(), params, state, 'online', 7, 'RUN', '0123')
  return make
