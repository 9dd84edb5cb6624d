"""ResNet encoders (He et al. 2015; v1.5: stride on the 3x3 convolution)."""

from __future__ import annotations

from collections.abc import Callable
import functools

import haiku as hk
import jax
import jax.numpy as jnp

from byol_jax.networks import architectures

# Makes a norm layer: (name, scale_init) -> layer(x, is_training, views).
NormFactory = Callable[..., Callable[[jax.Array, bool, int], jax.Array]]


def _conv(channels: int, kernel: int, stride: int, padding: str, name: str):
  """Makes a convolution without bias; `padding` as in `ResNet`."""
  return hk.Conv2D(
      channels, kernel, stride=stride, with_bias=False, name=name,
      padding='SAME' if padding == 'same' else [(kernel // 2,) * 2] * 2)


def _max_pool(x: jax.Array, padding: str) -> jax.Array:
  """Pools by the maximum, 3x3 with stride 2, in the form that each platform does best.

  If several values are the largest of a window, a TPU gives the gradient to the first
  of them; other platforms share it out.
  """
  pads = [(0, 0)] * x.ndim
  for axis in (1, 2):
    size = x.shape[axis]
    out = -(-size // 2)
    before = (2 * (out - 1) + 3 - size) // 2 if padding == 'same' else 1
    pads[axis] = (before, 2 * (out - 1) + 3 - size - before)
  return jax.lax.platform_dependent(
      x, tpu=functools.partial(_max_pool_windows, pads=pads),
      default=functools.partial(_max_pool_slices, pads=pads))


def _max_pool_windows(x: jax.Array, pads) -> jax.Array:
  """Reduces windows. On a TPU the slices would move 1.3 GB a step more."""
  return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1),
                               (1, 2, 2, 1), pads)


def _max_pool_slices(x: jax.Array, pads) -> jax.Array:
  """Takes the maximum of shifted slices, rows then columns.

  The gradient of a windowed reduction carries the index of every maximum through
  memory on a CPU.
  """
  for axis in (1, 2):
    before, after = pads[axis]
    padded = jnp.pad(x, [(before, after) if i == axis else (0, 0)
                         for i in range(x.ndim)], constant_values=-jnp.inf)
    end = padded.shape[axis] - 2
    x = functools.reduce(jnp.maximum, (
        jax.lax.slice_in_dim(padded, i, i + end, 2, axis) for i in range(3)))
  return x


class Block(hk.Module):
  """A residual block: basic (3x3, 3x3) or bottleneck (1x1, 3x3, 1x1)."""

  def __init__(self, channels: int, stride: int, *, bottleneck: bool,
               project: bool, padding: str, last_gamma: float,
               norm: NormFactory, name: str):
    super().__init__(name=name)
    if bottleneck:
      shapes = ((channels // 4, 1, 1), (channels // 4, 3, stride),
                (channels, 1, 1))
    else:
      shapes = ((channels, 3, stride), (channels, 3, 1))
    last = len(shapes) - 1
    self._layers = tuple(
        (_conv(c, kernel, s, padding, f'conv_{i}'),
         norm(name=f'batchnorm_{i}',
              scale_init=hk.initializers.Constant(last_gamma)
              if i == last else None))
        for i, (c, kernel, s) in enumerate(shapes))
    self._shortcut = None
    if project:
      self._shortcut = (_conv(channels, 1, stride, padding, 'shortcut_conv'),
                        norm(name='shortcut_batchnorm'))

  def __call__(self, x: jax.Array, is_training: bool, views: int) -> jax.Array:
    out = shortcut = x
    if self._shortcut is not None:
      conv, norm = self._shortcut
      shortcut = norm(conv(x), is_training, views)
    for i, (conv, norm) in enumerate(self._layers):
      out = norm(conv(out), is_training, views)
      if i < len(self._layers) - 1:
        out = jax.nn.relu(out)
    return jax.nn.relu(out + shortcut)


class BlockGroup(hk.Module):
  """The blocks of one resolution; the first one strides and may project."""

  def __init__(self, channels: int, num_blocks: int, stride: int,
               project: bool, make_block, name: str):
    super().__init__(name=name)
    self._blocks = tuple(
        make_block(channels, stride if i == 0 else 1,
                   project=project and i == 0, name=f'block_{i}')
        for i in range(num_blocks))

  def __call__(self, x: jax.Array, is_training: bool, views: int) -> jax.Array:
    for block in self._blocks:
      x = block(x, is_training, views)
    return x


EMBEDDING = 'encoder/~/embedding'  # the module of the linear layer


class ResNet(hk.Module):
  """A ResNet without classifier: turns images into mean-pooled features.

  A linear layer may follow, which task=finetune_pairs makes: its outputs are the
  features then.
  """

  def __init__(
      self,
      architecture: architectures.Architecture,
      *,
      norm: NormFactory,
      width: float = 1,
      stem: str = 'imagenet',
      padding: str = 'torch',
      last_gamma: float = 1.0,
      embedding: int = 0,
      name: str = 'encoder',
  ):
    """Builds the encoder.

    Args:
      architecture: an entry of `architectures.ARCHITECTURES`.
      norm: makes the normalization layers.
      width: multiplies the channels of every layer, the stem included
        (paper, section 3.3; torchvision's wide ResNets are other networks).
      stem: a key of `architectures.STEMS`.
      padding: 'torch': symmetric, so that weights are exchanged with
        torchvision and timm unchanged; 'same': as in DeepMind's networks,
        asymmetric at stride 2, and basic blocks project the first shortcut.
      last_gamma: initial scale of the last normalization of each block: 1 in
        the paper, 0 in DeepMind's public code (bottleneck blocks only there).
      embedding: outputs of a linear layer behind the mean; 0: there is none.
      name: the module's name.
    """
    super().__init__(name=name)
    self._padding = padding
    self._stem = architectures.STEMS[stem]
    self._initial_conv = _conv(
        round(architecture.stem_channels * width), self._stem.kernel,
        self._stem.stride, padding, 'initial_conv')
    self._initial_norm = norm(name='initial_batchnorm')
    make_block = functools.partial(
        Block, bottleneck=architecture.bottleneck, padding=padding,
        last_gamma=last_gamma, norm=norm)
    self._groups = tuple(
        BlockGroup(
            round(channels * width), num_blocks, 1 if i == 0 else 2,
            project=i > 0 or architecture.bottleneck or padding == 'same',
            make_block=make_block, name=f'block_group_{i}')
        for i, (channels, num_blocks) in enumerate(
            zip(architecture.channels, architecture.blocks)))
    self._embedding = hk.Linear(embedding, name='embedding') if embedding else None

  def __call__(self, images: jax.Array, is_training: bool,
               views: int = 1) -> jax.Array:
    """Encodes images.

    Args:
      images: [views * n, H, W, C], normalized.
      is_training: whether batch normalization uses the batch's statistics.
      views: how many views the batch holds (see `norm.BatchNorm`).

    Returns:
      Features [views * n, D] in float32 (or wider): the mean over space, or what the
      linear layer makes of it.
    """
    x = self._initial_conv(images)
    x = jax.nn.relu(self._initial_norm(x, is_training, views))
    if self._stem.max_pool:
      x = _max_pool(x, self._padding)
    for group in self._groups:
      x = group(x, is_training, views)
    features = jnp.mean(x, (1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))
    if self._embedding is None:
      return features
    return self._embedding(features, precision=jax.lax.Precision.HIGHEST)
