"""Starting from another run's weights."""

import logging
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from byol_jax.errors import UserError
from byol_jax.run import checkpoint
from byol_jax.weights import init_from


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
