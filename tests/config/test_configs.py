"""Every config file builds, validates and, shrunk, takes a step."""

import glob
import os
import re

import jax
import numpy as np
import pytest

from byol_jax.config import cells
from byol_jax.config import command
from byol_jax.config import names as task_names
from byol_jax.config import schedule
from byol_jax.devices import grid as grid_lib
from byol_jax.devices import mapped
from byol_jax.errors import UserError
from byol_jax.methods import names as method_names
from byol_jax.storage import files as files_lib
from byol_jax.training import batch as batch_lib
from byol_jax.training import build

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ALL_PATHS = sorted(glob.glob(os.path.join(ROOT, 'configs', '*.py')))
OTHER_TASKS = [task for task in task_names.TASKS
               if os.path.join(ROOT, 'configs', f'{task}.py') in ALL_PATHS]
PATHS = [path for path in ALL_PATHS
         if os.path.basename(path).removesuffix('.py') not in OTHER_TASKS]
CASES = [(path, '') for path in PATHS] + [
    (os.path.join(ROOT, 'configs', 'imagenet_r50.py'), f':{epochs}')
    for epochs in (40, 100, 300, 1000)] + [
    (os.path.join(ROOT, 'configs', name), f':{method}')
    for name in ('fashion.py', 'cifar10.py') for method in method_names.METHODS] + [
    (os.path.join(ROOT, 'configs', 'cifar10.py'), argument)
    for argument in (':400', ':simclr-1000')]
SIZES = {'imagenet': 1281167, 'simclr': 1281167, 'moco': 1281167, 'infomin': 1281167,
         'simsiam': 1281167, 'imagenette': 9469, 'cifar10': 50000,
         'fashion': 10000, 'folder': 3000, 'fake_data': 1024}


def load(path, *overrides):
  argv = ['byol_jax.main', f'--config={path}', *overrides]
  if any(name in path for name in ('folder', 'prepare', 'preview')):
    argv.append('--config.data.path=/photos')
  return command.parse(argv)[:2]


def num_images(path):
  name = os.path.basename(path)
  return next(n for key, n in SIZES.items() if name.startswith(key + '_')
              or name == key + '.py')


@pytest.mark.parametrize(
    'path,argument', CASES,
    ids=[os.path.basename(path) + argument for path, argument in CASES])
def test_config_builds_and_validates(path, argument):
  config, name = load(path + argument)
  assert re.fullmatch(r'[\w-]+', name)
  resolved = schedule.resolve(config, num_images(path))
  assert None not in files_lib.flatten(resolved).values()
  assert schedule.total_steps(resolved, num_images(path)) > 0
  with open(path, encoding='utf-8') as f:
    assert '--config=configs/' in f.read()  # the docstring is the command


@pytest.mark.parametrize('task', OTHER_TASKS)
def test_other_tasks_validate(task):
  path = f'{ROOT}/configs/{task}.py'
  needed = {'prepare': (), 'preview': (), 'study': (),
            'search': ('--config.search.index=a', '--config.search.query=b'),
            'compare': ('--config.compare.workdirs=a,b',)}.get(
                task, ('--config.weights=runs/fashion',))
  config, name = load(path, *needed)
  assert config.task == name == task
  with open(path, encoding='utf-8') as f:
    assert f'--config=configs/{task}.py' in f.read()
  if needed:  # without, the message says what is missing
    with pytest.raises(UserError, match=needed[0].split('=')[0][2:].split('.', 1)[1]):
      load(path)


def test_arguments_of_evaluations():
  weights = '--config.weights=w'
  config, name = load(f'{ROOT}/configs/finetune.py:0.1', weights)
  assert config.finetune.labels == 0.1 and name == 'finetune_0.1'
  config, _ = load(f'{ROOT}/configs/linear_eval.py:cached', weights)
  assert config.linear_eval.features == 'cached'
  config, _ = load(f'{ROOT}/configs/finetune.py', weights,
                   '--config.finetune.learning_rates=(0.3,)',
                   '--config.finetune.epochs=(2, 3, 4)')
  assert config.finetune.learning_rates == (0.3,)
  assert config.finetune.epochs == (2, 3, 4)
  config, name = load(f'{ROOT}/configs/export.py:timm', weights)
  assert config.export.format == 'timm' and name == 'export_timm'
  for bad, message in (
      ('--config.finetune.epochs=()', 'one number or more'),
      ('--config.linear_eval.learning_rates=(0.1,-1)', 'above 0'),
      ('--config.evaluation.holdout=1.0', 'below 1'),
      ('--config.linear_eval.features=both', 'auto, crops, cached')):
    with pytest.raises(UserError, match=message):
      load(f'{ROOT}/configs/finetune.py', weights, bad)
  with pytest.raises(UserError, match='no other data'):
    load(f'{ROOT}/configs/fashion.py', '--config.data.source=same')


