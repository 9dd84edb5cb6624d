"""What a value of a config may be, and the right key that is nearest to a wrong one."""

from __future__ import annotations

import difflib
from typing import Any

import numpy as np

from byol_jax.config import keys as keys_lib
from byol_jax.data.sources import names as names_lib
from byol_jax.errors import UserError
from byol_jax.methods import names as method_names
from byol_jax.networks import architectures

# key -> (what is allowed, in words; the test)
_CHOICES = {
    'task': keys_lib.TASKS,
    'data.source': names_lib.SOURCES + ('same',),
    'data.resident': ('auto', 'yes', 'no'),
    'method.name': tuple(method_names.METHODS),
    'network.name': tuple(architectures.ARCHITECTURES),
    'network.stem': tuple(architectures.STEMS),
    'network.padding': ('torch', 'same'),
    'network.precision': ('bfloat16', 'float32'),
    'safety.on_nonfinite': ('stop', 'skip'),
    'train.target_init': ('own_key', 'copy'),
    'evaluation.network': ('online', 'target'),
    'evaluation.metric': ('auto', 'top1', 'mean_per_class'),
    'linear_eval.features': ('auto', 'crops', 'cached'),
    'embed.formats': ('npz', 'parquet', 'npz,parquet', 'parquet,npz'),
}
_POSITIVE = (
    'data.image_size', 'data.resident_limit_mib', 'data.fake_images',
    'data.prefetch', 'prepare.images_per_shard', 'prepare.quality',
    'network.width', 'network.projector_hidden_size',
    'network.projection_size', 'network.predictor_hidden_size',
    'network.bn_eps', 'train.batch_size', 'train.accumulation_steps',
    'train.trust_coefficient', 'train.epochs', 'log.every_steps',
    'checkpoint.every_steps', 'checkpoint.keep',
    'safety.heartbeat', 'safety.startup_timeout', 'evaluation.every_epochs',
    'evaluation.examples', 'evaluation.batch_size', 'evaluation.knn_k',
    'evaluation.final_images', 'preflight.images',
    'evaluation.knn_temperature', 'evaluation.seeds', 'evaluation.holdout',
    'linear_eval.epochs', 'logistic.l2_values',
    'logistic.max_iterations', 'finetune.labels')
_NOT_NEGATIVE = (
    'seed', 'checkpoint.keep_every', 'linear_eval.batch_size', 'finetune.batch_size',
    'safety.max_skipped', 'safety.step_timeout', 'prepare.short_side', 'data.threads',
    'data.max_bad_images', 'data.fake_classes', 'data.eval_image_size',
    'preflight.classes', 'train.warmup_epochs', 'train.tau_batch_size',
    'train.base_learning_rate', 'train.weight_decay',
    'augment.view1.brightness', 'augment.view1.contrast', 'augment.view2.brightness',
    'augment.view2.contrast', 'finetune.encoder_rate')
_SHARES = (
    'data.center_share', 'train.tau_base', 'train.momentum',
    'evaluation.center_share', 'evaluation.holdout', 'finetune.labels',
    'network.bn_decay_rate', *(
        f'augment.view{view}.{key}' for view in (1, 2)
        for key in ('flip', 'jitter', 'saturation', 'hue', 'grayscale', 'blur',
                    'solarize', 'solarize_threshold')))
# of the automatic ones
_WHOLE = ('checkpoint.every_steps', 'data.max_bad_images')
# lists of any length: (whether it may be empty, whether 0 is allowed)
_LISTS = {'linear_eval.learning_rates': (False, False), 'logistic.l2': (True, True),
          'finetune.learning_rates': (False, False), 'finetune.epochs': (False, False),
          'finetune.weight_decays': (False, True)}
_RANGES = ('logistic.l2_range', 'data.crop_area', 'data.crop_aspect', 'augment.view1.blur_sigma',
           'augment.view2.blur_sigma')
# Far beyond what anyone has used: a slip of the finger, or out of memory for sure.
_AT_MOST = {
    'data.image_size': 4096, 'data.eval_image_size': 4096,
    'data.fake_classes': 100_000, 'preflight.classes': 100_000,
    'data.threads': 1024, 'data.prefetch': 1024,
    'network.width': 32, 'network.projector_hidden_size': 2**20,
    'network.projection_size': 2**20, 'network.predictor_hidden_size': 2**20,
    'network.bn_eps': 1, 'network.last_gamma': 100,
    'train.base_learning_rate': 1000, 'train.weight_decay': 1000,
    'train.trust_coefficient': 1000, 'safety.heartbeat': 1_000_000,
    'safety.startup_timeout': 1_000_000,
    'evaluation.batch_size': 2**16, 'evaluation.seeds': 1000,
    'logistic.l2_values': 1000, 'linear_eval.batch_size': 2**20,
    'finetune.batch_size': 2**20, 'augment.view1.brightness': 10,
    'augment.view1.contrast': 10, 'augment.view2.brightness': 10,
    'augment.view2.contrast': 10, 'prepare.quality': 100}
