"""A pretraining in its workdir: when it measures what, and when it has nothing to do."""

import json
import os

import numpy as np
import pytest
from tiny import call
from tiny import figures
from tiny import results
from tiny import TINY

from byol_jax import main as main_lib
from byol_jax.config import keys as keys_lib
from byol_jax.networks import architectures
from byol_jax.tasks import pretrain


def again(run, *arguments):
  """Calls the command of the fixture `run` once more."""
  return call('fashion', *TINY, '--config.data.source=npz',
              f'--config.data.path={run}/../tiny.npz', f'--workdir={run}', *arguments)


def states(folder):
  """Returns the time of change of every file."""
  return {path: os.stat(path).st_mtime_ns for base, _, names in os.walk(folder)
          for path in (os.path.join(base, name) for name in names)
          if not path.endswith('lock.json')}


@pytest.mark.parametrize('epochs, images, batch_size, steps', [
    (2, 160, 32, 10), (0.5, 160, 32, 2), (1, 100, 32, 3), (0.01, 160, 32, 1),
    (1, 1_281_167, 4096, 313)])
def test_the_steps_between_two_measurements(epochs, images, batch_size, steps):
  config = keys_lib.base().unlock()
  config.evaluation.every_epochs, config.train.batch_size = epochs, batch_size
  assert pretrain._measure_every(config, images) == steps


def test_a_finished_run_is_left_alone(run, capsys):
  assert set(figures(results(run))) == {'byol', 'untrained', 'raw_pixels'}
  assert results(run)['run']['steps'] == 20
  before = states(run)
  assert again(run) == 0
  said = capsys.readouterr().out
  assert 'this run is finished' in said and 'compiling' not in said
  assert states(run) == before
  # nor are results made that nobody asks for
  os.remove(f'{run}/results.json')
  assert again(run, '--config.evaluation.final=False') == 0
  assert 'this run is finished' in capsys.readouterr().out
  assert states(run) == {
      path: at for path, at in before.items() if not path.endswith('results.json')}


def test_a_run_looks_at_no_test_image_before_its_end(tmp_path, monkeypatch, capsys):
  monkeypatch.setitem(architectures.ARCHITECTURES, 'resnet8',
                      architectures.Architecture((1,), False, (8,), 8))
  images = np.random.RandomState(0).randint(0, 256, (64, 8, 8, 3)).astype(np.uint8)
  np.savez(tmp_path / 'data.npz', x_train=images, y_train=np.arange(64) % 4,
           x_test=images[:20], y_test=np.arange(20) % 4)
  encoded = []
  encode = pretrain.encode.Inference.__call__
  def note(self, networks, data, rows):
    encoded.append((len(data.images), len(rows)))
    return encode(self, networks, data, rows)
  monkeypatch.setattr(pretrain.encode.Inference, '__call__', note)
  monkeypatch.setattr(pretrain.final, 'final', lambda *_, **__: {
      'protocol': {'images': ''}})
  assert main_lib.main([
      'main', '--config=configs/fashion.py', '--distributed=off',
      f'--workdir={tmp_path}/run', '--config.data.source=npz',
      f'--config.data.path={tmp_path}/data.npz', '--config.train.epochs=1',
      '--config.train.batch_size=32', '--config.train.warmup_epochs=0.5',
      '--config.data.image_size=8', '--config.data.eval_image_size=8',
      '--config.evaluation.examples=32', '--config.evaluation.batch_size=8',
      '--config.network.projector_hidden_size=8', '--config.log.tensorboard=False',
      '--config.network.predictor_hidden_size=8',
      '--config.network.projection_size=8']) == 0
  assert encoded == [(64, 64), (64, 32)]  # the monitor's and the page's, of training
  told = '32 training images against 32 others, k 20'
  out = capsys.readouterr().out
  assert f'k-NN every 16 steps: {told}' in out
  results = json.loads((tmp_path / 'run' / 'results.json').read_text())
  assert told in results['protocol']['during_training']
  measuring = results['run']['measuring_seconds']
  assert 0 < measuring < results['run']['training_seconds_this_session']
  assert f', of which {measuring:.1f} s (' in out
