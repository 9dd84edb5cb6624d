"""The plan of a study: mistakes are told before a run begins."""

import json
import re

import numpy as np
import pytest
import test_study
from tiny import call
from tiny import ROOT

from byol_jax.config import command as command_lib
from byol_jax.config import keys as keys_lib
from byol_jax.config import schedule
from byol_jax.errors import UserError
from byol_jax.storage import files as files_lib
from byol_jax.tasks import study
from byol_jax.tasks import study_plan


@pytest.fixture(name='made')
def _made(tmp_path, monkeypatch):
  """(arguments of a study) -> its exit code; the runs are a stand-in's."""
  monkeypatch.setattr(study, 'command', test_study.stub(tmp_path))
  monkeypatch.setenv('STEPS', '1')
  return lambda *arguments, name='study:target': call(
      name, f'--workdir={tmp_path}/out', *arguments)


def _plan(*given):
  return study_plan.make(command_lib.parse([
      'main', f'--config={ROOT}/configs/study.py:target', *given]).config, 'out')


@pytest.mark.parametrize('argument, message', [
    ('--config.study.axis=x', "study.axis is 'x', it must be one of batch_size"),
    ('--config.study.grid=;', "study.grid is ';', which has no cell"),
    ('--config.study.grid=a: train.epoch=3', 'cell a: unknown config key train.epoch'),
    ('--config.study.grid=a; a', 'two cells of the name a'),
    ('--config.study.grid=a; b: train.accumulation_steps=3',
     'cell b of the study: config key train.batch_size is 64, not a multiple'),
    ('--config.study.seeds=0', 'study.seeds is 0'),
    ('--config.study.reference=tau_2', "study.reference is 'tau_2', which is no cell"),
    ('--config.study.by_method=moko: train.epochs=3', 'has the name .moko.'),
    ('--config.study.by_method=byol: method.name=moco',
     'study.by_method has method.name=moco among the settings of byol'),
    ('--config.study.reference=TAU_0', 'did you mean tau_0'),
    ('--config.train.batch_size=20000', 'has 10000 images, fewer than'),
    ('--config.data.source=npz', 'data.path'),
    ('--config.data.source=auto', 'data.path is empty'),
    ('--config.study.grid=a:; b: train.batch_size=20000',
     'cell b of the study: the data set has 10000 images, fewer than'),
    ('--config.study.grid=a:; b: train.epochs=0.001 train.warmup_epochs=0',
     'cell b of the study: config key train.epochs = 0.001 is less than one step'),
    ('--config.study.grid=a:; b: init_from=/nowhere', 'init_from is ./nowhere'),
    ('--config.init_from=/nowhere', 'init_from is ./nowhere'),
    ('--config.evaluation.final=False', 'evaluation.final is False: a study has no'),
    ('--workdir=gs://bucket/x', 'a study lives in a local folder')])
def test_mistakes_are_told_before_anything_is_written(
    made, tmp_path, capsys, argument, message):
  assert made(argument) == 2
  err = capsys.readouterr().err
  assert re.search(message, err) and err.count('\n') == 1, err
  assert not (tmp_path / 'out').exists()


def test_runs_of_other_settings_are_refused(made, tmp_path, capsys):
  """Also those that have not ended; what may differ, and None, is no other setting."""
  cell = _plan('--config.train.epochs=3', '--config.train.weight_decay=None').runs[1]
  assert cell.name == 'tau_0.999-0'
  folder = tmp_path / cell.workdir
  (folder / 'checkpoints' / '7').mkdir(parents=True)
  files_lib.write_json(folder / 'config.json', schedule.resolve(
      cell.config, 10_000).to_dict() | {'data_found': {'images': 10_000}})
  assert made('--config.train.epochs=4', '--config.train.weight_decay=None') == 2
  err = capsys.readouterr().err
  assert f'workdir {folder} holds a run with another config: train.epochs (3.0 there, ' \
         '4.0 now)' in err
  assert not (tmp_path / 'out' / 'study.json').exists() and not test_study.starts(tmp_path)
  assert made('--config.train.epochs=3', '--config.train.weight_decay=None',
              '--config.study.seeds=1', '--config.log.every_steps=7') == 0


