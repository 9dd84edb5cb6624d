"""task=export as a user calls it, and what comes back from the file."""

import json
import os
import sys

import numpy as np
import pytest
import safetensors.numpy
from tiny import call
from tiny import FEW
from tiny import results
from tiny import TINY

from byol_jax import encoder
from byol_jax.weights import load as weights_lib


def test_exported_file_and_steps_are_the_same_encoder(run, tmp_path):
  assert call('knn', f'--config.weights={run}', *FEW) == 0
  measured = results(f'{run}/evaluations/knn-20')
  assert call('export', f'--config.weights={run}', f'--workdir={tmp_path}') == 0
  file = f'{tmp_path}/encoder.safetensors'
  for weights in (file, f'{run}/checkpoints/20', f'{run}/checkpoints'):
    out = tmp_path / weights.strip('/').replace('/', '_')
    assert call('knn', f'--config.weights={weights}', f'--workdir={out}', *FEW) == 0
    assert results(out)['byol'] == measured['byol']
  target = tmp_path / 'target'
  assert call('knn', f'--config.weights={run}', f'--workdir={target}', *FEW,
              '--config.evaluation.network=target') == 0
  assert results(target)['protocol']['network'] == 'target'
  assert results(target)['protocol']['digest'] != (
      measured['protocol']['digest'])


def test_a_file_with_a_flipped_bit(run, tmp_path, capsys):
  weights = weights_lib.load(run, 'online')
  path = tmp_path / 'encoder.safetensors'
  weights_lib.save(weights, str(path))
  assert weights_lib.load(str(path), 'online').digest == weights.digest
  data = bytearray(path.read_bytes())
  data[-100] ^= 1
  path.write_bytes(data)
  assert call('knn', f'--config.weights={path}', f'--workdir={tmp_path / "o"}') == 2
  assert 'damaged' in capsys.readouterr().err


def test_all_formats_and_what_they_are_worth(run, tmp_path, capsys):
  pytest.importorskip('onnxruntime', reason="pip install 'byol_jax[onnx]'")
  out = tmp_path / 'out'
  assert call('export:all', f'--config.weights={run}', f'--workdir={out}') == 0
  assert sorted(os.listdir(out)) == ['encoder.onnx', 'encoder.safetensors',
                                     'export.json', 'timm']
  said = json.loads((out / 'export.json').read_text())
  assert said['checked_with'] == '8 images of tiny.npz'
  for checks in said['checked'].values():
    assert checks  # other libraries may not be installed
    for found in checks.values():
      assert isinstance(found, str) or found['relative_l2'] < 1e-4
  card = (out / 'timm/README.md').read_text()
  assert 'byol_resnet.load' in card and '| knn at the end of the run | top1 |' in card
  # each of them is the same encoder
  encode = encoder.load(run)
  pixels = np.load(f'{run}/../tiny.npz')['x_test'][:5]
  ours = encode(pixels)
  np.testing.assert_allclose(encoder.load(f'{out}/timm')(pixels), ours, rtol=1e-5,
                             atol=1e-5)
  # the images are gone, and noise is there
  assert call('export:onnx', f'--config.weights={run}', '--config.data.source=npz',
              '--config.data.path=gone.npz', f'--workdir={tmp_path / "noise"}') == 0
  assert 'is checked with noise' in capsys.readouterr().out
  assert sorted(os.listdir(tmp_path / 'noise')) == ['encoder.onnx', 'export.json']


def test_nothing_is_written_without_onnx(run, tmp_path, capsys, monkeypatch):
  monkeypatch.setitem(sys.modules, 'onnx', None)
  assert call('export:all', f'--config.weights={run}', f'--workdir={tmp_path / "o"}') == 2
  assert "pip install 'byol_jax[onnx]'" in capsys.readouterr().err
  assert not (tmp_path / 'o').exists()


def test_weights_of_others_are_measured_and_gone_on_from(run, tmp_path, capsys):
  """What knn says of a folder, and that pretraining begins with its features."""
  assert call('export:timm', f'--config.weights={run}', f'--workdir={tmp_path}') == 0
  arrays = safetensors.numpy.load_file(tmp_path / 'timm/model.safetensors')
  (tmp_path / 'theirs').mkdir()
  safetensors.numpy.save_file(
      {f'module.{name}': array for name, array in arrays.items()},
      tmp_path / 'theirs/net.safetensors')
  theirs = f'{tmp_path}/theirs/net.safetensors'
  data = ['--config.data.source=npz', f'--config.data.path={run}/../tiny.npz']
  capsys.readouterr()
  assert call('knn', f'--config.weights={theirs}', f'--workdir={tmp_path / "a"}') == 2
  assert 'name the images, as in' in capsys.readouterr().err
  assert call('knn', f'--config.weights={theirs}', *data, *FEW,
              '--config.data.eval_image_size=8', f'--workdir={tmp_path / "knn"}') == 0
  measured = results(tmp_path / 'knn')
  assert measured['method'] == 'pretrained' and measured['pretrained']['knn_top1'] > 25
  assert call('linear_eval', f'--config.weights={theirs}', *data, *FEW,
              '--config.data.eval_image_size=8', '--config.linear_eval.epochs=40',
              '--config.linear_eval.learning_rates=(3.,)',
              f'--workdir={tmp_path / "linear"}') == 0
  assert results(tmp_path / 'linear')['pretrained']['top1'] > 40
  assert call(
      'fashion', *TINY, *data, f'--config.init_from={theirs}', '--config.train.epochs=1',
      '--config.train.base_learning_rate=0', '--config.train.warmup_epochs=0',
      '--config.network.stem=small', '--config.evaluation.final=False',
      f'--workdir={tmp_path / "more"}') == 0
  told = capsys.readouterr().out
  assert 'for the online network and the target network; heads are new' in told
  online = weights_lib.load(str(tmp_path / 'more'), 'online')
  target = weights_lib.load(str(tmp_path / 'more'), 'target')
  for name in ('encoder/~/initial_conv', 'encoder/~/block_group_0/~/block_0/~/conv_1'):
    np.testing.assert_array_equal(online.params[name]['w'], target.params[name]['w'])
  np.testing.assert_array_equal(
      online.params['encoder/~/initial_conv']['w'],
      arrays['conv1.weight'].transpose(2, 3, 1, 0))
