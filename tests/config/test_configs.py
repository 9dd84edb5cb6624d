"""Every config file builds, validates and, shrunk, takes a step."""

import glob
import os
import re

import jax
from ml_collections import config_dict
import numpy as np
import pytest

from byol_jax.config import command
from byol_jax.config import keys as keys_lib
from byol_jax.config import rules
from byol_jax.config import schedule
from byol_jax.devices import grid as grid_lib
from byol_jax.devices import mapped
from byol_jax.errors import UserError
from byol_jax.storage import files as files_lib
from byol_jax.training import batch as batch_lib
from byol_jax.training import build

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ALL_PATHS = sorted(glob.glob(os.path.join(ROOT, 'configs', '*.py')))
OTHER_TASKS = ('prepare', 'knn', 'linear_eval', 'logistic', 'finetune', 'embed',
               'export', 'compare')
PATHS = [path for path in ALL_PATHS
         if os.path.basename(path).removesuffix('.py') not in OTHER_TASKS]
CASES = [(path, '') for path in PATHS] + [
    (os.path.join(ROOT, 'configs', 'imagenet_r50.py'), f':{epochs}')
    for epochs in (40, 100, 300, 1000)]
SIZES = {'imagenet': 1281167, 'imagenette': 9469, 'cifar10': 50000,
         'fashion': 10000, 'folder': 3000, 'fake_data': 1024}


def load(path, *overrides):
  argv = ['byol_jax.main', f'--config={path}', *overrides]
  if 'folder' in path or 'prepare' in path:
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
  assert re.fullmatch(r'\w+', name)
  resolved = schedule.resolve(config, num_images(path))
  assert None not in files_lib.flatten(resolved).values()
  assert schedule.total_steps(resolved, num_images(path)) > 0
  with open(path, encoding='utf-8') as f:
    assert '--config=configs/' in f.read()  # the docstring is the command


