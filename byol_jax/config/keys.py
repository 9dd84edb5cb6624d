"""Every key of a run, once: default, kind, help, and the tasks that look at it.

A config file starts from `base()` and states what differs.
"""

from __future__ import annotations

from collections.abc import Mapping
import textwrap
from typing import Any
from typing import NamedTuple

import ml_collections

from byol_jax.config.kinds import automatic
from byol_jax.config.kinds import choice
from byol_jax.config.kinds import flag
from byol_jax.config.kinds import Kind
from byol_jax.config.kinds import list_of
from byol_jax.config.kinds import number
from byol_jax.config.kinds import numbers
from byol_jax.config.kinds import pair
from byol_jax.config.kinds import share
from byol_jax.config.kinds import text
from byol_jax.config.kinds import whole
from byol_jax.data.sources import names as names_lib
from byol_jax.networks import architectures
from byol_jax.views import recipes

CHOOSING = ('linear_eval', 'logistic', 'finetune')  # on held-out training images
MEASURING = ('knn',) + CHOOSING
EVALUATING = MEASURING + ('embed', 'export')  # what is done with `weights`
TASKS = ('pretrain', 'prepare', 'preflight') + EVALUATING + ('compare',)
_PRETRAIN = ('pretrain',)
_LEARNING = ('pretrain', 'preflight')  # they build the train step


class Key(NamedTuple):
  """One key of the config.

  Attributes:
    default: its value in `base()`.
    kind: what is allowed.
    help: what it is for.
    was: its value for a config of an older version that lacks it, where that is not
      the default of today.
    tasks: that look at it.
    free: the tasks that learn or measure the same with any value. It says where files
      are, how fast to go or what to write, and may differ when they are resumed.
    of_the_weights: whether it describes the encoder or how its images are prepared;
      tasks that take `weights` take it from them.
  """
  default: Any
  kind: Kind
  help: str
  was: Any = None
  tasks: tuple[str, ...] = TASKS
  free: tuple[str, ...] = ()
  of_the_weights: bool = False

  def described(self, name: str) -> str:
    """The lines of --help."""
    return '\n'.join([f'  --{name}={self.default}', *textwrap.wrap(
        f'{self.help} [{self.kind.words}]', 88, initial_indent=' ' * 6,
        subsequent_indent=' ' * 6)])


def _for(tasks: tuple[str, ...], *, free: tuple[str, ...] = (),
         of_the_weights: bool = False, **keys: tuple[Any, ...]) -> dict[str, Key]:
  """Returns keys, each a tuple of Key's first fields, that have the others alike."""
  return {name: Key(*key, tasks=tasks, free=free, of_the_weights=of_the_weights)
          for name, key in keys.items()}


_POSITIVE, _COUNT = whole(above=0), whole(at_least=0)
_WIDTH, _CLASSES = whole(above=0, at_most=2**20), whole(at_least=0, at_most=100_000)
_PART, _FACTOR = number(above=0, at_most=1), number(at_least=0, at_most=10)
_RATE = automatic(number(at_least=0, at_most=1000))
_SECONDS = whole(above=0, at_most=1_000_000)
_SEED = whole(at_least=0, below=2**31, words='a whole number from 0, below 2^31')
_MEAN = number(at_least=0, at_most=1, words='from 0 to 1, as pixels are')
_STD = number(at_least=1e-3, at_most=1, words='from 0.001 to 1, as pixels are')

_RECIPE = {
    'flip': (share(), 'probability of a horizontal flip'),
    'jitter': (share(), 'probability of the four colour changes that follow'),
    'brightness': (_FACTOR, 'delta in +-brightness, added'),
    'contrast': (_FACTOR, 'factor in 1 +- contrast'),
    'saturation': (share(), 'factor in 1 +- saturation'),
    'hue': (share(), 'delta in +-hue of a turn'),
    'grayscale': (share(), 'probability of gray'),
    'blur': (share(), 'probability of a Gaussian blur'),
    'blur_sigma': (pair('at most 1,000 pixels', at_most=1000), 'its range, pixels'),
    'solarize': (share(), 'probability of inverting what is bright'),
    'solarize_threshold': (share(), 'the value above which it is bright'),
}


def _view(recipe: recipes.Recipe) -> dict[str, Key]:
  return _for(_LEARNING, of_the_weights=True, **{
      name: (value, *_RECIPE[name]) for name, value in recipe._asdict().items()})


