"""The networks by name: depths as published, and the smallest images for each."""

import pathlib
import subprocess
import sys

import pytest

from byol_jax.networks import architectures

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize('name', architectures.ARCHITECTURES)
def test_a_name_counts_the_layers(name):
  """He et al.: the first convolution, those of the blocks, and the classifier."""
  one = architectures.ARCHITECTURES[name]
  each = 3 if one.bottleneck else 2
  assert int(name.removeprefix('resnet')) == 1 + each * sum(one.blocks) + 1
  assert len(one.blocks) == len(one.channels)
  # each group has twice the channels of the one before
  assert all(b == 2 * a for a, b in zip(one.channels, one.channels[1:]))
  assert one.channels[0] == one.stem_channels * (4 if one.bottleneck else 1)


@pytest.mark.parametrize('name, stem, side', [
    ('resnet50', 'imagenet', 32), ('resnet18', 'small', 8), ('resnet18', 'half', 16),
    ('resnet20', 'small', 4), ('resnet20', 'imagenet', 16)])
def test_the_smallest_images(name, stem, side):
  """A side that the strides divide down to one pixel, and not to less."""
  one = architectures.ARCHITECTURES[name]
  assert architectures.minimum_image_size(one, stem) == side
  pixels = side // architectures.STEMS[stem].stride
  pixels //= 2 if architectures.STEMS[stem].max_pool else 1
  for _ in one.blocks[1:]:  # every group but the first one halves
    pixels /= 2
  assert pixels == 1


def test_the_names_cost_nothing():
  """--help lists them."""
  done = subprocess.run(
      [sys.executable, '-c', 'import sys\n'
       'from byol_jax.networks import architectures\n'
       'print(sorted({"jax", "haiku", "numpy"} & set(sys.modules)))'],
      text=True, capture_output=True, timeout=60, cwd=ROOT)
  assert done.stdout == '[]\n', done
