"""The encoder that an evaluation takes: which it is, and what is refused."""

import shutil

import numpy as np
import pytest
from tiny import call
from tiny import FEW

from byol_jax.run import checkpoint
from byol_jax.tasks import named as named_lib
from byol_jax.weights import load as weights_lib


def test_keys_of_other_tasks_are_told(run, tmp_path, capsys):
  assert call('knn', f'--config.weights={run}', f'--workdir={tmp_path}',
              '--config.finetune.labels=0.1', '--config.evaluation.knn_k=7') == 0
  warnings = [line for line in capsys.readouterr().out.splitlines()
              if line.startswith('warning')]
  assert warnings == ['warning: config key finetune.labels is 0.1, but task=knn does '
                      'not look at it']
  # nor is it another config with them
  assert call('knn', f'--config.weights={run}', f'--workdir={tmp_path}',
              '--config.evaluation.knn_k=7') == 0


def test_weights_that_cannot_be_used(run, tmp_path, capsys):
  def refused(*arguments):
    code = call('knn', f'--workdir={tmp_path / "out"}', *arguments)
    said = capsys.readouterr().err
    assert code == 2 and 'Traceback' not in said and not (tmp_path / 'out').exists()
    return said
  (tmp_path / 'empty' / 'checkpoints').mkdir(parents=True)
  (tmp_path / 'text.safetensors').write_text('hello, this is not a file of arrays')
  for path, words in ((tmp_path / 'nothing', 'there are no checkpoints'),
                      (tmp_path / 'empty', 'there is no checkpoint'),
                      (f'{run}/checkpoints/19', 'there are: 10, 20'),
                      (tmp_path / 'text.safetensors', 'no safetensors file'),
                      (tmp_path / 'none.safetensors', 'no such file')):
    assert words in refused(f'--config.weights={path}')
  assert 'network.name' in refused(f'--config.weights={run}',
                                   '--config.network.name=resnet18')
  for key, value in (('center_share', '0.5'), ('mean', '(.1,.1,.1)'),
                     ('crop_area', '(.9,1)'), ('image_size', '64')):
    said = refused(f'--config.weights={run}', f'--config.data.{key}={value}')
    assert f'data.{key}' in said and 'data.eval_image_size' in said
  # arrays of one network, the config of another
  shutil.copytree(run, tmp_path / 'other')
  checkpoints = checkpoint.Checkpoints(tmp_path / 'other' / 'checkpoints')
  opened = checkpoints.open(20)
  opened.meta['config']['network']['width'] = 0.5  # twice the channels
  checkpoints.save(30, opened.read(opened.leaves), opened.meta)
  checkpoints.close()
  assert 'another architecture' in refused(f'--config.weights={tmp_path / "other"}')


def test_a_checkpoint_that_is_written_or_removed(run, tmp_path, monkeypatch):
  shutil.copytree(run, tmp_path / 'run')
  folder = tmp_path / 'run' / 'checkpoints'
  (folder / '20').rename(folder / '20.orbax-checkpoint-tmp-1')
  slept = []
  def finish(seconds):
    slept.append(seconds)
    if len(slept) == 3:
      (folder / '20.orbax-checkpoint-tmp-1').rename(folder / '20')
  monkeypatch.setattr('time.sleep', finish)
  assert weights_lib.load(str(folder / '20'), 'online').step == 20
  assert len(slept) == 3
  # removed while it is read: the newest there is, or a word
  read, removed = checkpoint.Opened.read, []
  def remove(self, like):
    if not removed:
      removed.append(self.step)
      shutil.rmtree(folder / str(self.step))
    return read(self, like)
  monkeypatch.setattr(checkpoint.Opened, 'read', remove)
  assert weights_lib.load(str(tmp_path / 'run'), 'online').step == 10
  removed.clear()
  with pytest.raises(weights_lib.UserError, match='the run removed it'):
    weights_lib.load(str(folder / '10'), 'online')


def test_features_that_are_not_finite(run, tmp_path, capsys, monkeypatch):
  load = weights_lib.load
  def diverged(*arguments):
    weights = load(*arguments)
    params = {module: {name: array * np.nan for name, array in leaves.items()}
              for module, leaves in weights.params.items()}
    return weights._replace(params=params, digest='nan')
  monkeypatch.setattr(named_lib.weights_lib, 'load', diverged)
  for task in ('knn', 'logistic', 'linear_eval', 'embed'):
    assert call(task, f'--config.weights={run}', *FEW,
                f'--workdir={tmp_path / task}') == 2
    assert 'not finite' in capsys.readouterr().err
