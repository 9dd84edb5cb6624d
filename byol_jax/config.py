"""Every key of a run with its default, and the rules that a config must obey.

A config file starts from `base()` and states what differs. `validate` runs
before anything is written or compiled; `resolve` fills in what is automatic
(None) once the number of images is known.
"""

from __future__ import annotations

import difflib
import math
from typing import Any

import ml_collections
import numpy as np

from byol_jax import augment
from byol_jax.data import bad
from byol_jax.data.sources import names as names_lib
from byol_jax.errors import UserError
from byol_jax.networks import resnet
from byol_jax.storage import files as files_lib

MEASURING = ('knn', 'linear_eval', 'logistic', 'finetune')
EVALUATING = MEASURING + ('embed', 'export')  # what is done with `weights`
TASKS = ('pretrain', 'prepare', 'preflight') + EVALUATING + ('compare',)


def base() -> ml_collections.ConfigDict:
  """The paper's 1000-epoch run of ResNet-50 (section 3.3), on no data yet."""
  # a new object each: keys that shared one would share their value
  automatic = ml_collections.config_dict.placeholder
  c = ml_collections.ConfigDict()
  c.task = 'pretrain'
  c.seed = 0
  c.init_from = ''              # weights to start from: a workdir, or one of its
                                # checkpoints; see init_from.py
  c.weights = ''                # what evaluations measure: likewise, or an
                                # exported file; see weights.py

  c.data = ml_collections.ConfigDict(dict(
      source='fashion_sample',    # see data/sources.py; 'same', in evaluations:
                                  # what the weights were trained on
      path='',                    # of the folder or file, TFDS's data_dir
      test_path='',               # the list of the test part, source='list'
      tfds_name='',               # for source='tfds'
      train_split='train',
      test_split='test',          # '' for none
      image_size=224,             # of a view, pixels
      eval_image_size=0,          # of an evaluated image; 0: image_size
      crop_area=(0.08, 1.0),      # share of the image
      crop_aspect=(3 / 4, 4 / 3),
      center_share=0.875,         # evaluation: centre crop / shorter side
      mean=(0.485, 0.456, 0.406),
      std=(0.229, 0.224, 0.225),
      resident='auto',            # 'auto', 'yes', 'no': images on the device
      resident_limit_mib=1024,    # 'auto' streams what is larger
      threads=0,                  # that decode; 0: one a core
      prefetch=2,                 # batches begun ahead on the host, and as many
                                  # waiting on the devices: 6 S^2 bytes an image
      fake_images=1024,           # for source='fake'
      fake_classes=10,
  ))
  # how many files may be of no use; None: see data/bad.py
  c.data.max_bad_images = automatic(int)
  c.augment = ml_collections.ConfigDict(dict(
      view1=augment.T._asdict(), view2=augment.T_PRIME._asdict()))
  c.network = ml_collections.ConfigDict(dict(
      name='resnet50',
      width=1.0,
      stem='imagenet',            # or 'small', 'half': see networks/resnet.py
      padding='torch',            # or 'same', DeepMind's
      last_gamma=1.0,             # paper; 0: DeepMind's public code
      projector_hidden_size=4096,
      projection_size=256,
      predictor_hidden_size=4096,
      predictor=True,             # False: an ablation that collapses
      bn_decay_rate=0.9,
      bn_eps=1e-5,
      precision='bfloat16',       # or 'float32': arithmetic, not parameters
  ))
  c.train = ml_collections.ConfigDict(dict(
      batch_size=4096,            # global
      accumulation_steps=1,       # sub-batches, each with its own statistics
      target_init='own_key',      # or 'copy'
      tau_batch_size=0,           # that tau_base is meant for; at another one tau
                                  # is scaled: `optim.ema_rate`. 0: it is not
      momentum=0.9,
      trust_coefficient=1e-3,
  ))
  # None is automatic, from the number of images and the batch: see `resolve`.
  for key, value in dict(
      epochs=1000.0, warmup_epochs=10.0,
      base_learning_rate=0.2,     # x batch_size / 256
      weight_decay=1.5e-6, tau_base=0.996).items():
    c.train[key] = automatic(float)
    c.train[key] = value

  c.prepare = ml_collections.ConfigDict(dict(   # task='prepare'
      output='',                  # the folder to write
      short_side=0,               # pixels; 0: images stay as they are
      quality=95,                 # of the JPEGs, where images become smaller
      images_per_shard=1024,
  ))
  c.log = ml_collections.ConfigDict(dict(every_steps=50, tensorboard=True))
  c.checkpoint = ml_collections.ConfigDict(dict(
      keep=3,                     # the newest ones
      keep_every=0))              # and those of multiples of this step; 0: none
  c.checkpoint.every_steps = automatic(int)     # None: 20 a run, at most 1000
  c.safety = ml_collections.ConfigDict(dict(
      on_nonfinite='stop',        # or 'skip' the update, where the loss or the
                                  # gradient is not finite
      max_skipped=10,             # so many steps in a row
      step_timeout=900.0,         # seconds; 0: for ever. See watchdog.py
      heartbeat=100,              # seconds after which a silent process ends all
      startup_timeout=300,        # seconds to wait for the other processes
  ))
  c.evaluation = ml_collections.ConfigDict(dict(
      examples=2048,              # for the collapse measures and periodic k-NN,
                                  # all of the training part
      batch_size=128,             # a device
      knn_k=20,
      knn_temperature=0.07,
      final=True,                 # k-NN and linear probe when the run ends
      final_images=50_000,        # at most so many, on either side
      # of the tasks that evaluate `weights`:
      network='online',           # or 'target'
      baselines=False,            # also an untrained encoder and raw pixels
      seeds=1,                    # seed, seed + 1, ...: mean and deviation
      metric='auto',              # that choices are made by: 'top1',
                                  # 'mean_per_class'; auto: the data set's own
      holdout=0.1,                # share of the training images that chooses
      center_share=0.0,           # 0: as in pretraining
      cache=True,                 # features are kept beside the weights
  ))
  c.evaluation.every_epochs = automatic(float)  # None: ten times a run
  c.linear_eval = ml_collections.ConfigDict(dict(   # paper, appendix C.1
      features='auto',            # 'crops' at random, and flips; 'cached': centred,
                                  # computed once; auto: cached below 100,000 images
      epochs=80.0,
      batch_size=0,               # 0: 1024, or 256 for fewer than 100,000 images
      learning_rates=(0.4, 0.3, 0.2, 0.1, 0.05),
      refit=True,                 # with the chosen rate on all training images
  ))
  c.logistic = ml_collections.ConfigDict(dict(      # paper, appendix D.2
      l2_range=(1e-6, 1e5),
      l2_values=45,               # spaced evenly in the logarithm
      l2=(),                      # or these
      standardize=False,
      max_iterations=200,
  ))
  c.finetune = ml_collections.ConfigDict(dict(      # paper, appendix C.2
      labels=0.01,                # share of the labels that is used
      learning_rates=(0.1, 0.05, 0.02, 0.01, 0.005),
      epochs=(30.0, 50.0),
      weight_decays=(0.0,),
      encoder_rate=1.0,           # the encoder's rate / the classifier's
      batch_size=0,               # 0: 1024, or less that makes 12 steps an epoch
  ))
  c.embed = ml_collections.ConfigDict(dict(
      split='train',
      formats='npz,parquet',
  ))
  c.compare = ml_collections.ConfigDict(dict(
      workdirs='',                # separated by commas; * stands for many
  ))
  c.preflight = ml_collections.ConfigDict(dict(
      topology='v3-512',          # see preflight.py
      images=1_281_167,           # of the training part, which is not opened
      classes=1000,               # 0: no labels
  ))
  return c.lock()