@pytest.mark.parametrize('task', OTHER_TASKS)
def test_other_tasks_validate(task):
  path = f'{ROOT}/configs/{task}.py'
  needed = {'prepare': (), 'compare': ('--config.compare.workdirs=a,b',)}.get(
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
  for bad, message in (
      ('--config.finetune.epochs=()', 'one number or more'),
      ('--config.linear_eval.learning_rates=(0.1,-1)', 'above 0'),
      ('--config.evaluation.holdout=1.0', 'below 1'),
      ('--config.linear_eval.features=both', 'auto, crops, cached')):
    with pytest.raises(UserError, match=message):
      load(f'{ROOT}/configs/finetune.py', weights, bad)
  with pytest.raises(UserError, match='no other data'):
    load(f'{ROOT}/configs/fashion.py', '--config.data.source=same')


def test_imagenet_presets_have_the_papers_steps():
  for epochs, steps in ((40, 12511), (100, 31278), (300, 93835), (1000, 312784)):
    config, _ = load(f'{ROOT}/configs/imagenet_r50.py:{epochs}')
    assert schedule.total_steps(config, 1281167) == steps
    assert schedule.warmup_steps(config, 1281167) == 3127


@pytest.mark.parametrize('path', PATHS, ids=os.path.basename)
def test_shrunk_config_takes_a_step(path):
  size = 8 if os.path.basename(path) in ('fashion.py', 'cifar10.py') else 32
  config, _ = load(
      path, '--config.network.name=resnet8', '--config.network.width=0.25',
      f'--config.data.image_size={size}', '--config.train.batch_size=8',
      '--config.network.projector_hidden_size=8',
      '--config.network.predictor_hidden_size=8',
      '--config.network.projection_size=4')
  config = schedule.resolve(config, 64)
  program = build.build(config, 64, 3)
  one = jax.devices()[:1]
  update = mapped.pmap_update(program.update, one)
  grid = grid_lib.example_grid(8, 1, 1)
  rng = np.random.RandomState(0)
  shapes = batch_lib.streamed(grid.shape, 2, size, True)
  batch = {
      'examples': grid, 'labels': grid % 3,
      'views': rng.randint(0, 256, shapes['views'].shape).astype(np.uint8)}
  shared = mapped.replicate({'key': jax.random.PRNGKey(0)}, one)
  state, metrics = update(mapped.replicate(program.init(), one), shared, batch)
  assert int(state.step) == 1
  assert 0 < float(metrics['loss']) < 8


def test_automatic_schedule_grows_with_few_images():
  config, _ = load(f'{ROOT}/configs/folder.py')
  epochs = {n: schedule.resolve(config, n).train.epochs
            for n in (1000, 50000, 1281167)}
  assert epochs == {1000: 1000, 50000: 506, 1281167: 100}
  paper = config.copy_and_resolve_references()
  paper.train.batch_size = 4096
  resolved = schedule.resolve(paper, 1281167)
  assert resolved.train.base_learning_rate == 0.45
  assert resolved.train.tau_base == pytest.approx(0.984, abs=2e-3)


def test_tau_is_scaled_to_the_batch_where_it_is_asked_for():
  path = f'{ROOT}/configs/imagenet_r50.py'
  def tau_at_0(*overrides):
    config, _ = load(path, *overrides)
    _, ema_rate, _ = build.make_optimizer(config, 1281167)
    return 1 - float(ema_rate(0))
  large = '--config.train.batch_size=16384'
  assert tau_at_0(large) == pytest.approx(0.996, abs=1e-6)
  scaled = '--config.train.tau_batch_size=4096'
  assert tau_at_0(large, scaled) == pytest.approx(0.996**4, abs=1e-6)
  assert tau_at_0(scaled) == pytest.approx(0.996, abs=1e-6)
  with pytest.raises(UserError, match='train.tau_base is None'):
    load(f'{ROOT}/configs/folder.py', scaled)


@pytest.mark.parametrize('key,value,words', [
    ('train.batchsize', 3, 'train.batch_size'),
    ('data.pth', 'x', 'data.path'),
    ('nonsense', 1, 'unknown config key nonsense'),
])
def test_unknown_keys_name_the_nearest(key, value, words):
  with pytest.raises(UserError, match=re.escape(words)):
    load(f'{ROOT}/configs/fashion.py', f'--config.{key}={value}')


@pytest.mark.parametrize('key,value', [
    ('task', 'train'), ('seed', -1), ('data.source', 'web'),
    ('data.image_size', 7), ('data.crop_area', [0.5, 0.1]),
    ('data.crop_area', [0.5]), ('data.std', [0.0, 1.0, 1.0]),
    ('data.center_share', 0.0), ('network.name', 'resnet51'),
    ('network.width', 0.0), ('network.width', 1e-9), ('network.padding', 'valid'),
    ('network.precision', 'float16'), ('network.predictor', 1),
    ('train.batch_size', 0), ('train.batch_size', 2.0), ('train.batch_size', True),
    ('train.tau_base', 1.1), ('train.tau_base', float('nan')),
    ('train.epochs', 'many'), ('train.epochs', -1.0),
    ('train.warmup_epochs', 1e9), ('train.accumulation_steps', 7),
    ('train.base_learning_rate', -0.1), ('augment.view1.blur', 2.0),
    ('augment.view2.blur_sigma', [0.0, 1.0]), ('evaluation.knn_k', 0),
])
def test_bad_values_are_named(key, value):
  config, _ = load(f'{ROOT}/configs/fashion.py')
  nested = config.to_dict()
  *parents, last = key.split('.')
  target = nested
  for parent in parents:
    target = target[parent]
  target[last] = value
  with pytest.raises(UserError, match=re.escape(key)):
    rules.validate(config_dict.ConfigDict(nested))


def test_missing_key_is_named():
  nested = keys_lib.base().to_dict()
  del nested['train']['epochs']
  with pytest.raises(UserError, match='train.epochs'):
    rules.validate(config_dict.ConfigDict(nested))


def test_batch_must_divide_over_the_devices():
  rules.check_devices(64, 2, 8)
  with pytest.raises(UserError, match='train.batch_size is 60.*48 is'):
    rules.check_devices(60, 2, 8)


def test_too_few_images_for_a_batch():
  config, _ = load(f'{ROOT}/configs/fashion.py')
  with pytest.raises(UserError, match='has 10 images.*batch_size=8'):
    schedule.resolve(config, 10)
