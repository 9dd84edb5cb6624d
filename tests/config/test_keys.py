"""Every key says what it is for, and which tasks depend on it."""

import pytest

from byol_jax.config import keys
from byol_jax.config import names as task_names
from byol_jax.storage import files as files_lib

# The keys that version 0.1 let differ when a pretraining went on, by their beginnings,
# and those that it compared although no pretraining looks at them.
_FREE_IN_0_1 = ('log.', 'checkpoint.', 'evaluation.', 'safety.', 'data.threads',
                'data.path', 'data.test_path', 'data.prefetch', 'data.max_bad_images',
                'prepare.', 'preflight.', 'task')
_FREE_SINCE = ('data.list_root', 'data.path_column', 'data.rules',  # images are compared
               'shard', 'train.unroll', 'data.own')
_NEVER_LOOKED_AT = ('linear_eval.', 'logistic.', 'finetune.', 'embed.', 'compare.',
                    'export.', 'study.', 'report.', 'preview.', 'retrieve.', 'weights',
                    'index.', 'search.', 'pairs.')
_OF_THE_WEIGHTS = ('network.', 'augment.', 'train.', 'data.image_size',
                   'data.crop_', 'data.center_share',
                   'data.mean', 'data.std', 'method.',  # since 0.1, as are
                   'data.gray_range', 'data.background')
_FREE_IN_EVALUATIONS_IN_0_1 = (
    'log.', 'checkpoint.', 'safety.', 'data.threads', 'data.prefetch', 'data.path',
    'data.test_path', 'evaluation.cache', 'weights')
_UNUSED_IN_0_1 = {
    'evaluation.crop_area': ('linear_eval', 'finetune', 'finetune_pairs'),  # of later
    'pairs.': ('finetune_pairs',),
    'linear_eval.': ('linear_eval',), 'logistic.': ('logistic',),
    'finetune.': ('finetune',), 'embed.': ('embed',), 'export.': ('export',),
    'evaluation.knn_': ('knn',),
    'evaluation.holdout': task_names.CHOOSING, 'evaluation.metric': task_names.MEASURING,
    'evaluation.baselines': (*task_names.MEASURING, 'finetune_pairs', 'retrieve'),
    'retrieve.': ('retrieve',), 'index.': ('index',), 'search.': (),
    'evaluation.seeds': task_names.MEASURING,
    'evaluation.examples': (), 'evaluation.every_epochs': (), 'evaluation.final': (),
    'init_from': (), 'prepare.': (), 'preflight.': (), 'compare.': (),
    'study.': (), 'report.': ('report',), 'preview.': (), 'shard': task_names.SHARDED}


def _that_begin(beginnings):
  beginnings = tuple(beginnings)
  return {name for name in keys.KEYS if name.startswith(beginnings)}


@pytest.mark.parametrize('name', keys.KEYS)
def test_every_key_says_what_it_is_for(name):
  key = keys.KEYS[name]
  assert key.help and key.help == key.help.strip() and not key.help.endswith('.')
  assert key.kind.words
  key.kind.check(name, key.default)
  assert key.tasks and set(key.tasks) <= set(task_names.TASKS)
  assert set(key.free) <= set(key.tasks)
  assert f'--config.{name}={key.default}' in keys.described()


def test_base_has_every_key_with_its_default():
  flat = files_lib.flatten(keys.base())
  assert flat == {name: list(key.default) if isinstance(key.default, tuple) else
                  key.default for name, key in keys.KEYS.items()}
  assert keys.base().is_locked


def test_two_configs_share_nothing():
  """Automatic values are placeholders: one object would be one value."""
  one, other = keys.base(), keys.base()
  one.train.epochs, one.checkpoint.every_steps = 3, 7
  one.evaluation.every_epochs = 2
  assert other.train.epochs == 1000 and other.checkpoint.every_steps is None
  assert one.train.epochs == 3.0 and isinstance(one.train.epochs, float)
  assert one.train.warmup_epochs == 10
  one.train.epochs = None
  with pytest.raises(TypeError):
    one.train.epochs = 'many'
  with pytest.raises(TypeError):
    one.checkpoint.every_steps = 2.5


def test_a_resumed_pretraining_may_differ_where_it_learns_the_same():
  """Each key is compared, or free by what it declares; as in version 0.1, but for
  what pretraining never looks at."""
  free = set(keys.free('pretrain'))
  assert free == _that_begin(
      _FREE_IN_0_1 + _FREE_SINCE + _NEVER_LOOKED_AT)
  compared = keys.KEYS.keys() - free
  assert compared == _that_begin((
      'seed', 'init_from', 'data.') + _OF_THE_WEIGHTS) - free


@pytest.mark.parametrize('task', task_names.EVALUATING)
def test_a_resumed_evaluation_may_differ_where_it_measures_the_same(task):
  unused = _that_begin(name for name, tasks in _UNUSED_IN_0_1.items()
                       if task not in tasks)
  # the encoder's digest is compared, and with it what the weights have brought
  by_digest = ('pairs.path', 'pairs.items') if task == 'finetune_pairs' else ()
  assert set(keys.free(task)) == unused | _that_begin(
      _FREE_IN_EVALUATIONS_IN_0_1 + _FREE_SINCE + _OF_THE_WEIGHTS + by_digest)
  # what no evaluation looks at is told, too
  assert set(keys.unused(task)) - unused == {
      name for name in _that_begin(('log.', 'checkpoint.', 'safety.', 'data.prefetch'))
      if name not in ('safety.heartbeat', 'safety.startup_timeout')}


def test_what_describes_the_encoder():
  assert set(keys.of_the_weights()) == _that_begin(_OF_THE_WEIGHTS)


def test_a_config_without_a_key_had_what_was_then():
  was, now = keys.was(), files_lib.flatten(keys.base())
  assert {name for name in now if now[name] != was[name]} == {
      'data.rules', 'method.temperature', 'network.precision',
      'network.projector_layers', 'train.unroll'}
  assert was['network.precision'] == 'bfloat16'


def test_what_evaluations_take_from_a_run_about_its_images():
  """All of the section but speed, and what the weights bring or the task decides."""
  data = {name for name in keys.KEYS if name.startswith('data.')}
  assert set(keys.of_the_data()) == data - set(keys.of_the_weights()) - {
      'data.eval_image_size', 'data.threads', 'data.prefetch', 'data.gray_range',
      'data.background', 'data.own'}
