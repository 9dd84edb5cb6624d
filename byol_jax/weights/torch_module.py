"""A ResNet encoder in PyTorch, for the arrays of model.safetensors beside this file.

  import byol_resnet                # this file; it needs torch and safetensors alone
  encoder = byol_resnet.load('DIR')           # the folder of the two files
  features = encoder(images)                  # normalized [N, 3, H, W] -> [N, D]

byol_jax wrote it, as neither torchvision nor timm has this network. Apache-2.0.
"""

import json
import os

import safetensors.torch
import torch
from torch import nn
from torch.nn import functional


def _pad(x, kernel, stride, value=0.0):
  """Pads as TensorFlow's SAME does: the odd pixel behind."""
  pads = []
  for size in (x.shape[3], x.shape[2]):
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    pads += [total // 2, total - total // 2]
  return functional.pad(x, pads, value=value)


class Conv(nn.Conv2d):
  """A convolution without bias; `same` pads as TensorFlow does."""

  def __init__(self, inputs, outputs, kernel, stride, same):
    super().__init__(inputs, outputs, kernel, stride, 0 if same else kernel // 2,
                     bias=False)
    self.same = same

  def forward(self, x):
    return super().forward(
        _pad(x, self.kernel_size[0], self.stride[0]) if self.same else x)


class Block(nn.Module):
  """A residual block: 3x3, 3x3, or 1x1, 3x3, 1x1 with the stride on the 3x3."""

  def __init__(self, inputs, channels, stride, bottleneck, project, same, eps):
    super().__init__()
    inner = channels // 4 if bottleneck else channels
    shapes = [(inputs, inner, 3, stride), (inner, channels, 3, 1)]
    if bottleneck:
      shapes = [(inputs, inner, 1, 1), (inner, inner, 3, stride),
                (inner, channels, 1, 1)]
    self.count = len(shapes)
    for i, shape in enumerate(shapes, 1):
      self.add_module(f'conv{i}', Conv(*shape, same))
      self.add_module(f'bn{i}', nn.BatchNorm2d(shape[1], eps))
    self.downsample = nn.Sequential(
        Conv(inputs, channels, 1, stride, same),
        nn.BatchNorm2d(channels, eps)) if project else nn.Identity()

  def forward(self, x):
    out = x
    for i in range(1, self.count + 1):
      out = getattr(self, f'bn{i}')(getattr(self, f'conv{i}')(out))
      if i < self.count:
        out = out.relu()
    return (out + self.downsample(x)).relu()


class ResNet(nn.Module):
  """The encoder; its arrays have torchvision's names; `fc` is the head, if any."""

  def __init__(self, blocks, channels, bottleneck, stem_channels, kernel, stride,
               max_pool, same, eps, embedding=0):
    super().__init__()
    self.max_pool, self.same = max_pool, same
    self.conv1 = Conv(3, stem_channels, kernel, stride, same)
    self.bn1 = nn.BatchNorm2d(stem_channels, eps)
    inputs, self.groups = stem_channels, len(blocks)
    for group, (count, outputs) in enumerate(zip(blocks, channels), 1):
      layers = []
      for block in range(count):
        first = block == 0
        layers.append(Block(
            inputs, outputs, 2 if first and group > 1 else 1, bottleneck,
            first and (group > 1 or bottleneck or same), same, eps))
        inputs = outputs
      self.add_module(f'layer{group}', nn.Sequential(*layers))
    self.fc = nn.Linear(inputs, embedding) if embedding else nn.Identity()

  def forward(self, images):
    x = self.bn1(self.conv1(images)).relu()
    if self.max_pool and self.same:
      x = functional.max_pool2d(_pad(x, 3, 2, -torch.inf), 3, 2)
    elif self.max_pool:
      x = functional.max_pool2d(x, 3, 2, 1)
    for group in range(1, self.groups + 1):
      x = getattr(self, f'layer{group}')(x)
    return self.fc(x.mean((2, 3)))


def load(folder):
  """Returns the encoder of a folder, in evaluation mode."""
  with open(os.path.join(folder, 'config.json'), encoding='utf-8') as f:
    encoder = ResNet(**json.load(f)['byol_resnet'])
  encoder.load_state_dict(
      safetensors.torch.load_file(os.path.join(folder, 'model.safetensors')))
  return encoder.eval()
