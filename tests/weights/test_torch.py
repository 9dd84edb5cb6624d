"""The names of an encoder's arrays in PyTorch: out, and in whoever wrote them."""

import re

import numpy as np
import pytest

from byol_jax.training import build
from byol_jax.weights import torch as torch_lib


def lightly(name):
  for pattern, new in ((r'^conv1\.', '0.'), (r'^bn1\.', '1.'),
                       (r'^layer(\d)\.', lambda found: f'{int(found[1]) + 3}.')):
    name = re.sub(pattern, new, name)
  return name


def transformers(name):
  for pattern, new in (
      (r'^conv1\.', 'embedder.embedder.convolution.'),
      (r'^bn1\.', 'embedder.embedder.normalization.'),
      (r'^layer(\d)\.', lambda x: f'encoder.stages.{int(x[1]) - 1}.layers.'),
      (r'\.downsample\.0\.', '.shortcut.convolution.'),
      (r'\.downsample\.1\.', '.shortcut.normalization.'),
      (r'\.conv(\d)\.', lambda x: f'.layer.{int(x[1]) - 1}.convolution.'),
      (r'\.bn(\d)\.', lambda x: f'.layer.{int(x[1]) - 1}.normalization.')):
    name = re.sub(pattern, new, name)
  return name


def same(trees, weights):
  for kind in ('params', 'state'):
    expected = getattr(weights, kind)
    assert trees[kind].keys() == expected.keys()
    for module, leaves in expected.items():
      for leaf, array in leaves.items():
        found = trees[kind][module][leaf]
        assert found.dtype == array.dtype
        np.testing.assert_allclose(found, array, rtol=1e-6)


@pytest.mark.parametrize('names, prefix', [
    (str, ''), (str, 'module.'), (str, 'module.encoder_q.'), (str, 'timm_model.'),
    (str, '_orig_mod.'), (str, 'student.backbone.'), (lightly, 'net.0.'),
    (torch_lib.v2_name, 'model.'), (lightly, 'backbone.'), (transformers, 'resnet.')])
@pytest.mark.parametrize('bottleneck', [False, True])
def test_there_and_back(made, bottleneck, names, prefix):
  weights = made(bottleneck=bottleneck, padding='same', width=0.5)
  arrays = torch_lib.to_torch(weights.params, weights.state)
  assert arrays['conv1.weight'].shape == (8, 3, 3, 3)
  counted = arrays['layer2.0.bn1.num_batches_tracked']
  assert counted.shape == () and counted.dtype == np.int64 and counted == 7
  theirs = {prefix + names(name): array for name, array in arrays.items()}
  theirs |= {f'{prefix}fc.weight': np.zeros((2, 2)), 'head.bias': np.zeros(2)}
  found, _, left = torch_lib.recognized(theirs)
  assert left == sorted([f'{prefix}fc.weight', 'head.bias'])
  assert torch_lib.network_of(found) == {
      'name': 'resnet8', 'width': 0.5, 'stem': 'small'}
  same(torch_lib.to_haiku(found, *build.encoder_shapes(weights.config), 0.9), weights)


def test_of_several_encoders_the_one_that_learns(made):
  weights = made()
  arrays = torch_lib.to_torch(weights.params, weights.state)
  def behind(*prefixes):
    return {prefix + name: array + k for k, prefix in enumerate(prefixes)
            for name, array in arrays.items()}
  both = behind('target_network.encoder.', 'online_network.encoder.')
  found = torch_lib.recognized(both)[0]
  assert found['bn1.weight'] is both['online_network.encoder.bn1.weight']
  with pytest.raises(torch_lib.Unfit, match="2 encoders, behind 'student.', 'teacher.'"):
    torch_lib.recognized(behind('student.', 'teacher.'))


def test_counters_that_nobody_counted(made):
  weights = made()
  arrays = torch_lib.to_torch(weights.params, weights.state)
  arrays = {name: array for name, array in arrays.items() if 'tracked' not in name}
  state = torch_lib.to_haiku(
      arrays, *build.encoder_shapes(weights.config), 0.9)['state']
  for leaves in state.values():
    assert leaves['counter'] == 1_000_000
    np.testing.assert_array_equal(leaves['hidden'], leaves['average'])


def test_what_is_no_encoder_of_ours(made):
  weights = made()
  arrays = torch_lib.to_torch(weights.params, weights.state)
  shapes = build.encoder_shapes(weights.config)
  for change, message in (
      ({'layer1.0.bn2.bias': None},
       r'layer1\.0\.bn2\.bias is missing there, of shape \(16,\) in the nearest'),
      ({'layer1.0.bn2.bias': np.zeros(3)}, r'bn2\.bias is of shape \(3,\) there'),
      ({'layer1.0.se.weight': np.zeros(3)}, r'it has layer1\.0\.se\.weight, which')):
    theirs = {name: array for name, array in (arrays | change).items()
              if array is not None}
    with pytest.raises(torch_lib.Unfit, match=message):
      torch_lib.to_haiku(theirs, *shapes, 0.9)
  for theirs, message in (
      ({}, 'first names are none'), ({'patch_embed.proj.weight': np.zeros(1)}, 'patch_embed'),
      ({'stem.conv1.weight': np.zeros(1), 'layer1.0.conv1.weight': np.zeros(1)},
       'holds no ResNet')):
    with pytest.raises(torch_lib.Unfit, match=message):
      torch_lib.recognized(theirs)
  for count in (-1, 0.5 - np.inf, np.nan):
    with pytest.raises(torch_lib.Unfit, match='that is no number of batches'):
      torch_lib.to_haiku(arrays | {'bn1.num_batches_tracked': np.array(count)}, *shapes,
                         0.9)
  with pytest.raises(torch_lib.Unfit, match=r'a ResNet of \(1, 1, 5\) blocks'):
    torch_lib.network_of(arrays | {'layer3.4.conv1.weight': np.zeros(1)})
  with pytest.raises(torch_lib.Unfit, match=r'first convolution .* \(16, 3, 5, 5\)'):
    torch_lib.network_of(arrays | {'conv1.weight': np.zeros((16, 3, 5, 5))})
