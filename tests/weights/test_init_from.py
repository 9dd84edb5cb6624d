"""Starting from another run's weights."""

import json
import logging
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
import safetensors.numpy

from byol_jax.config import keys as keys_lib
from byol_jax.errors import UserError
from byol_jax.run import checkpoint
from byol_jax.storage import files as files_lib
from byol_jax.weights import agreement
from byol_jax.weights import init_from
from byol_jax.weights import torch as torch_lib


class State(NamedTuple):  # the fields of step.TrainState that matter
  online_params: Any
  target_params: Any
  opt_state: Any
  step: Any


def make_state(seed, projection=4):
  rng = np.random.default_rng(seed)
  def networks():
    return {'encoder': {'w': rng.normal(size=(3, 5)).astype(np.float32)},
            'projector': {'w': rng.normal(size=(5, projection)).astype(np.float32)}}
  return State(networks(), networks(), {'trace': networks()},
               np.int32(1000 * seed))


@pytest.fixture(name='run')
def _run(tmp_path):
  checkpoints = checkpoint.Checkpoints(tmp_path / 'checkpoints')
  for step in (10, 20):
    checkpoints.save(step, make_state(step), {'config': {}})
  checkpoints.close()
  return tmp_path


def equal(a, b):
  return all(x.tobytes() == y.tobytes() for x, y in zip(
      jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.parametrize('path, step', [
    ('', 20), ('/', 20), ('checkpoints', 20), ('checkpoints/10', 10)])
def test_networks_are_taken_but_neither_step_nor_momentum(run, path, step):
  fresh = make_state(1)
  taken = init_from.initialize(fresh, f'{run}/{path}')
  assert equal(taken[:2], make_state(step)[:2])
  assert equal(taken[2:], fresh[2:])


def test_what_does_not_fit_is_left_and_told(run, caplog):
  fresh = make_state(1, projection=6)
  with caplog.at_level(logging.INFO, 'byol_jax'):
    taken = init_from.initialize(fresh, str(run))
  assert equal(taken.online_params['encoder'], make_state(20).online_params['encoder'])
  assert equal(taken.online_params['projector'], fresh.online_params['projector'])
  assert 'took 2 of 4 arrays from step 20' in caplog.text
  assert 'online_params.projector.w' in caplog.text


def test_a_target_starts_as_the_online_network_of_a_run_without_one(tmp_path):
  state = make_state(5)._replace(target_params={})
  checkpoints = checkpoint.Checkpoints(tmp_path / 'run' / 'checkpoints')
  checkpoints.save(5, state, {})
  checkpoints.close()
  taken = init_from.initialize(make_state(1), str(tmp_path / 'run'))
  assert equal(taken.online_params, state.online_params)
  for module, leaves in taken.target_params.items():
    assert equal(leaves, state.online_params[module])


def test_another_encoder_is_refused(run):
  fresh = make_state(1)
  fresh.online_params['encoder']['w'] = np.zeros((3, 6), np.float32)
  with pytest.raises(UserError, match='no array of its encoder fits'):
    init_from.initialize(fresh, str(run))


def test_the_optimizer_may_be_another(run):
  fresh = make_state(1)._replace(opt_state={'mu': np.zeros(3, np.float32)})
  taken = init_from.initialize(fresh, str(run))
  assert equal(taken[:2], make_state(20)[:2]) and equal(taken[2:], fresh[2:])


def test_a_workdir_may_be_called_like_a_step(run):
  run.rename(run.with_name('2024'))
  taken = init_from.initialize(make_state(1), str(run.with_name('2024')))
  assert equal(taken[:2], make_state(20)[:2])


@pytest.mark.parametrize('path', ['nowhere', 'checkpoints/30', 'checkpoints/x'])
def test_nothing_there(run, path):
  with pytest.raises(UserError):
    init_from.initialize(make_state(1), f'{run}/{path}')


def test_a_damaged_checkpoint_is_refused_and_left_alone(run):
  file = run / 'checkpoints' / '20' / 'manifest' / 'metadata'
  file.write_text(file.read_text().replace('1', '2'))
  with pytest.raises(UserError, match='damaged'):
    init_from.initialize(make_state(1), str(run))
  assert (run / 'checkpoints' / '20').is_dir()


@pytest.fixture(name='theirs')
def _theirs(made, tmp_path):
  """A folder as timm writes it, and the encoder that is in it."""
  weights = made()
  (tmp_path / 'theirs').mkdir()
  safetensors.numpy.save_file(torch_lib.to_torch(weights.params, weights.state),
                              tmp_path / 'theirs' / 'model.safetensors')
  (tmp_path / 'theirs' / 'config.json').write_text(json.dumps({
      'architecture': 'resnet18', 'pretrained_cfg': {
          'input_size': [3, 24, 24], 'mean': [0.5, 0.4, 0.3], 'crop_pct': 0.95}}))
  return str(tmp_path / 'theirs'), weights


class Both(NamedTuple):
  online_params: Any
  online_state: Any
  target_params: Any
  target_state: Any


def both(weights, head=3):
  zeros = jax.tree.map(np.zeros_like, (weights.params, weights.state))
  params = zeros[0] | {'projector/~/linear_0': {'w': np.ones((head, 2), np.float32)}}
  return Both(params, zeros[1], params, zeros[1])


def test_an_encoder_of_others_is_taken_for_both_networks(theirs, caplog):
  path, weights = theirs
  with caplog.at_level(logging.INFO, 'byol_jax'):
    taken = init_from.initialize(both(weights), path)
  assert 'for the online network and the target network; heads are new' in caplog.text
  for params, state in (taken[:2], taken[2:]):
    for module, leaves in weights.params.items():
      assert equal(params[module], leaves)
    np.testing.assert_allclose(
        state['encoder/~/initial_batchnorm/~/mean_ema']['average'],
        weights.state['encoder/~/initial_batchnorm/~/mean_ema']['average'])
    assert params['projector/~/linear_0']['w'].all()
  images = np.random.default_rng(0).normal(size=(2, 3, 24, 24)).astype(np.float32)
  for params, state in (taken[:2], taken[2:]):
    np.testing.assert_allclose(agreement.features(weights._replace(
        params=params, state=state), images), agreement.features(weights, images),
        rtol=1e-5, atol=1e-6)
  other = both(weights)
  other.online_params['encoder/~/initial_conv'] = {'w': np.zeros((3, 3, 3, 8), 'f')}
  with pytest.raises(UserError, match='--config.network.name=resnet8 --config.network.'
                     'width=1 --config.network.stem=small'):
    init_from.initialize(other, path)


def test_images_are_prepared_as_for_that_encoder(theirs):
  path, weights = theirs
  config = keys_lib.base().unlock()
  config.init_from, config.data.std = path, (0.3, 0.3, 0.3)
  config.network.update(weights.config.network.to_dict())
  found = init_from.with_preparation(config, {})
  assert found.data.mean == (0.5, 0.4, 0.3) and found.data.center_share == 0.95
  assert found.data.std == (0.3, 0.3, 0.3) and found.data.image_size == 224
  # a run that goes on has it in its config.json; the folder may be gone
  begun = files_lib.flatten(found) | {'init_from': 'gone'}
  config.init_from = 'gone'
  assert init_from.with_preparation(config, begun).data.mean == (0.5, 0.4, 0.3)
  config.init_from = ''
  assert init_from.with_preparation(config, {}) is config


def test_it_is_looked_at_before_anything_is_written(theirs, run, tmp_path):
  config = keys_lib.base().unlock()
  config.network.precision = 'float32'
  for path, message in ((theirs[0], 'set --config.network.name=resnet8'),
                        (str(tmp_path / 'none'), 'no such file or folder')):
    config.init_from = path
    with pytest.raises(UserError, match=message):
      init_from.with_preparation(config, {})
  config.init_from = str(run)
  assert init_from.with_preparation(config, {}) is config
