"""The rules of a config: values that must fit together."""

from __future__ import annotations

from collections.abc import Collection, Iterable
import itertools
from typing import Any

import ml_collections

from byol_jax.config import keys as keys_lib
from byol_jax.config import kinds
from byol_jax.config import names as task_names
from byol_jax.config import shard as shard_lib
from byol_jax.data.sources import names as source_names
from byol_jax.errors import UserError
from byol_jax.methods import names as method_names
from byol_jax.networks import architectures
from byol_jax.storage import files as files_lib


def validate(config: ml_collections.ConfigDict) -> None:
  """Checks keys, types and values.

  Args:
    config: the config file's values with those of the command line.

  Raises:
    UserError: names the first key that is wrong, and what is allowed.
  """
  check_keys(config)
  for key, value in files_lib.flatten(config).items():
    keys_lib.KEYS[key].kind.check(f'config key {key}', value)
  _check_combinations(config)


def check_keys(config: ml_collections.ConfigDict) -> None:
  """Checks that a config has the keys of `base()`, and no others.

  Raises:
    UserError: names the first key that is missing or unknown.
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
  """Returns the message for an unknown key, with the nearest key."""
  return f'unknown config key {key}{kinds.nearest(key, list(keys_lib.KEYS))}'


# What is wrong, in the order of the messages: (key, whether it is, why).
_Rules = Iterable[tuple[str, Any, str]]


def _check_combinations(config: ml_collections.ConfigDict) -> None:
  for key, is_wrong, why in itertools.chain.from_iterable(
      rules(config) for rules in (_of_tasks, _of_images, _of_batches, _of_methods,
                                  _of_optimizers)):
    if is_wrong:
      value = files_lib.flatten(config)[key]
      raise UserError(f'config key {key} is '
                      f'{"empty" if value == "" else kinds.shown(value)}{why}')


def _of_tasks(config: ml_collections.ConfigDict) -> _Rules:
  data, task, area = config.data, config.task, config.evaluation.crop_area
  return (
      ('data.source', data.source == 'same' and task not in task_names.EVALUATING,
       f': task={task} knows of no other data; name one of '
       f'{", ".join(source_names.SOURCES)}'),
      ('weights', task in task_names.EVALUATING and not config.weights,
       f': task={task} takes --config.weights=WORKDIR, WORKDIR/checkpoints/STEP or an '
       'exported file'),
      ('weights', task in task_names.LEARNING and config.weights,
       f', but task={task} does not look at it: to start from the weights of a run set '
       '--config.init_from, to evaluate them --config=configs/knn.py'),
      ('shard', config.shard and task not in task_names.SHARDED,
       f', but task={task} is no work for separate processes: leave it out; several '
       'machines train one run with --distributed (launch/README.md)'),
      ('shard', config.shard == shard_lib.MERGE and task == 'prepare',
       ': the worker that ends last writes metadata.json; if one is missing, run its '
       'shard again'),
      ('evaluation.final', task == 'study' and not config.evaluation.final,
       ': a study has no figures without it'),
      ('retrieve.recall_at', any(k != int(k) for k in config.retrieve.recall_at),
       ': numbers of images are whole'),
      ('retrieve.product', config.retrieve.product and data.source != 'list',
       ", a column of a list: set --config.data.source=list and --config.data.path"),
      ('search.index', task == 'search' and not config.search.index,
       ': name the workdir of task=index, or of task=embed'),
      ('search.query', task == 'search' and not config.search.query,
       ': name a picture, a folder of pictures, or an image of the index'),
      ('compare.workdirs', task == 'compare' and not config.compare.workdirs,
       ': set --config.compare.workdirs=runs/a,runs/b'),
      ('evaluation.crop_area', len(area) and not (
          len(area) == 2 and area[0] <= area[1] <= 1),
       ': it must be two shares of the image, the smaller one first'))


def _of_images(config: ml_collections.ConfigDict) -> _Rules:
  data, network, jigsaw = config.data, config.network, config.augment.jigsaw
  architecture = architectures.ARCHITECTURES[network.name]
  narrowest = min(architecture.stem_channels, architecture.channels[0] // (
      4 if architecture.bottleneck else 1))
  smallest = architectures.minimum_image_size(architecture, network.stem)
  source = source_names.CATALOGUE.get(data.source)  # none for 'same'
  needs = source.needs if source else {}
  has_tiles = config.method.jigsaw and (
      'jigsaw' in method_names.METHODS[config.method.name].reads)
  fake_mib = 3 * data.fake_images * data.image_size**2 / 2**20
  return (
      ('data.gray_range', data.gray_range[0] == data.gray_range[1],
       ': black and white cannot be the same value'),
      ('data.image_size', data.image_size < smallest,
       f", but {network.name} with network.stem='{network.stem}' needs at least "
       f'{smallest} pixels'),
      ('data.fake_images', source and source.seeded
       and fake_mib > data.resident_limit_mib,
       f': of {data.image_size} x {data.image_size} pixels that is {fake_mib:,.0f} MiB,'
       f' more than data.resident_limit_mib = {data.resident_limit_mib}'),
      ('augment.jigsaw.tile', jigsaw.tile > jigsaw.size // 3,
       f', more than a third of augment.jigsaw.size = {jigsaw.size}'),
      ('augment.jigsaw.tile', has_tiles and jigsaw.tile > data.image_size,
       f', larger than a view, data.image_size = {data.image_size}: set '
       'augment.jigsaw.size to about that, and the tile to a quarter of it'),
      ('augment.jigsaw.tile', has_tiles and jigsaw.tile < smallest,
       f", but {network.name} with network.stem='{network.stem}' needs at least "
       f'{smallest} pixels'),
      *((f'data.{key}', not data[key],
         f": data.source='{data.source}' needs {what}: set --config.data.{key}")
        for key, what in needs.items()),
      ('network.width', round(narrowest * network.width) < 1,
       ', too small for a single channel'))


def _of_batches(config: ml_collections.ConfigDict) -> _Rules:
  train, network = config.train, config.network
  sub_batch = train.batch_size // train.accumulation_steps
  return (
      ('train.batch_size', train.batch_size % train.accumulation_steps,
       f', not a multiple of train.accumulation_steps = {train.accumulation_steps}'),
      ('train.batch_size', train.batch_size // train.accumulation_steps < 2,
       f': with train.accumulation_steps = {train.accumulation_steps}, batch '
       'normalization would see less than two images'),
      ('train.tau_batch_size', train.tau_batch_size and train.tau_base is None,
       ', but train.tau_base is None, which is chosen for the batch as it is: set it'),
      ('network.bn_groups', network.bn_groups > 1
       and (sub_batch % network.bn_groups or sub_batch // network.bn_groups < 2),
       f': a sub-batch of {sub_batch} images does not fall into so many equal groups '
       'of two images or more'))


def _of_methods(config: ml_collections.ConfigDict) -> _Rules:
  train, network = config.train, config.network
  method = method_names.METHODS[config.method.name]
  heads = method_names.heads(config.method.name, network.heads)
  own_heads = method_names.heads(config.method.name, 'auto')
  unread = [key for key, value in config.method.items()
            if key not in ('name', *method.reads)
            and value != keys_lib.KEYS[f'method.{key}'].default
            # that of a resolved config
            and (key, value) != ('temperature', method.temperature)]
  has_queue = 'queue' in method.reads
  keys_a_sub_batch = train.batch_size // train.accumulation_steps * (
      2 if config.method.symmetric else 1)
  return (
      *((f'method.{key}', True,
         f', but method.name={config.method.name} does not read it'
         f'{", its negatives are those of method.queue" * has_queue * (key == "beta")}'
         ': leave it out')
        for key in unread),
      ('method.queue',
       has_queue and config.method.queue % max(keys_a_sub_batch, 1),
       f', not a multiple of {keys_a_sub_batch}, the images that a sub-batch adds to '
       'it: train.batch_size / train.accumulation_steps'
       f'{", twice with method.symmetric" if config.method.symmetric else ""}'),
      ('method.optimal_predictor', network.predictor
       and config.method.optimal_predictor, ', which takes the place of the learned '
       'one: set network.predictor=False'),
      ('network.predictor', not network.predictor and method.needs_predictor,
       f': without a predictor {method.title} collapses; leave it out'),
      ('network.heads', network.predictor and own_heads.predictor
       and not heads.predictor,
       f', which has no predictor, but method.name={config.method.name} has one: '
       + ('leave it out' if method.needs_predictor else
          'set network.predictor=False as well')),
      ('network.heads', network.predictor and heads.predictor
       and not own_heads.predictor,
       f', which has a predictor, but method.name={config.method.name} has none: set '
       'network.predictor=False'),
      ('network.bn_groups', network.bn_groups > 1 and method.joint_statistics,
       f', but {method.title} normalizes all views together: leave it out'),
      *((f'train.{key}', not (network.predictor and heads.predictor)
         and train[key] != keys_lib.KEYS[f'train.{key}'].default,
         ', but there is no predictor: leave it out')
        for key in ('predictor_rate', 'predictor_schedule')))


def _of_optimizers(config: ml_collections.ConfigDict) -> _Rules:
  train = config.train
  return (
      *((f'train.{key}', train[key] and train.optimizer != 'lars',
         f', but train.optimizer={train.optimizer} does not read it: leave it out')
        for key in ('rate_in_momentum', 'trust_clip')),
      ('train.weight_decay', train.weight_decay is None and train.optimizer != 'lars',
       ', which is chosen for train.optimizer=lars: set it'),
      ('train.base_learning_rate', train.base_learning_rate is None
       and (train.optimizer, train.rate_scaling) != ('lars', 'linear'),
       ", which is chosen for train.optimizer=lars and train.rate_scaling=linear: set "
       'it'),
      ('train.warmup_epochs', None not in (train.epochs, train.warmup_epochs)
       and train.warmup_epochs > train.epochs,
       f', longer than the run: train.epochs = {train.epochs}'))


def touched(config: ml_collections.ConfigDict, keys: Collection[str]) -> dict[str, Any]:
  """Returns the values of the given keys that differ from `base()`."""
  default = files_lib.flatten(keys_lib.base())
  return {key: value for key, value in files_lib.flatten(config).items()
          if key in keys and value != default[key]}


def check_untouched(config: ml_collections.ConfigDict, keys: Collection[str],
                    why: str) -> None:
  """Checks that the user has set no key that has no effect.

  Args:
    config: the user's config.
    keys: the keys without effect.
    why: the reason, for the message.

  Raises:
    UserError: names the key that was set.
  """
  for key, value in touched(config, keys).items():
    raise UserError(f'config key {key} is {kinds.shown(value)}, but {why}: '
                    'leave it out')


def check_devices(batch_size: int, accumulation_steps: int, num_devices: int,
                  bn_groups: int = 1) -> None:
  """Checks that a sub-batch, and its parts, divide evenly over the devices."""
  if batch_size % (accumulation_steps * num_devices):
    unit = accumulation_steps * num_devices
    nearest_size = max(unit, batch_size // unit * unit)
    raise UserError(
        f'config key train.batch_size is {batch_size}, not a multiple of '
        f'{num_devices} devices x train.accumulation_steps = '
        f'{accumulation_steps}; {nearest_size} is')
  if bn_groups % num_devices and num_devices % bn_groups:
    raise UserError(
        f'config key network.bn_groups is {bn_groups}, neither a multiple nor a '
        f'divisor of the {num_devices} devices; {num_devices} is')
