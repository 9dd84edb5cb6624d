"""The automatic values of a config, and the steps of a run."""

from __future__ import annotations

import math

import ml_collections

from byol_jax.data import bad
from byol_jax.errors import UserError
from byol_jax.methods import names as method_names


def resolve(config: ml_collections.ConfigDict, num_images: int,
            platform: str = 'cpu') -> ml_collections.ConfigDict:
  """Fills in the automatic values: of the schedule, the cadences, the precision.

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
    num_images: the size of the training part.
    platform: the devices' platform, for `precision`.

  Returns:
    A copy of the config without None and with a precision.

  Raises:
    UserError: the data set or the run is too small for the batch.
  """
  config = ml_collections.ConfigDict(config.to_dict())
  config.network.precision = precision(config.network.precision, platform)
  method, network, train = config.method, config.network, config.train
  if method.temperature is None:
    method.temperature = method_names.METHODS[method.name].temperature
  if network.projector_layers is None:
    heads = method_names.heads(method.name, network.heads)
    network.projector_layers = heads.projector.layers
  if num_images < train.batch_size:
    raise UserError(
        f'the data set has {num_images} images, fewer than config key '
        f'train.batch_size = {train.batch_size}: ' + (
            'set --config.train.batch_size='
            f'{2 ** int(math.log2(num_images))} or less' if num_images > 1 else
            'two are the least'))
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


def precision(wanted: str, platform: str) -> str:
  """Returns 'bfloat16' or 'float32', the precision that 'auto' stands for.

  bfloat16 halves the memory of an accelerator; a CPU takes 1.2 to 10 times as long
  with it as with float32.

  Args:
    wanted: network.precision.
    platform: 'cpu', or any that jax calls an accelerator.
  """
  if wanted != 'auto':
    return wanted
  return 'float32' if platform == 'cpu' else 'bfloat16'


def tau_power(config: ml_collections.ConfigDict) -> float:
  """Returns the power that tau is raised to (`optim.ema_rate`)."""
  train = config.train
  return train.batch_size / train.tau_batch_size if train.tau_batch_size else 1.0


def total_steps(config: ml_collections.ConfigDict, num_images: int) -> int:
  """Returns T = floor(epochs * images / batch), as the reference rounds."""
  return int(config.train.epochs * num_images // config.train.batch_size)


def warmup_steps(config: ml_collections.ConfigDict, num_images: int) -> int:
  """Returns W = floor(warm-up epochs * images / batch)."""
  return int(config.train.warmup_epochs * num_images
             // config.train.batch_size)


def tau_in_words(config: ml_collections.ConfigDict) -> str:
  """Returns tau's way in a resolved config: 'from 0.98 to 1', or '0.99' if constant."""
  first = config.train.tau_base ** tau_power(config)
  last = config.train.tau_end
  return f'{first:g}' if first == last else f'from {first:g} to {last:g}'


def epochs(argument: str) -> float:
  """Returns the number of epochs that the argument of a config file states.

  Raises:
    ValueError: it is no such number.
  """
  try:
    number = float(argument)
  except ValueError:
    number = 0.0
  if not 0 < number < float('inf'):
    raise ValueError(f'the argument is {argument!r}, and must be a number of epochs, '
                     'as in NAME.py:100')
  return number