# key -> (what is allowed, in words; the test)
_CHOICES = {
    'task': TASKS,
    'data.source': names_lib.SOURCES + ('same',),
    'data.resident': ('auto', 'yes', 'no'),
    'network.name': tuple(resnet.ARCHITECTURES),
    'network.stem': tuple(resnet.STEMS),
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


def validate(config: ml_collections.ConfigDict) -> None:
  """Checks keys, types and values.

  Args:
    config: what the config file and the overrides made.

  Raises:
    UserError: naming the first key that is wrong, and what is allowed.
  """
  flat, known = files_lib.flatten(config), files_lib.flatten(base())
  for key in flat:
    if key not in known:
      raise UserError(f'unknown config key {key}{nearest(key, list(known))}')
  for key in known:
    if key not in flat:
      raise UserError(f'config key {key} is missing: start the config from '
                      'byol_jax.config.base()')
  automatic = {k for k, v in known.items() if v is None} | {
      'train.epochs', 'train.warmup_epochs', 'train.base_learning_rate',
      'train.weight_decay', 'train.tau_base'}
  for key, value in flat.items():
    _check_type(key, value, known[key], key in automatic)
  for key, value in flat.items():
    if value is not None:
      _check_value(key, value)
  _check_combinations(config)


def _check_type(key: str, value: Any, default: Any, automatic: bool) -> None:
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
    raise UserError(f'config key {key} is {_shown(value)}, it must be '
                    f'{names[kind]}')
  if kind is str and '\0' in value:
    raise UserError(f'config key {key} is {_shown(value)}, it must be without '
                    'the character NUL')
  numbers = value if isinstance(value, list) else [value] if number else []
  # compared, not converted: a whole number may be too large for any float
  most = float(_FLOAT32.max)
  if not all(-most <= v <= most for v in numbers):
    raise UserError(f'config key {key} is {_shown(value)}, it must be finite, '
                    'also in 32 bits')


def _shown(value: Any) -> str:
  """A value for a message, cut where it is long."""
  try:
    text = repr(value)
  except ValueError:  # of thousands of digits
    text = f'a huge {type(value).__name__}'
  return text if len(text) <= _MOST_SHOWN else f'{text[:_MOST_SHOWN]}...'


def _check_value(key: str, value: Any) -> None:
  def need(condition: bool, allowed: str) -> None:
    if not condition:
      raise UserError(f'config key {key} is {_shown(value)}, it must be {allowed}')
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


def _check_combinations(config: ml_collections.ConfigDict) -> None:
  data, train, network = config.data, config.train, config.network
  if data.source == 'same' and config.task not in EVALUATING:
    raise UserError(f"config key data.source is 'same': task={config.task} knows of "
                    f'no other data; name one of {", ".join(names_lib.SOURCES)}')
  if config.task in EVALUATING and not config.weights:
    raise UserError(f'config key weights is empty: task={config.task} takes '
                    '--config.weights=WORKDIR, WORKDIR/checkpoints/STEP or an '
                    'exported file')
  if config.task in ('pretrain', 'preflight') and config.weights:
    raise UserError(f'config key weights is {_shown(config.weights)}, but task='
                    f'{config.task} does not look at it: to start from the weights of '
                    'a run set --config.init_from, to evaluate them '
                    '--config=configs/knn.py')
  if config.init_from.endswith('.safetensors'):
    raise UserError(f'config key init_from is {_shown(config.init_from)}: an exported '
                    'encoder lacks the heads that pretraining goes on with; name the '
                    'WORKDIR that it is of, or one of its WORKDIR/checkpoints/STEP')
  if config.task == 'compare' and not config.compare.workdirs:
    raise UserError('config key compare.workdirs is empty: set '
                    '--config.compare.workdirs=runs/a,runs/b')
  smallest = resnet.minimum_image_size(
      resnet.ARCHITECTURES[network.name], network.stem)
  if data.image_size < smallest:
    raise UserError(
        f'config key data.image_size is {data.image_size}, but {network.name} '
        f"with network.stem='{network.stem}' needs at least {smallest} pixels")
  fake_mib = 3 * data.fake_images * data.image_size**2 / 2**20
  if data.source == 'fake' and fake_mib > data.resident_limit_mib:
    raise UserError(
        f'config key data.fake_images is {data.fake_images}: of {data.image_size}'
        f' x {data.image_size} pixels that is {fake_mib:,.0f} MiB, more than '
        f'data.resident_limit_mib = {data.resident_limit_mib}')
  if data.source in ('folder', 'list', 'npz', 'prepared') and not data.path:
    raise UserError(f'config key data.path is empty: data.source='
                    f"'{data.source}' reads it, set --config.data.path=PATH")
  if data.source == 'tfds' and not data.tfds_name:
    raise UserError("config key data.tfds_name is empty: data.source='tfds' "
                    'needs the name of a data set')
  architecture = resnet.ARCHITECTURES[network.name]
  narrowest = min(architecture.stem_channels, architecture.channels[0] // (
      4 if architecture.bottleneck else 1))
  if round(narrowest * network.width) < 1:
    raise UserError(f'config key network.width is {config.network.width}, too '
                    'small for a single channel')
  if train.batch_size % train.accumulation_steps:
    raise UserError(
        f'config key train.batch_size is {train.batch_size}, not a multiple of '
        f'train.accumulation_steps = {train.accumulation_steps}')
  if train.batch_size // train.accumulation_steps < 2:
    raise UserError(
        f'config key train.batch_size is {train.batch_size}: with '
        f'train.accumulation_steps = {train.accumulation_steps}, batch '
        'normalization would see less than two images')
  if train.tau_batch_size and train.tau_base is None:
    raise UserError(
        f'config key train.tau_batch_size is {train.tau_batch_size}, but '
        'train.tau_base is None, which is chosen for the batch as it is: set it')
  if (train.epochs is not None and train.warmup_epochs is not None
      and train.warmup_epochs > train.epochs):
    raise UserError(
        f'config key train.warmup_epochs is {train.warmup_epochs:g}, longer '
        f'than the run: train.epochs = {train.epochs:g}')