def test_runs_from_an_encoder_of_other_images_go_on(tmp_path, monkeypatch):
  """Such a run has the encoder's preparation; the study's config has not."""
  default = tuple(keys_lib.base().data.mean)
  plan = _plan('--config.init_from=/encoder.safetensors', f'--config.data.mean={default}',
               '--config.train.weight_decay=None')._replace(workdir=str(tmp_path))
  at = plan.runs[1]._replace(workdir=str(tmp_path / 'run'))
  (tmp_path / 'run' / 'checkpoints' / '7').mkdir(parents=True)
  files_lib.write_json(tmp_path / 'run' / 'config.json', schedule.resolve(
      at.config, 10_000).to_dict() | {'data_found': {'images': 10_000}})
  begun = json.loads((tmp_path / 'run' / 'config.json').read_text())
  begun['data']['mean'] = [.5, .5, .5]
  files_lib.write_json(tmp_path / 'run' / 'config.json', begun)
  study_plan._check_made(plan._replace(runs=[at]))


def test_the_images_are_opened_before_the_first_run(made, tmp_path, capsys):
  path = tmp_path / 'images.npz'
  given = '--config.data.source=npz', f'--config.data.path={path}'
  assert made(*given) == 2
  assert str(path) in capsys.readouterr().err and not (tmp_path / 'out').exists()
  np.savez(path, x_train=np.zeros((64, 28, 28), np.uint8))
  assert made(*given) == 2
  err = capsys.readouterr().err
  assert 'not all images have a label' in err and err.count('\n') == 1
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('name', ['study:methods', 'study:target'])
def test_the_folder_of_something_else_is_left_alone(made, tmp_path, capsys, name):
  assert made('--config.study.seeds=1', '--config.study.grid=a:; b: train.tau_base=0.5',
              name=name) == 0
  before = (tmp_path / 'out' / 'study.json').read_bytes()
  assert made('--config.study.seeds=1', name='study:target') == 2
  err = capsys.readouterr().err
  assert 'holds another study, with the cells a, b: name another one' in err
  assert 'study.axis and study.grid' in err and err.count('\n') == 1
  assert (tmp_path / 'out' / 'study.json').read_bytes() == before
  # more cells are the same study, grown
  assert made('--config.study.seeds=1', '--config.study.grid=a:; b: train.tau_base=0.5; '
              'c: train.tau_base=0.7', name=name) == 0


def test_the_folder_of_a_run_is_left_alone(made, tmp_path, capsys):
  (tmp_path / 'out').mkdir()
  (tmp_path / 'out' / 'config.json').write_text('{}')
  assert made() == 2
  err = capsys.readouterr().err
  assert 'holds a run, whose page the study would write over' in err
  assert [x.name for x in (tmp_path / 'out').iterdir()] == ['config.json']


def test_the_settings_of_a_method_are_told(made, capsys):
  assert made('--config.study.seeds=1', name='study:methods') == 0
  said = capsys.readouterr().out
  assert re.search('cells of simsiam have of their own: .*train.base_learning_rate=4.0',
                   said)
  assert 'cells of byol have' not in said


def test_sub_batches_are_the_cells_own(made, capsys):
  assert made('--config.train.accumulation_steps=4', name='study:batch_size') == 2
  assert 'train.accumulation_steps is 4, which the cells of' in capsys.readouterr().err


def test_a_begun_run_goes_on_without_the_encoder_that_it_started_from(tmp_path):
  plan = _plan('--config.init_from=/gone.safetensors')._replace(workdir=str(tmp_path))
  at = plan.runs[1]._replace(workdir=str(tmp_path / 'run'))
  with pytest.raises(UserError, match='gone.safetensors'):
    study_plan.check(plan._replace(runs=[at]))
  (tmp_path / 'run' / 'checkpoints' / '7').mkdir(parents=True)
  files_lib.write_json(tmp_path / 'run' / 'config.json', at.config.to_dict())
  study_plan.check(plan._replace(runs=[at]))


def test_a_study_with_other_settings_of_methods_says_how_it_goes_on(
    made, tmp_path, capsys):
  """Version 0.1 knew none for configs of ImageNet."""
  old = '--config.study.by_method=', '--config.study.seeds=1'
  assert made(*old, name='study:methods') == 0
  for cell in (tmp_path / 'out' / 'cells').iterdir():
    (cell / 'results.json').unlink()
    (cell / 'checkpoints' / '7').mkdir(parents=True)
  for at in study_plan.make(command_lib.parse([
      'main', f'--config={ROOT}/configs/study.py:methods', *old]).config,
                            f'{tmp_path}/out').runs:
    files_lib.write_json(f'{at.workdir}/config.json', at.config.to_dict())
  assert made('--config.study.seeds=1', name='study:methods') == 2
  err = capsys.readouterr().err
  assert "it goes on with --config.study.by_method=''" in err and err.count('\n') == 1
  assert made(*old, name='study:methods') == 0
