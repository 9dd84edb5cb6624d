"""ResNets, stems and heads by name, for configs: importing them costs nothing."""

from __future__ import annotations

from typing import NamedTuple


class Architecture(NamedTuple):
  """The sizes of one ResNet."""
  blocks: tuple[int, ...]    # blocks in each group
  bottleneck: bool
  channels: tuple[int, ...]  # outputs of each group
  stem_channels: int = 64
_BASIC = (64, 128, 256, 512)
_BOTTLENECK = (256, 512, 1024, 2048)
# 18 to 152: He et al. 2015, table 1; 200: He et al. 2016. 8, 14 and 20: the
# three-group networks for CIFAR-10 (He et al. 2015, section 4.2). 10: ResNet-18
# with one block a group. The small ones are for small images and machines.
ARCHITECTURES = {
    'resnet8': Architecture((1, 1, 1), False, (16, 32, 64), 16),
    'resnet14': Architecture((2, 2, 2), False, (16, 32, 64), 16),
    'resnet20': Architecture((3, 3, 3), False, (16, 32, 64), 16),
    'resnet10': Architecture((1, 1, 1, 1), False, _BASIC),
    'resnet18': Architecture((2, 2, 2, 2), False, _BASIC),
    'resnet34': Architecture((3, 4, 6, 3), False, _BASIC),
    'resnet50': Architecture((3, 4, 6, 3), True, _BOTTLENECK),
    'resnet101': Architecture((3, 4, 23, 3), True, _BOTTLENECK),
    'resnet152': Architecture((3, 8, 36, 3), True, _BOTTLENECK),
    'resnet200': Architecture((3, 24, 36, 3), True, _BOTTLENECK),
}


class Stem(NamedTuple):
  """The first convolution, and whether max-pooling follows."""
  kernel: int
  stride: int
  max_pool: bool
STEMS = {
    'imagenet': Stem(7, 2, True),
    'small': Stem(3, 1, False),  # for images of up to about 64 pixels
    'half': Stem(3, 2, False),   # the same at a quarter of the cost
}


def minimum_image_size(architecture: Architecture, stem: str) -> int:
  """Returns the smallest image side that leaves a pixel to every stride."""
  first = STEMS[stem].stride * (2 if STEMS[stem].max_pool else 1)
  return first * 2 ** (len(architecture.blocks) - 1)


class Perceptron(NamedTuple):
  """The form of a projector or a predictor; ReLUs stand between its layers."""
  layers: int = 2
  hidden_bias: bool = True
  hidden_norm: bool = True     # batch normalization before each ReLU
  output_bias: bool = False
  output_norm: str = 'none'    # 'scale': without an offset; 'plain': without both
  weight_std: float | None = None  # of new weights; None: 1 / sqrt(inputs)


class Heads(NamedTuple):
  """The heads of a method; a predictor of None is the identity."""
  projector: Perceptron
  predictor: Perceptron | None
# byol: Grill et al. 2020, section 3.3. simclr: Chen et al. 2020's code, the head of
# SimCLR v2, of three layers (version 1's paper has two); its dense layers start at
# N(0, 0.01). moco: Chen, Fan et al. 2020. simsiam: Chen and He 2020, section 3.
HEADS = {
    'byol': Heads(Perceptron(), Perceptron()),
    'simclr': Heads(Perceptron(layers=3, hidden_bias=False, output_norm='scale',
                               weight_std=0.01), None),
    'moco': Heads(Perceptron(hidden_norm=False, output_bias=True), None),
    'simsiam': Heads(
        Perceptron(layers=3, hidden_bias=False, output_norm='plain'),
        Perceptron(hidden_bias=False, output_bias=True)),
}