def touched(config: ml_collections.ConfigDict,
            beginnings: tuple[str, ...]) -> dict[str, Any]:
  """What differs from `base()`, of the keys that begin so."""
  default = files_lib.flatten(base())
  return {key: value for key, value in files_lib.flatten(config).items()
          if key.startswith(beginnings) and value != default[key]}


def check_untouched(config: ml_collections.ConfigDict, beginnings: tuple[str, ...],
                    why: str) -> None:
  """Checks that nobody has set what would have no effect.

  Args:
    config: what the user wants.
    beginnings: of keys.
    why: it would have none.

  Raises:
    UserError: names the key.
  """
  for key, value in touched(config, beginnings).items():
    raise UserError(f'config key {key} is {_shown(value)}, but {why}: leave it out')


def check_devices(batch_size: int, accumulation_steps: int,
                  num_devices: int) -> None:
  """Checks that a sub-batch divides evenly over the devices."""
  if batch_size % (accumulation_steps * num_devices):
    unit = accumulation_steps * num_devices
    nearest_size = max(unit, batch_size // unit * unit)
    raise UserError(
        f'config key train.batch_size is {batch_size}, not a multiple of '
        f'{num_devices} devices x train.accumulation_steps = '
        f'{accumulation_steps}; {nearest_size} is')


def resolve(config: ml_collections.ConfigDict,
            num_images: int) -> ml_collections.ConfigDict:
  """Fills in the automatic values of the schedule and the cadences.

  - epochs: 100 for ImageNet's 1.28 M images, more for fewer images as
    sqrt(1.28 M / images), from 100 to 1000: CIFAR-10 640, Imagenette 1000.
  - warm-up: 10 epochs (paper), or a tenth of a shorter run.
  - base learning rate: the paper's presets, 0.45 to 100 epochs, 0.3 to 300,
    0.2 beyond; multiplied by sqrt(4096 / batch), at most 2, for smaller
    batches, where the presets' linear rule is known to fall short (paper,
    appendix G.2: 0.4 at batch 512; DeepMind's Imagenette recipe: 2.0 at 256).
  - weight decay: 1e-6, from 1000 epochs on 1.5e-6 (paper's presets).
  - tau_base: 1 - tau_base = 0.004 (312,784 / steps)^0.6, a fit to the presets
    (0.97, 0.99, 0.99, 0.996 at 12,511, 31,278, 93,835 and 312,784 steps), from
    0.9 to 0.9995.

  Args:
    config: a valid config.
    num_images: of the training part.

  Returns:
    A copy without None.

  Raises:
    UserError: the data set or the run is too small for the batch.
  """
  config = ml_collections.ConfigDict(config.to_dict())
  train = config.train
  if num_images < train.batch_size:
    raise UserError(
        f'the data set has {num_images} images, fewer than config key '
        f'train.batch_size = {train.batch_size}: set '
        f'--config.train.batch_size={2 ** int(math.log2(max(num_images, 2)))} '
        'or less')
  if train.epochs is None:
    automatic = 100.0 * math.sqrt(1281167 / num_images)
    train.epochs = float(round(min(max(automatic, 100.0), 1000.0)))
  if train.warmup_epochs is None:
    train.warmup_epochs = min(10.0, train.epochs / 10)
  if train.base_learning_rate is None:
    preset = 0.45 if train.epochs <= 100 else 0.3 if train.epochs <= 300 else 0.2
    small_batch = math.sqrt(max(4096 / train.batch_size, 1.0))
    train.base_learning_rate = round(min(preset * small_batch, 2.0), 3)
  if train.weight_decay is None:
    train.weight_decay = 1.5e-6 if train.epochs >= 1000 else 1e-6
  steps = total_steps(config, num_images)
  if steps < 1:
    raise UserError(
        f'config key train.epochs = {train.epochs:g} is less than one step of '
        f'{train.batch_size} images')
  if steps >= 2**31:
    raise UserError(f'config key train.epochs = {train.epochs:g} is {steps:.3g} '
                    'steps, it must be less than 2^31')
  if train.tau_base is None:
    slow = 0.004 * (312784 / steps) ** 0.6
    train.tau_base = round(1.0 - min(max(slow, 0.0005), 0.1), 5)
  if train.warmup_epochs > train.epochs:
    raise UserError(
        f'config key train.warmup_epochs is {train.warmup_epochs:g}, longer '
        f'than the run: train.epochs = {train.epochs:g}')
  if config.data.max_bad_images is None:
    config.data.max_bad_images = bad.default_limit(num_images)
  if config.checkpoint.every_steps is None:
    config.checkpoint.every_steps = min(max(steps // 20, 1), 1000)
  if config.evaluation.every_epochs is None:
    config.evaluation.every_epochs = max(train.epochs / 10, 1.0)
  return config.lock()


def tau_power(config: ml_collections.ConfigDict) -> float:
  """What tau is raised to: `optim.ema_rate`."""
  train = config.train
  return train.batch_size / train.tau_batch_size if train.tau_batch_size else 1.0


def total_steps(config: ml_collections.ConfigDict, num_images: int) -> int:
  """T = floor(epochs * images / batch), as the reference rounds."""
  return int(config.train.epochs * num_images // config.train.batch_size)


def warmup_steps(config: ml_collections.ConfigDict, num_images: int) -> int:
  """W = floor(warm-up epochs * images / batch)."""
  return int(config.train.warmup_epochs * num_images
             // config.train.batch_size)
