"""Encoders that others wrote come in, and say what they are where they do not."""

import json
import logging

import numpy as np
import pytest
import safetensors.numpy

from byol_jax.errors import UserError
from byol_jax.weights import agreement
from byol_jax.weights import load as weights_lib
from byol_jax.weights import torch as torch_lib

CONFIG = {'architecture': 'resnet18', 'pretrained_cfg': {
    'input_size': [3, 24, 24], 'crop_pct': 0.95, 'mean': [0.5, 0.4, 0.3],
    'std': [0.2, 0.2, 0.2]}}


@pytest.fixture(name='folder')
def _folder(made, tmp_path):
  """A folder as timm writes it, and the encoder that is in it."""
  weights = made()
  arrays = torch_lib.to_torch(weights.params, weights.state)
  write(tmp_path, arrays | {'fc.weight': np.zeros((5, 32), np.float32)})
  return tmp_path, weights, arrays


def write(folder, arrays, config=CONFIG, name='model.safetensors'):
  (folder / 'config.json').write_text(json.dumps(config))
  (folder / name).write_bytes(safetensors.numpy.save(arrays, {'format': 'pt'}))


def test_a_folder_comes_in_with_its_preparation(folder, caplog):
  path, theirs, _ = folder
  with caplog.at_level(logging.INFO, 'byol_jax'):
    weights = weights_lib.load(str(path), None)
  assert 'left: fc.weight' in caplog.text and 'stem small' in caplog.text
  assert weights.is_foreign and weights.kind == 'pretrained' and weights.step == 0
  data = weights.config.data
  assert (data.image_size, data.center_share) == (24, 0.95)
  assert tuple(data.mean) == (0.5, 0.4, 0.3) and tuple(data.std) == (0.2, 0.2, 0.2)
  for module, leaves in theirs.params.items():
    for leaf, array in leaves.items():
      np.testing.assert_array_equal(weights.params[module][leaf], array)
  # our own file of it is as foreign
  weights_lib.save(weights, str(path / 'ours.safetensors'))
  again = weights_lib.load(str(path / 'ours.safetensors'), 'online')
  assert again.digest == weights.digest and again.is_foreign


def test_a_file_alone_is_of_imagenet(folder, tmp_path, caplog):
  _, _, arrays = folder
  (tmp_path / 'alone').mkdir()
  file = tmp_path / 'alone' / 'resnet.safetensors'
  file.write_bytes(safetensors.numpy.save(arrays))
  weights = weights_lib.load(str(file), None)
  assert weights.config.data.center_share == 0.875
  assert "taking ImageNet's mean" in caplog.text
  with pytest.raises(UserError, match='has no config.json.* name .*model.safetensors'):
    (tmp_path / 'config.json').write_text('{"architectures": []}')
    file.rename(tmp_path / 'alone' / 'model.safetensors')
    weights_lib.load(str(tmp_path / 'alone'), None)


def test_what_does_not_come_in(folder):
  path, _, arrays = folder
  def refused(message, name='', key='weights'):
    with pytest.raises(UserError, match=message) as error:
      weights_lib.load(str(path / name), None, key)
    assert '\n' not in str(error.value) and str(path) in str(error.value)
  name = 'layer1.0.bn1.weight'
  write(path, arrays, CONFIG | {'architecture': 'resnet50d'})
  refused("the architecture 'resnet50d' by its config.json")
  write(path, arrays, CONFIG | {'model_args': {'act_layer': 'gelu'}})
  refused("made with act_layer='gelu'")
  write(path, arrays, {'architectures': ['x'], 'model_type': 'resnet',
                       'hidden_act': 'gelu'})
  refused("made with hidden_act='gelu'")
  write(path, arrays, CONFIG | {'pretrained_cfg': ['x']})
  refused('config.json or preprocessor_config.json that is none of timm')
  write(path, arrays, CONFIG | {'pretrained_cfg': {'mean': [2, 2, 2]}})
  refused('data.mean')
  write(path, arrays | {name: arrays[name].astype(np.float16)})
  refused('layer1.0.bn1.weight is F16: convert the arrays to float32', key='init_from')
  write(path, arrays | {name: np.full_like(arrays[name], np.nan)})
  refused('its array .*batchnorm_0.scale is not finite')
  write(path, arrays | {'bn1.running_var': -arrays['bn1.running_var']})
  refused('its array .*var_ema.average is not finite, or a variance below 0')
  write(path, arrays | {name: arrays[name][:3]})
  refused(r'is of another network: layer1.0.bn1.weight is of shape \(3,\) there')
  write(path, {'a\nb': arrays[name]})
  refused('a name in it is none of an array')
  whole = safetensors.numpy.save(arrays)
  for config in ([1], 'x', None):
    write(path, arrays, config)
    refused('config.json, which is damaged')
  write(path, arrays)
  for data in (whole[:-1], b'', whole[:100], b'\xff' * 50,
               (9).to_bytes(8, 'little') + b'{"a": 1 }', b'PK\3\4' + bytes(40)):
    (path / 'model.safetensors').write_bytes(data)
    refused('cannot be read: it is damaged')
  (path / 'model.safetensors').write_bytes(b'version https://git-lfs.github.com/spec/v1')
  refused('it is a pointer to the file: git lfs pull')
  (path / 'model.safetensors').unlink()
  (path / 'pytorch_model.bin').write_bytes(b'')
  refused('has no model.safetensors, but pytorch_model.bin: it is a pickle.*convert.*/model.safetensors')
  (path / 'resnet50.pth').write_bytes(b'')
  refused('cannot be read: it is a pickle, .*save_file', 'resnet50.pth')
  refused('there is no such file', 'none.safetensors')


def test_a_state_dict_of_timm_has_its_features(tmp_path):
  """Behind every name that people's modules give it, and as lightly numbers it."""
  torch = pytest.importorskip('torch', reason="large: pip install 'byol_jax[torch]'")
  timm = pytest.importorskip('timm', reason="large: pip install 'byol_jax[torch]'")
  safetensors_torch = pytest.importorskip('safetensors.torch')
  torch.manual_seed(0)
  model = timm.create_model('resnet18', num_classes=10)
  with torch.no_grad():
    for name, array in model.named_parameters():
      if 'bn' in name or 'downsample.1' in name:
        array.uniform_(-0.2, 0.2) if name.endswith('bias') else array.uniform_(0.5, 1.5)
    for _ in range(3):
      model.train()(torch.randn(8, 3, 64, 64))
    images = torch.randn(4, 3, 64, 64)
    theirs = model.eval().forward_head(
        model.forward_features(images), pre_logits=True).numpy()
  digests = set()
  for k, module in enumerate((
      model, torch.nn.Sequential(*list(model.children())[:-1]),
      *(torch.nn.ModuleDict({name: model})
        for name in ('module', 'backbone', 'encoder', 'model')),
      torch.nn.ModuleDict({'module': torch.nn.ModuleDict(
          {'backbone': torch.nn.Sequential(*list(model.children())[:-2])})}))):
    path = str(tmp_path / f'{k}.safetensors')
    safetensors_torch.save_file(module.state_dict(), path)
    weights = weights_lib.load(path, None)
    digests.add(weights.digest)
  assert len(digests) == 1
  found = agreement.difference(theirs, agreement.features(weights, images.numpy()))
  assert found['relative_l2'] < 1e-4 and found['one_minus_cos'] < 1e-6
