"""What is refused in a config, whoever made it."""

import os
import re

from ml_collections import config_dict
import pytest

from byol_jax.config import command
from byol_jax.config import keys as keys_lib
from byol_jax.config import rules
from byol_jax.errors import UserError

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def load(path, *overrides):
  return command.parse(['byol_jax.main', f'--config={path}', *overrides])


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
    ('augment.view2.blur_sigma', [0.0, 1.0]), ('augment.view1.color', 'cv2'),
    ('augment.view2.randaugment', -1), ('data.crop_sampler', 'moco'), ('evaluation.knn_k', 0),
])
def test_bad_values_are_named(key, value):
  config = load(f'{ROOT}/configs/fashion.py').config
  nested = config.to_dict()
  *parents, last = key.split('.')
  target = nested
  for parent in parents:
    target = target[parent]
  target[last] = value
  with pytest.raises(UserError, match=re.escape(key)):
    rules.validate(config_dict.ConfigDict(nested))


def test_tiles_must_fit():
  config = load(f'{ROOT}/configs/fashion.py').config
  config.augment.jigsaw.tile = 86
  with pytest.raises(UserError, match=re.escape(
      'config key augment.jigsaw.tile is 86, more than a third of '
      'augment.jigsaw.size = 255')):
    rules.validate(config)
  config.augment.jigsaw.tile = 2
  rules.validate(config)  # nobody looks at it
  config.method.update(name='moco', jigsaw=0.5)
  with pytest.raises(UserError, match=re.escape(
      "config key augment.jigsaw.tile is 2, but resnet8 with network.stem='half' needs "
      'at least')):
    rules.validate(config)
  config.augment.jigsaw.tile = 24
  with pytest.raises(UserError, match=re.escape(
      'config key augment.jigsaw.tile is 24, larger than a view, data.image_size = 20')):
    rules.validate(config)
  config.augment.jigsaw.update(size=48, tile=12)
  rules.validate(config)


def test_missing_key_is_named():
  nested = keys_lib.base().to_dict()
  del nested['train']['epochs']
  with pytest.raises(UserError, match='train.epochs'):
    rules.validate(config_dict.ConfigDict(nested))


@pytest.mark.parametrize('overrides,words', [
    ('task=pretrain weights=run', '--config.init_from, to evaluate them --config='),
    ('task=knn', 'config key weights is empty: task=knn takes --config.weights='),
    ('task=compare', 'config key compare.workdirs is empty: set'),
    ('shard=17/16', 'from 1/16 to 16/16'), ('shard=first', 'the third of sixteen'),
    ('shard=3/16', 'task=pretrain is no work for separate processes: leave it out'),
    ('shard=merge task=prepare', 'the worker that ends last writes metadata.json'),
    ('data.source=same', "config key data.source is 'same': task=pretrain knows of no"),
    ('data.source=folder', 'config key data.path is empty'),
    ('data.source=tfds', 'config key data.tfds_name is empty'),
    ('data.source=fake data.fake_images=1000000', 'more than data.resident_limit_mib'),
    ('network.width=0.01', 'too small for a single channel'),
    ('train.batch_size=36 train.accumulation_steps=5', 'train.accumulation_steps = 5'),
    ('train.batch_size=3 train.accumulation_steps=3', 'less than two images'),
    ('train.epochs=3 train.warmup_epochs=4', 'longer than the run: train.epochs = 3'),
    ('method.name=moco method.queue=1000',
     'config key method.queue is 1000, not a multiple of 64, the images that'),
    ('method.name=moco method.symmetric=True method.queue=64',
     'not a multiple of 128, the images that a sub-batch adds'),
    ('method.name=moco method.beta=0.5',
     'config key method.beta is 0.5, but method.name=moco does not read it, its '
     'negatives are those of method.queue'),
    ('method.name=infomin', "method.name is 'infomin', it must be moco, with "
     'method.jigsaw=0.5 (configs/infomin_r50.py)'),
    ('method.name=simsiam network.heads=simclr', 'method.name=simsiam has one: leave'),
    ('method.name=moco method.target=online',
     "config key method.target is 'online', but method.name=moco does not read it"),
    ('method.name=simsiam network.predictor=False', 'SimSiam collapses'),
    ('method.queue=4096', 'method.name=byol does not read it'),
    ('method.optimal_predictor=True', 'set network.predictor=False'),
    ('method.name=simclr method.jigsaw=0.5', 'method.name=simclr does not read it'),
    ('method.temperature=0', 'config key method.temperature is 0'),
    ('network.heads=simclr', 'network.predictor=False'),
    ('method.name=simclr network.heads=byol', 'set network.predictor=False'),
    ('method.name=simclr network.bn_groups=2', 'normalizes all views together'),
    ('method.name=moco train.batch_size=4 train.accumulation_steps=8',
     'config key train.batch_size is 4'),
    ('evaluation.crop_area=(0.5,0.1)', 'must be two shares of the image'),
    ('train.optimizer=sgd train.weight_decay=None', 'train.weight_decay is None'),
    ('method.name=simclr train.predictor_rate=2', 'there is no predictor'),
    ('network.predictor=False train.predictor_schedule=constant',
     'there is no predictor'),
    ('network.bn_groups=48', 'a sub-batch of 64 images does not fall'),
    ('network.bn_groups=64', 'a sub-batch of 64 images does not fall'),
    ('train.optimizer=sgd train.rate_in_momentum=True', 'train.optimizer=sgd does not'),
    ('train.optimizer=sgd train.trust_clip=True', 'train.optimizer=sgd does not'),
    ('train.optimizer=sgd train.base_learning_rate=None',
     'config key train.base_learning_rate is None, which is chosen for'),
])
def test_what_must_fit_together(overrides, words):
  with pytest.raises(UserError, match=re.escape(words)):
    load(f'{ROOT}/configs/fashion.py', *(
        f'--config.{override}' for override in overrides.split()))


def test_what_has_no_effect_is_refused():
  config = load(f'{ROOT}/configs/knn.py', '--config.weights=w',
                '--config.train.epochs=30').config
  assert rules.touched(config, ('train.epochs', 'seed')) == {'train.epochs': 30.0}
  rules.check_untouched(config, ('seed', 'data.mean'), 'nobody looks')
  with pytest.raises(UserError, match='train.epochs is 30.0, but nobody looks: leave'):
    rules.check_untouched(config, ('seed', 'train.epochs'), 'nobody looks')


def test_what_a_method_reads_is_accepted():
  for overrides in ('method.name=moco method.queue=128 method.symmetric=True',
                    'method.beta=1 method.target=stopped network.predictor=False',
                    'method.name=simclr method.temperature=0.5',
                    'method.name=simsiam train.predictor_schedule=constant',
                    'network.heads=simclr network.predictor=False'):
    load(f'{ROOT}/configs/fashion.py', *(
        f'--config.{override}' for override in overrides.split()))


def test_parts_of_a_batch_and_devices_must_divide_one_another():
  for groups, devices in ((8, 1), (8, 4), (2, 8), (1, 6)):
    rules.check_devices(48, 1, devices, groups)
  with pytest.raises(UserError, match='network.bn_groups is 4, neither a multiple nor'):
    rules.check_devices(48, 1, 6, 4)


def test_batch_must_divide_over_the_devices():
  rules.check_devices(64, 2, 8)
  with pytest.raises(UserError, match='train.batch_size is 60.*48 is'):
    rules.check_devices(60, 2, 8)