def test_arguments_of_studies():
  config, name = load(f'{ROOT}/configs/study.py:augmentation')
  assert config.study.axis == 'augmentation' and name == 'study_augmentation'
  assert config.data.source == 'fashion_sample'
  # the cells of a method are those of the file with this method
  settings = cells.by_method(config.study.by_method)
  assert set(settings) == set(method_names.METHODS) - {'byol'}
  for method, changes in settings.items():
    mine = cells.make(config, method, changes, 0)
    alone, _ = load(f'{ROOT}/configs/fashion.py:{method}')
    assert files_lib.flatten(mine) == files_lib.flatten(alone)
  config, name = load(f'{ROOT}/configs/study.py:methods,cifar10:byol-1000')
  assert config.train.epochs == 1000 and config.train.batch_size == 256
  simclr = cells.make(config, 'simclr',
                      cells.by_method(config.study.by_method)['simclr'], 0)
  assert simclr.train.epochs == 1000 and simclr.train.batch_size == 512
  config, name = load(f'{ROOT}/configs/study.py:target,imagenet_r50:300')
  assert config.train.epochs == 300 and name == 'study_target_imagenet_r50:300'
  settings = cells.by_method(config.study.by_method)
  assert set(settings) == set(method_names.METHODS) - {'byol'}
  for method, changes in settings.items():  # a file each
    alone, _ = load(f'{ROOT}/configs/{method}_r50.py:300')
    assert files_lib.flatten(cells.make(config, method, changes, 0)) == (
        files_lib.flatten(alone))
  # the SimCLR of tables 16 and 17 has BYOL's images, rate and decay
  config, _ = load(f'{ROOT}/configs/study.py:augmentation,imagenet_r50:300')
  assert cells.by_method(config.study.by_method)['simclr'] == {
      'method.name': 'simclr', 'network.projector_layers': 2,
      'network.projector_hidden_size': 2048, 'network.projection_size': 128}
  config, _ = load(f'{ROOT}/configs/study.py:methods,moco_r50:800')
  byol = cells.make(config, 'byol', cells.by_method(config.study.by_method)['byol'], 0)
  preset, _ = load(f'{ROOT}/configs/imagenet_r50.py:1000', '--config.train.epochs=800')
  assert files_lib.flatten(byol) == files_lib.flatten(preset)
  with pytest.raises(UserError, match='there is no .*none.py: name a file'):
    load(f'{ROOT}/configs/study.py:target,none')
  for name in ('simclr_r50.py:', 'cifar10.py:moco-', 'study.py:target,cifar10:moco-'):
    for bad in 'x', '0', 'nan':
      with pytest.raises(UserError, match=f"argument is '{bad}', and must be a number"):
        load(f'{ROOT}/configs/{name}{bad}')
  with pytest.raises(UserError, match="study.axis is 'targets', it must be one of"):
    load(f'{ROOT}/configs/study.py:targets')


_LONG = pytest.mark.skipif('BYOL_TEST_LONG' not in os.environ, reason='BYOL_TEST_LONG=1')
_OTHER_METHODS = ('simclr_r50.py', 'moco_r50.py', 'infomin_r50.py', 'simsiam_r50.py')


@pytest.mark.parametrize('path', [
    pytest.param(path, marks=_LONG if os.path.basename(path) in _OTHER_METHODS else ())
    for path in PATHS], ids=os.path.basename)
def test_shrunk_config_takes_a_step(path):
  size = 8 if os.path.basename(path) in ('fashion.py', 'cifar10.py') else 32
  config, _ = load(
      path, '--config.network.name=resnet8', '--config.network.width=0.25',
      f'--config.data.image_size={size}', '--config.train.batch_size=8',
      '--config.network.projector_hidden_size=8',
      '--config.network.predictor_hidden_size=8',
      '--config.network.projection_size=4', '--config.network.bn_groups=1',
      '--config.augment.jigsaw.size=48', '--config.augment.jigsaw.tile=16')
  config = schedule.resolve(config, 64)
  program = build.build(config, 64, 3)
  one = jax.devices()[:1]
  update = mapped.pmap_update(program.update, one)
  grid = grid_lib.example_grid(8, 1, 1)
  rng = np.random.RandomState(0)
  shapes = batch_lib.streamed(
      grid.shape, 2, size, True, program.spec.jigsaw.size if program.spec.jigsaw else 0)
  batch = {name: rng.randint(0, 256, shape.shape).astype(np.uint8)
           for name, shape in shapes.items() if shape.dtype == np.uint8}
  batch |= {'examples': grid, 'labels': grid % 3}
  shared = mapped.replicate({'key': jax.random.PRNGKey(0)}, one)
  state, metrics = update(mapped.replicate(program.init(), one), shared, batch)
  assert int(state.step) == 1
  meaning = program.method.meaning
  assert meaning.low < float(metrics['loss']) < (meaning.high or 30)