_FLOAT32 = np.finfo(np.float32)
_MOST_SHOWN = 80  # characters of a value in a message


def nearest(key: str, keys: list[str]) -> str:
  """' (did you mean KEY?)', or '' where nothing is near."""
  within = [k for k in keys if k.startswith(f'{key}.')]
  if within:
    return f' (a section: set one of its keys, such as {within[0]})'
  tails = {k.split('.')[-1]: k for k in keys}
  # two letters exchanged: difflib takes view2 to be as near to vie1w as view1 is
  found = ([k for k in keys if sorted(k) == sorted(key)]
           or difflib.get_close_matches(key, keys, 1))
  if not found:
    tail = difflib.get_close_matches(key.split('.')[-1], list(tails), 1)
    found = [tails[tail[0]]] if tail else []
  return f' (did you mean {found[0]}?)' if found else ''


def check_type(key: str, value: Any, default: Any, automatic: bool) -> None:
  if automatic:
    if value is None:
      return
    kind = int if key in _WHOLE else float
  else:
    kind = type(default)
  number = isinstance(value, (int, float)) and not isinstance(value, bool)
  fits = (number if kind is float else
          isinstance(value, kind) and (kind is bool or not isinstance(value, bool)))
  if kind is list:
    fits = (isinstance(value, list) and (
        key in _LISTS or len(value) == len(default)) and all(
        isinstance(v, (int, float)) and not isinstance(v, bool) for v in value))
  if not fits:
    names = {list: ('a list of numbers, as in (0.1, 0.2)' if key in _LISTS else
                    f'{len(default)} numbers') if kind is list else '',
             float: 'a number', int: 'a whole number', bool: 'True or False',
             str: 'a string'}
    raise UserError(f'config key {key} is {shown(value)}, it must be '
                    f'{names[kind]}')
  if kind is str and '\0' in value:
    raise UserError(f'config key {key} is {shown(value)}, it must be without '
                    'the character NUL')
  numbers = value if isinstance(value, list) else [value] if number else []
  # compared, not converted: a whole number may be too large for any float
  most = float(_FLOAT32.max)
  if not all(-most <= v <= most for v in numbers):
    raise UserError(f'config key {key} is {shown(value)}, it must be finite, '
                    'also in 32 bits')


def shown(value: Any) -> str:
  """A value for a message, cut where it is long."""
  try:
    text = repr(value)
  except ValueError:  # of thousands of digits
    text = f'a huge {type(value).__name__}'
  return text if len(text) <= _MOST_SHOWN else f'{text[:_MOST_SHOWN]}...'


def check_value(key: str, value: Any) -> None:
  def need(condition: bool, allowed: str) -> None:
    if not condition:
      raise UserError(f'config key {key} is {shown(value)}, it must be {allowed}')
  if key in _CHOICES:
    choices = _CHOICES[key]
    need(value in choices, f'one of {", ".join(choices)}')
  if key in _POSITIVE:
    need(value > 0, 'above 0')
    need(value >= float(_FLOAT32.tiny), f'at least {_FLOAT32.tiny:.3g}')
  if key in _NOT_NEGATIVE:
    need(value >= 0, '0 or more')
  if key in _SHARES:
    need(0 <= value <= 1, 'from 0 to 1')
  if key in _RANGES:
    need(float(_FLOAT32.tiny) <= value[0] <= value[1],
         'two numbers above 0, the smaller one first')
  if key in _AT_MOST:
    need(value <= _AT_MOST[key], f'at most {_AT_MOST[key]:,}')
  if key in _LISTS:
    may_be_empty, may_be_zero = _LISTS[key]
    need(may_be_empty or len(value) > 0, 'one number or more')
    need(len(value) <= 100, 'at most 100 numbers')
    need(all(0 <= v <= 1e6 and (v > 0 or may_be_zero) for v in value),
         f'numbers {"from" if may_be_zero else "above"} 0 to 1e6')
  if key == 'evaluation.holdout':
    need(value < 1, 'below 1')
  if key.endswith('.blur_sigma'):
    need(value[1] <= 1000, 'at most 1,000 pixels')
  if key == 'data.crop_area':
    need(value[1] <= 1, 'at most the whole image, 1')
  if key == 'data.center_share':
    need(value > 0, 'above 0')
  if key == 'seed':
    need(value < 2**31, 'below 2^31')
  if key == 'evaluation.examples':
    need(value > 1, 'above 1')
  if key == 'network.bn_decay_rate':
    need(value < 1, 'below 1')
  # pixels are scaled before: the usual mistake is a mean of 123.7
  if key == 'data.mean':
    need(all(0 <= v <= 1 for v in value), 'from 0 to 1, as pixels are')
  if key == 'data.std':
    need(all(1e-3 <= v <= 1 for v in value), 'from 0.001 to 1, as pixels are')
  if key == 'network.last_gamma':
    need(value >= 0, '0 or more')