# section: (what it is about, {name: key}); the first one's keys stand alone
_SECTIONS: dict[str, tuple[str, dict[str, Key]]] = {
    '': ('the run', _for(
        TASKS, free=_PRETRAIN,
        task=('pretrain', choice(*TASKS), 'what to do'),
    ) | _for(
        TASKS,
        seed=(0, _SEED, 'what all random numbers follow from'),
    ) | _for(
        _PRETRAIN,
        init_from=('', text(), 'weights to start from: a WORKDIR, or one of its '
                   'WORKDIR/checkpoints/STEP'),
    ) | _for(
        EVALUATING, free=EVALUATING,
        weights=('', text(), 'what is evaluated: a WORKDIR, WORKDIR/checkpoints/STEP '
                 'or an exported file'),
    )),
    'data': ('the images', _for(
        TASKS,
        source=('fashion_sample', choice(*names_lib.SOURCES, 'same'),
                'where images come from (docs/input.md); same, in evaluations: what '
                'the weights were trained on'),
        tfds_name=('', text(), 'the data set, with source=tfds'),
        train_split=('train', text(), 'the part to learn from'),
        test_split=('test', text(), 'the part to test with; empty: none'),
        eval_image_size=(0, whole(at_least=0, at_most=4096),
                         'side of an evaluated image, pixels; 0: image_size'),
        resident=('auto', choice('auto', 'yes', 'no'),
                  'whether images live on the device; auto: where they are small'),
        resident_limit_mib=(1024, _POSITIVE, 'MiB; auto streams what is larger'),
        fake_images=(1024, _POSITIVE, 'how many, with source=fake'),
        fake_classes=(10, _CLASSES, 'how many, with source=fake; 0: no labels'),
    ) | _for(
        TASKS, free=TASKS,
        path=('', text(), "the folder or file; TFDS's data_dir"),
        test_path=('', text(), 'the list of the test part, with source=list'),
        threads=(0, whole(at_least=0, at_most=1024), 'that decode; 0: one a core'),
    ) | _for(
        _LEARNING, free=_LEARNING,
        prefetch=(2, whole(above=0, at_most=1024), 'batches begun ahead on the host, '
                  'and as many waiting on the devices: 6 S^2 bytes an image'),
    ) | _for(
        TASKS, free=_PRETRAIN,
        max_bad_images=(None, automatic(_COUNT), 'how many files may be of no use; '
                        'None: 100 or 0.1 %, but at most a tenth'),
    ) | _for(
        _LEARNING, of_the_weights=True,
        image_size=(224, whole(above=0, at_most=4096), 'side S of a view, pixels'),
        crop_area=((0.08, 1.0), pair('at most the whole image, 1', at_most=1),
                   'range of a random crop, share of the image'),
        crop_aspect=((3 / 4, 4 / 3), pair(), 'range of its width / height'),
        center_share=(0.875, _PART, 'evaluation: centre crop / shorter side'),
        mean=((0.485, 0.456, 0.406), numbers(3, _MEAN), 'red, green, blue'),
        std=((0.229, 0.224, 0.225), numbers(3, _STD), 'red, green, blue'),
    )),
    'augment.view1': ("the first view: the paper's T (table 6)", _view(recipes.T)),
    'augment.view2': ("the second view: T'", _view(recipes.T_PRIME)),
    'network': ('the networks', _for(
        _LEARNING, of_the_weights=True,
        name=('resnet50', choice(*architectures.ARCHITECTURES), 'the encoder'),
        width=(1.0, number(above=0, at_most=32), 'factor of its channels'),
        stem=('imagenet', choice(*architectures.STEMS), 'first convolution: 7x7; small: '
              '3x3, for images of up to 64 pixels; half: 3x3 with stride 2'),
        padding=('torch', choice('torch', 'same'), "torchvision's, or DeepMind's"),
        last_gamma=(1.0, number(at_least=0, at_most=100), 'initial scale at the end of '
                    "a block: the paper's 1, or 0 as in DeepMind's code"),
        projector_hidden_size=(4096, _WIDTH, 'units'),
        projection_size=(256, _WIDTH, 'units'),
        predictor_hidden_size=(4096, _WIDTH, 'units'),
        predictor=(True, flag(), 'False: an ablation that collapses'),
        bn_decay_rate=(0.9, number(at_least=0, below=1), 'of the running statistics'),
        bn_eps=(1e-5, number(above=0, at_most=1), 'added to variances'),
        precision=('bfloat16', choice('bfloat16', 'float32'), 'of arithmetic, not of '
                   'parameters'),
    )),
    'train': ('the optimization', _for(
        _LEARNING, of_the_weights=True,
        batch_size=(4096, _POSITIVE, 'images a step, of all devices together'),
        accumulation_steps=(1, _POSITIVE, 'sub-batches a step, each with its own batch '
                            'statistics'),
        epochs=(1000.0, automatic(number(above=0)), 'None: by the number of images'),
        warmup_epochs=(10.0, automatic(number(at_least=0)), 'of the learning rate; '
                       'None: 10, or a tenth of a shorter run'),
        base_learning_rate=(0.2, _RATE, 'x batch_size / 256; None: by the epochs'),
        weight_decay=(1.5e-6, _RATE, 'None: 1e-6, from 1000 epochs on 1.5e-6'),
        tau_base=(0.996, automatic(share()), "the target's moving average at first; "
                  'None: by the number of steps'),
        tau_batch_size=(0, _COUNT, 'that tau_base is meant for: at another one tau is '
                        'scaled; 0: it is not'),
        target_init=('own_key', choice('own_key', 'copy'), "the target's first weights: "
                     'random ones of its own, or a copy'),
        momentum=(0.9, share(), 'of LARS'),
        trust_coefficient=(1e-3, number(above=0, at_most=1000), 'of LARS'),
    )),
    'prepare': ('shards of images', _for(
        ('prepare',),
        output=('', text(), 'the folder to write'),
        short_side=(0, _COUNT, 'pixels; 0: images stay as they are'),
        quality=(95, whole(above=0, at_most=100), 'of JPEGs that become smaller'),
        images_per_shard=(1024, _POSITIVE, 'images a file'),
    )),
    'log': ('what a run tells', _for(
        _PRETRAIN, free=_PRETRAIN,
        every_steps=(50, _POSITIVE, 'steps a line'),
        tensorboard=(True, flag(), 'whether TensorBoard events are written, too'),
    )),
    'checkpoint': ('what a run keeps', _for(
        _PRETRAIN, free=_PRETRAIN,
        every_steps=(None, automatic(_POSITIVE), 'None: 20 a run, at most 1000 steps'),
        keep=(3, _POSITIVE, 'how many of the newest'),
        keep_every=(0, _COUNT, 'and those of multiples of this step; 0: none'),
    )),
    'safety': ('what a run does when something fails', _for(
        _LEARNING, free=_LEARNING,
        on_nonfinite=('stop', choice('stop', 'skip'), 'stop, or skip the update, where '
                      'the loss or the gradient is not finite'),
    ) | _for(
        _PRETRAIN, free=_PRETRAIN,
        max_skipped=(10, _COUNT, 'steps in a row'),
        step_timeout=(900.0, number(at_least=0), 'seconds a step; 0: for ever'),
    ) | _for(
        TASKS, free=TASKS,
        heartbeat=(100, _SECONDS, 'seconds after which a silent process ends all'),
        startup_timeout=(300, _SECONDS, 'seconds to wait for the other processes'),
    )),
    'evaluation': ('what an encoder is worth', _for(
        _PRETRAIN, free=_PRETRAIN,
        every_epochs=(None, automatic(number(above=0)),
                      'between collapse measures and k-NN; None: ten times a run'),
        examples=(2048, whole(above=1), 'training images that these take'),
        final=(True, flag(), 'whether k-NN and a linear probe end the run'),
        final_images=(50_000, _POSITIVE, 'that these take at most, on either side'),
    ) | _for(
        _PRETRAIN + EVALUATING, free=_PRETRAIN,
        batch_size=(128, whole(above=0, at_most=2**16), 'images a device'),
    ) | _for(
        _PRETRAIN + ('knn',), free=_PRETRAIN,
        knn_k=(20, _POSITIVE, 'neighbours that vote'),
        knn_temperature=(0.07, number(above=0), 'of the votes, exp(cosine / this)'),
    ) | _for(
        EVALUATING,
        network=('online', choice('online', 'target'), 'which one is evaluated'),
        center_share=(0.0, share(), 'centre crop / shorter side; 0: as in pretraining'),
    ) | _for(
        EVALUATING, free=EVALUATING,
        cache=(True, flag(), 'whether features are kept beside the weights'),
    ) | _for(
        MEASURING,
        baselines=(False, flag(), 'also an untrained encoder and raw pixels'),
        seeds=(1, whole(above=0, at_most=1000), 'seed, seed + 1, ...: mean, deviation'),
        metric=('auto', choice('auto', 'top1', 'mean_per_class'),
                "that choices are made by; auto: the data set's own"),
    ) | _for(
        CHOOSING,
        holdout=(0.1, number(above=0, below=1), 'share of the training images that '
                 'chooses'),
    )),
    'linear_eval': ('paper, appendix C.1', _for(
        ('linear_eval',),
        features=('auto', choice('auto', 'crops', 'cached'), 'of random crops and flips, '
                  'or of centred images, once; auto: cached below 100,000 images'),
        epochs=(80.0, number(above=0), 'of the classifier'),
        batch_size=(0, whole(at_least=0, at_most=2**20),
                    '0: 1024, or 256 for fewer than 100,000 images'),
        learning_rates=((0.4, 0.3, 0.2, 0.1, 0.05), list_of(), 'to choose from'),
        refit=(True, flag(), 'with the chosen rate on all training images'),
    )),
    'logistic': ('paper, appendix D.2', _for(
        ('logistic',),
        l2_range=((1e-6, 1e5), pair(), 'of the penalties to choose from'),
        l2_values=(45, whole(above=0, at_most=1000), 'spaced evenly in the logarithm'),
        l2=((), list_of(zero=True, empty=True), 'or these penalties'),
        standardize=(False, flag(), 'whether features get mean 0 and deviation 1'),
        max_iterations=(200, _POSITIVE, 'of L-BFGS, for each penalty'),
    )),
    'finetune': ('paper, appendix C.2', _for(
        ('finetune',),
        labels=(0.01, _PART, 'share of the labels that is used'),
        learning_rates=((0.1, 0.05, 0.02, 0.01, 0.005), list_of(), 'to choose from'),
        epochs=((30.0, 50.0), list_of(), 'to choose from'),
        weight_decays=((0.0,), list_of(zero=True), 'to choose from'),
        encoder_rate=(1.0, number(at_least=0), "the encoder's rate / the classifier's"),
        batch_size=(0, whole(at_least=0, at_most=2**20),
                    '0: 1024, or less that makes 12 steps an epoch'),
    )),
    'embed': ('features for use elsewhere', _for(
        ('embed',),
        split=('train', text(), 'the part to encode'),
        formats=('npz,parquet', choice('npz', 'parquet', 'npz,parquet', 'parquet,npz'),
                 'of the files'),
    )),
    'compare': ('a table over runs', _for(
        ('compare',),
        workdirs=('', text(), 'separated by commas; * stands for many'),
    )),
    'preflight': ('does the step fit a pod?', _for(
        ('preflight',),
        topology=('v3-512', text(), 'the devices to compile for; or as in v3:16x16'),
        images=(1_281_167, _POSITIVE, 'of the training part, which is not opened'),
        classes=(1000, _CLASSES, '0: no labels'),
    )),
}

