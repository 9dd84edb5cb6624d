"""A folder for timm, transformers and torchvision holds our encoder."""

import json
import os
import sys

import numpy as np
import pytest

from byol_jax.weights import agreement
from byol_jax.weights import load as weights_lib
from byol_jax.weights import timm_folder


def noise(weights):
  draw = np.random.default_rng(1).integers
  return agreement.sample(
      weights, [draw(0, 256, (40, 33, 3), np.uint8) for _ in range(3)], 'noise')


@pytest.mark.parametrize('name, width, stem, padding, expected', [
    ('resnet18', 1, 'imagenet', 'torch', ('resnet18', {}, 'resnet18')),
    ('resnet200', 1, 'imagenet', 'torch', ('resnet200', {}, '')),
    ('resnet50', 2, 'imagenet', 'torch', (
        'resnetv2_50', {'preact': False, 'width_factor': 2}, '')),
    ('resnet200', 3, 'imagenet', 'torch', (
        'resnetv2_50', {'preact': False, 'width_factor': 3, 'layers': [3, 24, 36, 3]},
        '')),
    ('resnet50', 1.5, 'imagenet', 'torch', None), ('resnet18', 2, 'imagenet', 'torch', None),
    ('resnet50', 1, 'small', 'torch', None), ('resnet50', 1, 'imagenet', 'same', None),
    ('resnet10', 1, 'imagenet', 'torch', None)])
def test_who_has_such_a_network(made, name, width, stem, padding, expected):
  config = made().config.copy_and_resolve_references().unlock()
  config.network.update(name=name, width=width, stem=stem, padding=padding)
  found = timm_folder.twin(config)
  assert found == (expected and timm_folder.Twin(*expected))
  config.network.bn_eps = 1e-3
  assert timm_folder.twin(config) is None


@pytest.mark.parametrize('embedding', [0, 5])
def test_a_folder_comes_back_as_it_was(made, tmp_path, embedding):
  weights = made(bottleneck=True, stem='half', padding='same', width=0.5,
                 embedding=embedding)
  names = timm_folder.write(weights, str(tmp_path / 'a'))
  assert sorted(names) == sorted(os.listdir(tmp_path / 'a')) and (
      timm_folder.CODE in names)
  again = weights_lib.load(str(tmp_path / 'a'), None)
  assert again.config == weights.config and again.step == 7 and not again.is_foreign
  for module, leaves in weights.params.items():
    for leaf, array in leaves.items():
      np.testing.assert_array_equal(again.params[module][leaf], array)
  assert again.describe() | {'weights': 'RUN', 'digest': '0123'} == weights.describe()
  data = bytearray((tmp_path / 'a/model.safetensors').read_bytes())
  data[-9] ^= 1
  (tmp_path / 'a/model.safetensors').write_bytes(data)
  with pytest.raises(weights_lib.UserError, match='damaged: its arrays are not those'):
    weights_lib.load(str(tmp_path / 'a'), None)
  # a folder whose writing has failed is no encoder
  (tmp_path / 'a/model.safetensors').unlink()
  (tmp_path / 'a/model.safetensors').mkdir()
  with pytest.raises(OSError):
    timm_folder.write(weights, str(tmp_path / 'a'))
  assert not (tmp_path / 'a/config.json').exists()


def test_without_the_libraries_it_says_so(made, tmp_path, monkeypatch):
  for name in ('timm', 'torch'):
    monkeypatch.setitem(sys.modules, name, None)
  weights = made()
  timm_folder.write(weights, str(tmp_path))
  found = timm_folder.check(weights, str(tmp_path), noise(weights))
  assert found['byol_jax']['relative_l2'] < 1e-6
  assert found[timm_folder.CODE] == 'not checked: torch is not installed'


_LONG = pytest.mark.skipif('BYOL_TEST_LONG' not in os.environ, reason='BYOL_TEST_LONG=1')


@pytest.mark.parametrize('name, width, embedding', [
    ('resnet18', 1, 0), ('resnet18', 1, 5), *(
        pytest.param(*of, marks=_LONG) for of in (
            ('resnet34', 1, 0), ('resnet50', 1, 0), ('resnet101', 1, 0),
            ('resnet50', 2, 0), ('resnet50', 2, 5)))])
def test_libraries_compute_our_features(made, tmp_path, name, width, embedding):
  pytest.importorskip('torch', reason="large: pip install 'byol_jax[torch]'")
  for library in ('timm', 'torchvision', 'transformers'):
    pytest.importorskip(library, reason="large: pip install 'byol_jax[torch]'")
  weights = made(name=name, stem='imagenet', width=width, embedding=embedding)
  timm_folder.write(weights, str(tmp_path))
  found = timm_folder.check(weights, str(tmp_path), noise(weights))
  assert set(found) == {'byol_jax', 'timm', 'transformers', timm_folder.TRANSFORM} | (
      {'torchvision'} if width == 1 else set())
  apart = found.pop(timm_folder.TRANSFORM)
  assert 1e-6 < apart['one_minus_cos'] < 0.5  # it resizes otherwise
  for who in found.values():
    assert who['relative_l2'] < 1e-4 and who['one_minus_cos'] < 1e-6
  assert json.loads((tmp_path / 'config.json').read_text())['pretrained_cfg'][
      'crop_pct'] == 0.875
