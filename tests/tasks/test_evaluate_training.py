"""Evaluations that train: what teaches, what chooses, and how they go on."""

import shutil
import signal
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest
from tiny import call
from tiny import FEW
from tiny import figures
from tiny import results
from tiny import ROOT
from tiny import SMALLEST

from byol_jax.evaluation import protocols
from byol_jax.evaluation import splits
from byol_jax.evaluation import stages
from byol_jax.tasks import evaluate


@pytest.mark.parametrize('task', ['linear_eval:crops', 'finetune:1.0'])
def test_bad_images_do_not_teach(run, tmp_path, task):
  """Nor does another image teach twice in their place."""
  rng = np.random.default_rng(0)
  for folder, count in (('train/a', 24), ('train/b', 24), ('test/a', 8), ('test/b', 8)):
    (tmp_path / 'photos' / folder).mkdir(parents=True)
    for k in range(count):
      Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).save(
          tmp_path / 'photos' / folder / f'{k:02d}.png')
  for name in ('03', '07'):
    (tmp_path / 'photos/train/a' / f'{name}.png').write_bytes(b'not a picture')
  assert call(task, f'--config.weights={run}', '--config.data.source=folder',
              f'--config.data.path={tmp_path / "photos"}', '--config.data.resident=no',
              *[x for x in FEW if 'labels' not in x],
              f'--workdir={tmp_path / "out"}') == 0
  protocol = results(tmp_path / 'out')['protocol']
  assert set(protocol['left_out']['train']) == {'a/03.png', 'a/07.png'}
  how = protocol['classifiers']['byol']
  assert how['labelled_images' if 'finetune' in task else 'trained_on'] == 46


@pytest.mark.parametrize('task, saves', [
    ('finetune', (3, 10)), ('linear_eval:crops', (2, 4))])
def test_interrupted_training_goes_on(run, tmp_path, monkeypatch, task, saves):
  arguments = [task, f'--config.weights={run}', *FEW]
  assert call(*arguments, f'--workdir={tmp_path / "whole"}') == 0
  monkeypatch.setattr(stages, '_SECONDS', -1)
  save, saved = stages.Stage.save, []
  def break_off(self, step, state, *, last=False):
    save(self, step, state, last=last)
    saved.append(step)
    if len(saved) in saves:  # in the choice, and in what follows it
      self._saver._checkpoints.wait()
      raise KeyboardInterrupt
  monkeypatch.setattr(stages.Stage, 'save', break_off)
  for _ in range(2):
    with pytest.raises(KeyboardInterrupt):
      call(*arguments, f'--workdir={tmp_path / "broken"}')
  assert call(*arguments, f'--workdir={tmp_path / "broken"}') == 0
  assert figures(results(tmp_path / 'whole')) == figures(results(tmp_path / 'broken'))


def test_seeds_give_mean_and_deviation(run, tmp_path):
  out = tmp_path / 'out'
  assert call('finetune', f'--config.weights={run}', *FEW, f'--workdir={out}',
              '--config.finetune.learning_rates=(.1,)',  # in place of FEW's
              '--config.evaluation.seeds=3') == 0
  said = results(out)
  row = said['byol']
  for how in said['protocol']['classifiers']['byol']:
    assert how['grid']['learning_rates'] == [.1]
  each = [one['top1'] for one in row['finetune_seeds']]
  assert len(set(each)) > 1
  assert row['finetune_top1'] == pytest.approx(np.mean(each))
  assert row['finetune_top1_std'] == pytest.approx(np.std(each, ddof=1))
  low, high = row['finetune_top1_interval']
  assert low < row['finetune_top1'] < high
  # what was chosen is told of each seed, and no mean of it
  assert 'finetune_learning_rate' not in row
  assert [one['learning_rate'] for one in row['finetune_seeds']] == [.1] * 3
  assert call('knn', f'--config.weights={run}', *FEW, f'--workdir={tmp_path / "k"}',
              '--config.evaluation.seeds=3') == 2


def test_no_fit_reaches_the_test_images(run, tmp_path, monkeypatch):
  fitted = []
  class Guarded(splits.Split):
    """Test images that may be looked at when something is fitted."""
    @property
    def test(self):
      assert fitted, 'the test images were looked at too early'
      return self._test
    @test.setter
    def test(self, value):
      self._test = value
  monkeypatch.setattr(evaluate.splits, 'Split', Guarded)
  for task, protocol in (('knn', protocols.Knn), ('logistic', protocols.Logistic),
                         ('linear_eval', protocols.Linear),
                         ('finetune', protocols.Finetune)):
    fitted.clear()
    def then(*arguments, fit=protocol.fit):
      classifier = fit(*arguments)
      fitted.append(classifier)
      return classifier
    monkeypatch.setattr(protocol, 'fit', then)
    assert call(task, f'--config.weights={run}', *FEW,
                f'--workdir={tmp_path / task}') == 0
    assert len(fitted) == 1


def test_a_signal_ends_a_training_at_its_next_step(run, tmp_path):
  command = [sys.executable, '-c', f'{SMALLEST}import runpy\n'
             'runpy.run_module("byol_jax.main", run_name="__main__")',
             f'--config={ROOT}/configs/linear_eval.py', *FEW,
             f'--config.weights={run}', f'--workdir={tmp_path / "out"}',
             '--config.linear_eval.epochs=100000']
  def until(words):
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True,
                               stderr=subprocess.STDOUT)
    for line in process.stdout:
      if words in line:
        break
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[0]
    return process.returncode, line, said
  code, _, said = until('choosing: steps')
  assert code == 128 + signal.SIGTERM
  assert 'the same command goes on' in said and 'Traceback' not in said
  # long before the minute in which it would have been saved anyway
  _, line, _ = until('going on at step')
  step = int(line.split('step ')[-1])
  assert step and step % 64 == 0


@pytest.mark.filterwarnings('ignore::RuntimeWarning')
def test_a_training_that_diverges(run, tmp_path, capsys):
  arguments = ['finetune', f'--config.weights={run}', *FEW, f'--workdir={tmp_path}']
  assert call(*arguments, '--config.finetune.learning_rates=(1e6,1e5)') == 2
  assert 'finetune.learning_rates has diverged' in capsys.readouterr().err
  shutil.rmtree(tmp_path)
  assert call(*arguments, '--config.finetune.learning_rates=(1e6,)') == 2
  assert 'the classifier has diverged' in capsys.readouterr().err
  shutil.rmtree(tmp_path)
  # the same point twice, then a better one: the figures find their points
  assert call(*arguments, '--config.finetune.learning_rates=(1e-6,1e-6,.1)') == 0
  how = results(tmp_path)['protocol']['classifiers']['byol']
  assert len(how['held_out_top1']) == 2 and how['chosen']['learning_rate'] == .1


def test_devices_that_cannot_share_a_batch(run, tmp_path, capsys):
  code = call('finetune', f'--config.weights={run}', *FEW, f'--workdir={tmp_path}',
              '--config.finetune.batch_size=12')
  said = capsys.readouterr().err
  assert code == 2 and '8 devices cannot share the batches of 12' in said