KEYS: Mapping[str, Key] = {
    f'{section}.{name}'.removeprefix('.'): key
    for section, (_, keys) in _SECTIONS.items() for name, key in keys.items()}


def base() -> ml_collections.ConfigDict:
  """The paper's 1000-epoch run of ResNet-50 (section 3.3), on no data yet."""
  c = ml_collections.ConfigDict()
  for name, key in KEYS.items():
    *sections, last = name.split('.')
    section = c
    for part in sections:
      if part not in section:
        section[part] = ml_collections.ConfigDict()
      section = section[part]
    if key.kind.refusal(None):
      section[last] = key.default
    else:  # a new object each: keys that shared one would share their value
      section[last] = ml_collections.config_dict.placeholder(key.kind.type)
      section[last] = key.default
  return c.lock()


def free(task: str) -> tuple[str, ...]:
  """The keys that may differ when a task is resumed.

  It does not look at them, or learns and measures the same with any value.
  """
  return tuple(name for name, key in KEYS.items()
               if task not in key.tasks or task in key.free)


def unused(task: str) -> tuple[str, ...]:
  """The keys that a task does not look at, without those `of_the_weights`."""
  return tuple(name for name, key in KEYS.items()
               if task not in key.tasks and not key.of_the_weights)


def of_the_weights() -> tuple[str, ...]:
  """The keys that evaluations take from the weights."""
  return tuple(name for name, key in KEYS.items() if key.of_the_weights)


def was() -> dict[str, Any]:
  """Every key as a config means it that was written before there was the key."""
  return {name: list(value) if isinstance(value, tuple) else value
          for name, key in KEYS.items()
          for value in [key.default if key.was is None else key.was]}


def described() -> str:
  """The lines of --help, section by section."""
  return '\n'.join(
      f'\n{section}{": " * bool(section)}{about}\n' + '\n'.join(
          key.described(f'config.{section}{"." * bool(section)}{name}')
          for name, key in keys.items())
      for section, (about, keys) in _SECTIONS.items())
