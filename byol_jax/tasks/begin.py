"""Prepares a run before its first step: precision, data, workdir, checkpoint, state.

For the order of the calls see `tasks/pretrain.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import logging
import math
import os
from typing import Any, NamedTuple

import jax
import ml_collections

from byol_jax import __version__
from byol_jax import wording
from byol_jax.config import keys as keys_lib
from byol_jax.config import names as task_names
from byol_jax.config import rules
from byol_jax.config import schedule
from byol_jax.data import fingerprint
from byol_jax.data.feed import feed as feed_lib
from byol_jax.data.images import large
from byol_jax.data.sources import table
from byol_jax.devices import compiler
from byol_jax.devices import hosts
from byol_jax.devices import mapped
from byol_jax.errors import UserError
from byol_jax.methods import names as method_names
from byol_jax.run import checkpoint
from byol_jax.run import console as console_lib
from byol_jax.run import restore as restore_lib
from byol_jax.run import workdir as workdir_lib
from byol_jax.storage import files as files_lib
from byol_jax.tasks import data as data_lib
from byol_jax.training import build
from byol_jax.training.step import TrainState
from byol_jax.weights import init_from

_console = logging.getLogger('byol_jax')

# keys of the target network
_OF_TARGET = ('train.tau_base', 'train.tau_end', 'train.tau_batch_size',
              'train.target_init')
# keys that say how something was done by the version that began a run: their values
_KEPT = {'data.rules': task_names.RULES, 'train.unroll': (False, True)}
_SMALL = 50 << 20  # bytes that any run writes beside its checkpoints


class Setup(NamedTuple):
  """A run whose data is open, before its workdir is.

  Attributes:
    config: the resolved config.
    workdir: the workdir as the user named it.
    train: the training part.
    test: the test part; None without one, or without labels.
    found: facts about the data, which are compared when the run goes on.
    total_steps: the steps of the whole run.
    program: the run's pure functions.
    feed: the run's batches.
  """
  config: ml_collections.ConfigDict
  workdir: str
  train: table.Data
  test: table.Data | None
  found: dict[str, Any]
  total_steps: int
  program: build.Program
  feed: feed_lib.Feed

  @property
  def meta(self) -> dict[str, Any]:
    """Returns the values that a checkpoint holds beside its arrays."""
    meta = {'config': self.config.to_dict(), 'data_found': self.found,
            'version': __version__, 'jax': jax.__version__}
    if self.feed.bad() is not None:
      meta['bad_images'] = {
          str(index): why for index, why in self.feed.bad().reasons().items()}
    return meta


def as_begun(config: ml_collections.ConfigDict,
             workdir: str) -> ml_collections.ConfigDict:
  """Takes what a run that goes on began with, and logs the devices and the precision.

  Returns:
    The config with the precision, the values of `_KEPT`, and where the run starts from
    an encoder that encoder's preparation of images.

  Raises:
    UserError: the devices cannot share the batch, there is no such encoder, or a new
      run of a method with a queue has no target network.
  """
  rules.check_devices(config.train.batch_size, config.train.accumulation_steps,
                      jax.device_count(), config.network.bn_groups)
  with hosts.together('workdir'):
    old = {} if jax.process_index() else workdir_lib.old_config(workdir)
  old = hosts.gather_json(old)[0]
  if not old:
    _check_target(config)
  config, precision = _with_precision(config, old)
  _tell_devices(config.train.batch_size, precision)
  config = _with_kept(config, old)
  if not jax.process_index():
    workdir_lib.warn_of_environment(old, compiler.environment())
  with hosts.together('init_from'):
    return init_from.with_preparation(config, old)


def _check_target(config: ml_collections.ConfigDict) -> None:
  """Raises UserError if the keys of a queue would be made without a target network.

  It is no rule of all configs: runs of older versions, and their encoders, may have it.
  """
  if ('queue' in method_names.METHODS[config.method.name].reads
      and config.train.tau_base == config.train.tau_end == 0):
    raise UserError('config keys train.tau_base and train.tau_end are 0: the target '
                    f'network, which makes the keys of method.name={config.method.name}'
                    ', would be the online one')


def _tell_devices(batch_size: int, precision: str) -> None:
  each = batch_size // jax.device_count()
  _console.log(
      console_lib.EVERY_PROCESS,
      'byol_jax %s, jax %s, process %d of %d: %d local of %d %s devices; batch '
      '%d, %d a process, %d a device, %s', __version__, jax.__version__,
      jax.process_index(), jax.process_count(), jax.local_device_count(),
      jax.device_count(), jax.devices()[0].platform, batch_size,
      each * jax.local_device_count(), each, precision)


def _old_value(old: dict[str, Any], key: str, allowed: Sequence[Any]) -> Any:
  """Returns the value that the run began with; None for a new run."""
  value = (keys_lib.was() | old)[key] if old else None
  return value if value in allowed else None


def _with_kept(config: ml_collections.ConfigDict,
               old: dict[str, Any]) -> ml_collections.ConfigDict:
  """Returns the config with the values of `_KEPT` that the run began with, if any."""
  for key, allowed in _KEPT.items():
    begun, now = _old_value(old, key, allowed), files_lib.flatten(config)[key]
    if begun is not None and begun != now:
      config = config.copy_and_resolve_references()
      config.update_from_flattened_dict({key: begun})
      _console.info('config key %s is %s, as this run began (a new one has %s)', key,
                    begun, now)
  return config


def _with_precision(config: ml_collections.ConfigDict, old: dict[str, Any],
                    ) -> tuple[ml_collections.ConfigDict, str]:
  """Replaces network.precision 'auto' by the precision that the run began with, if any.

  Returns:
    The config with the precision, and a text about it for the console.
  """
  if config.network.precision != 'auto':
    return config, config.network.precision
  begun = _old_value(old, 'network.precision', ('bfloat16', 'float32'))
  here = schedule.precision('auto', jax.devices()[0].platform)
  config = config.copy_and_resolve_references()
  config.network.precision = begun or here
  return config, here if begun in (None, here) else (
      f'{begun} as this run began (a new one would take {here} here)')


def set_up(config: ml_collections.ConfigDict, workdir: str) -> Setup:
  """Opens the data, resolves the schedule by it, and logs the facts found.

  Args:
    config: as `as_begun` returns it.
    workdir: the run's.

  Raises:
    UserError: the data cannot be used, or the processes do not agree about the run.
  """
  with hosts.together('data'):
    config = data_lib.with_source(config)
    train, test = data_lib.open_data(config)
    num_images = train.size
    config = schedule.resolve(config, num_images)
  num_classes = table.num_classes(train)
  found = {'images': num_images, 'classes': num_classes,
           'fingerprint': fingerprint.fingerprint(train)}
  hosts.agree({'code': hosts.code_digest(), 'jax': jax.__version__,
               'config': config.to_dict(), 'data': found,
               'environment (XLA_FLAGS, JAX_*, jaxlib)': compiler.environment()})
  program = build.build(config, num_images, num_classes)
  feed = feed_lib.make(
      large.watching(train, config.data.image_size), program.spec.crop,
      seed=config.seed, batch_size=config.train.batch_size,
      threads=config.data.threads, prefetch=config.data.prefetch)
  setup = Setup(config, workdir, train, test, found,
                schedule.total_steps(config, num_images), program, feed)
  _tell_run(setup)
  return setup


def _tell_run(setup: Setup) -> None:
  """Logs data, schedule and method, and what of the config nothing reads."""
  config, train, test = setup.config, setup.train, setup.test
  method, labelled = setup.program.method, train.labels is not None
  _console.info(
      '%s: %s%s, %s%s', train.name, wording.count(train.size, 'training image'),
      f' of {table.described_classes(train)}' if labelled else ', no labels: no '
      'probe, no k-NN', 'streamed' if setup.feed.bad() is not None else
      'on the device', f'; {test.size} to test' if test is not None else
      '; no test part' if labelled else '')
  _console.info(
      'schedule: %s = %s, %g of warm-up, base learning rate %g, weight decay %g%s',
      wording.count(config.train.epochs, 'epoch', 'g'),
      wording.count(setup.total_steps, 'step'), config.train.warmup_epochs,
      config.train.base_learning_rate, config.train.weight_decay,
      f', tau {schedule.tau_in_words(config)}' if method.target_views else '')
  _console.info('method: %s, loss %s%s', method.title, method.meaning,
                f': {method.note}' if method.note else '')
  if unread := [] if method.target_views else list(rules.touched(config, _OF_TARGET)):
    _console.warning('%s has no target network here, and nothing reads config key %s',
                     method.title, ', '.join(unread))
  entry = method_names.METHODS[config.method.name]
  if ('beta' in entry.reads and config.method.beta == 0
      and config.method.temperature != entry.temperature):
    _console.warning('config key method.temperature is %g, but with method.beta = 0 '
                     'there are no negatives, and nothing reads it',
                     config.method.temperature)
  keys_an_image = 2 if config.method.symmetric else 1
  if ('queue' in entry.reads
      and config.method.queue > keys_an_image * train.size):
    _console.warning(
        'config key method.queue is %d, more keys than the %s make in an epoch: each '
        "image is among its own negatives; MoCo's authors take 4096 for 50,000 images",
        config.method.queue, wording.count(train.size, 'image'))


def open_workdir(setup: Setup, stack: contextlib.ExitStack,
                 ) -> tuple[str, checkpoint.Checkpoints]:
  """Opens the workdir for this run alone: its folder, and its checkpoints."""
  config, is_first = setup.config, jax.process_index() == 0
  with hosts.together('workdir'):
    folder = stack.enter_context(
        workdir_lib.opened(setup.workdir, is_first=is_first))
    if is_first:
      workdir_lib.compare(folder, setup.workdir, config.to_dict(), setup.found,
                          keys_lib.free('pretrain'), keys_lib.was())
  # process 0 sets aside what cannot be opened
  checkpoints = hosts.in_turn('checkpoints', lambda: stack.enter_context(
      contextlib.closing(checkpoint.Checkpoints(
          os.path.join(setup.workdir, 'checkpoints'), config.checkpoint.keep,
          keep_every=config.checkpoint.keep_every))))
  return folder, checkpoints


def put_on_devices(setup: Setup, folder: str, saved: checkpoint.Opened | None,
                   state: TrainState | None) -> tuple[TrainState, Any]:
  """Puts the state, restored or new, and the shared arrays onto the devices."""
  config, program = setup.config, setup.program
  with hosts.together('workdir'):
    if jax.process_index() == 0:
      size = sum(math.prod(x.shape) * x.dtype.itemsize
                 for x in jax.tree.leaves(jax.eval_shape(program.init)))
      # a checkpoint is written before the one that it replaces is removed
      workdir_lib.check_space(setup.workdir,
                              _SMALL + (1 if saved else 2) * size)
      workdir_lib.record(folder, config.to_dict(), setup.found,
                         compiler.environment())
  if saved:
    _console.info('resuming %s at step %d', setup.workdir, saved.step)
    if setup.feed.bad() is not None:
      with hosts.together('bad images'):  # earlier sessions count, too
        setup.feed.bad().learn(saved.meta.get('bad_images', {}))
  else:
    state = program.init()
    if config.init_from:
      with hosts.together('init_from'):
        state = init_from.initialize(state, config.init_from)
  shared = {'key': jax.random.PRNGKey(config.seed)} | setup.feed.shared()
  return mapped.replicate(state), mapped.replicate(shared)


def restore(checkpoints: checkpoint.Checkpoints, like: Any, meta: dict[str, Any],
            workdir: str) -> tuple[checkpoint.Opened | None, Any]:
  """Returns the checkpoint that all processes take and its state; two Nones for none.

  It must be of the config and the data that `meta` has.
  """
  def check(saved: checkpoint.Opened) -> None:
    workdir_lib.require_same(
        *(m['config'] | {'data_found': m['data_found']} for m in (saved.meta, meta)),
        f'the checkpoint of step {saved.step} in workdir {workdir}',
        keys_lib.free('pretrain'), keys_lib.was(), run=workdir)
  return restore_lib.together(checkpoints, like, check)
