"""What must fit together in a config."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import ml_collections

from byol_jax.config import keys as keys_lib
from byol_jax.config import kinds
from byol_jax.data.sources import names as names_lib
from byol_jax.errors import UserError
from byol_jax.networks import architectures
from byol_jax.storage import files as files_lib


def validate(config: ml_collections.ConfigDict) -> None:
  """Checks keys, types and values.

  Args:
    config: what the config file and the overrides made.

  Raises:
    UserError: naming the first key that is wrong, and what is allowed.
  """
  check_keys(config)
  for key, value in files_lib.flatten(config).items():
    keys_lib.KEYS[key].kind.check(f'config key {key}', value)
  _check_combinations(config)


def check_keys(config: ml_collections.ConfigDict) -> None:
  """Checks that a config has the keys of `base()`, and no others.

  Raises:
    UserError: names the first one.
  """
  flat = files_lib.flatten(config)
  for key in flat:
    if key not in keys_lib.KEYS:
      raise UserError(unknown(key))
  for key in keys_lib.KEYS:
    if key not in flat:
      raise UserError(f'config key {key} is missing: start the config from '
                      'byol_jax.config.base()')


def unknown(key: str) -> str:
  """Names the key that is nearest to one that there is not."""
  return f'unknown config key {key}{kinds.nearest(key, list(keys_lib.KEYS))}'


def _check_combinations(config: ml_collections.ConfigDict) -> None:
  data, train, network = config.data, config.train, config.network
  if data.source == 'same' and config.task not in keys_lib.EVALUATING:
    raise UserError(f"config key data.source is 'same': task={config.task} knows of "
                    f'no other data; name one of {", ".join(names_lib.SOURCES)}')
  if config.task in keys_lib.EVALUATING and not config.weights:
    raise UserError(f'config key weights is empty: task={config.task} takes '
                    '--config.weights=WORKDIR, WORKDIR/checkpoints/STEP or an '
                    'exported file')
  if config.task in ('pretrain', 'preflight') and config.weights:
    raise UserError(f'config key weights is {kinds.shown(config.weights)}, but task='
                    f'{config.task} does not look at it: to start from the weights of '
                    'a run set --config.init_from, to evaluate them '
                    '--config=configs/knn.py')
  if config.init_from.endswith('.safetensors'):
    raise UserError(f'config key init_from is {kinds.shown(config.init_from)}: an exported '
                    'encoder lacks the heads that pretraining goes on with; name the '
                    'WORKDIR that it is of, or one of its WORKDIR/checkpoints/STEP')
  if config.task == 'compare' and not config.compare.workdirs:
    raise UserError('config key compare.workdirs is empty: set '
                    '--config.compare.workdirs=runs/a,runs/b')
  smallest = architectures.minimum_image_size(
      architectures.ARCHITECTURES[network.name], network.stem)
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
  architecture = architectures.ARCHITECTURES[network.name]
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


def touched(config: ml_collections.ConfigDict, keys: Collection[str]) -> dict[str, Any]:
  """The values of those keys that differ from `base()`."""
  default = files_lib.flatten(keys_lib.base())
  return {key: value for key, value in files_lib.flatten(config).items()
          if key in keys and value != default[key]}


def check_untouched(config: ml_collections.ConfigDict, keys: Collection[str],
                    why: str) -> None:
  """Checks that nobody has set what would have no effect.

  Args:
    config: what the user wants.
    keys: those that would have none.
    why: that is so.

  Raises:
    UserError: names the key.
  """
  for key, value in touched(config, keys).items():
    raise UserError(f'config key {key} is {kinds.shown(value)}, but {why}: leave it out')


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
