"""Starts a run from the weights of another, or from an encoder of any origin.

It logs which arrays are taken.
"""

from __future__ import annotations

from collections.abc import Mapping
import logging
from typing import Any

import ml_collections

from byol_jax.config import keys as keys_lib
from byol_jax.devices import trees
from byol_jax.errors import UserError
from byol_jax.run import checkpoint
from byol_jax.storage import files as files_lib
from byol_jax.training import build
from byol_jax.training.step import TrainState
from byol_jax.weights import find
from byol_jax.weights import load

_console = logging.getLogger('byol_jax')

# a new run takes the networks, but neither step nor momentum
_TAKEN = ('online_params', 'online_state', 'target_params', 'target_state')
# how the images were prepared that an encoder has learned from
_PREPARATION = ('data.mean', 'data.std', 'data.center_share')
_MOST_TOLD = 8


def with_preparation(config: ml_collections.ConfigDict, begun: Mapping[str, Any],
                     ) -> ml_collections.ConfigDict:
  """Takes mean, deviation and centre crop from an encoder that a run starts from.

  What the user has set stays.

  Args:
    config: the run's, with a precision.
    begun: the flat config that the run began with; {} for a new one.

  Raises:
    UserError: there is no such encoder, or it is another network: before anything of
      the run is written.
  """
  if not config.init_from:
    return config
  if begun:  # the encoder may be gone
    source = begun if begun.get('init_from') == config.init_from else {}
  elif find.form(config.init_from) == 'run':
    find.opened(config.init_from, 'init_from')[0].close()
    return config
  else:
    weights = load.load(config.init_from, None, 'init_from')
    source = files_lib.flatten(weights.config)
    here = trees.named(build.encoder_shapes(config))
    if any(not _fits(there, here.get(name)) for name, there in trees.named(
        (weights.params, weights.state)).items()):
      raise _another(weights)
  default = files_lib.flatten(keys_lib.base())
  here = files_lib.flatten(config)
  taken = {key: tuple(source[key]) if isinstance(source[key], list) else source[key]
           for key in _PREPARATION
           if key in source and here[key] == default[key] != source[key]}
  if not taken:
    return config
  _console.info('init_from: %s, as the encoder has learned', ', '.join(
      f'{key} {value}' for key, value in taken.items()))
  config = config.copy_and_resolve_references()
  config.update_from_flattened_dict(taken)
  return config


def initialize(state: TrainState, path: str) -> TrainState:
  """Takes over the arrays of a checkpoint that fit by name, shape and dtype.

  An encoder alone, of an export or of others, must fit as a whole, and is taken for
  online and target network; the heads stay new.

  Nothing is cast, cut or padded. The arrays that are left as they were are logged. From
  a run without a target network (SimCLR, SimSiam) the target takes the online arrays.

  Args:
    state: the state of step 0.
    path: as for `load.load`.

  Returns:
    The state with the arrays taken over; step and optimizer stay.

  Raises:
    UserError: there is no such checkpoint, it is damaged, or no array of its
      encoder fits.
  """
  if find.form(path) != 'run':
    return _with_encoder(state, path)
  checkpoints, step = find.opened(path, 'init_from')
  wanted = {name: spec for name, spec in trees.spec(state).items()
            if name.split('.')[0] in _TAKEN}
  try:
    opened = checkpoints.open(step)
    there = opened.leaves
    has_target = any(name.startswith('target_params.') for name in there)
    source = {name: name if has_target else name.replace('target_', 'online_', 1)
              for name in wanted}
    read = opened.read({source[name]: spec for name, spec in wanted.items()})
    # a buffer of its own for each
    taken = {name: read[source[name]].copy() for name in wanted if source[name] in read}
  except checkpoint.DamagedError as error:
    raise UserError(f'config key init_from is {path!r}: the checkpoint is '
                    f'damaged ({error})') from error
  finally:
    checkpoints.close()
  encoder = [name for name in wanted if name.startswith('online_params.encoder')]
  if not any(name in taken for name in encoder):
    raise UserError(
        f'config key init_from is {path!r}: no array of its encoder fits this '
        f'network, {encoder[0]} for example is {there.get(encoder[0], "missing")} '
        f'there and {wanted[encoder[0]]} here; use the same config keys network.*')
  left = [f'{name} ({there.get(source[name], "missing")} there, {spec} here)'
          for name, spec in wanted.items() if name not in taken]
  _console.info(
      'init_from: took %d of %d arrays from step %d of %s%s', len(taken),
      len(wanted), step, path,
      '; left as they were:\n  ' + '\n  '.join(left[:_MOST_TOLD])
      + (f'\n  and {len(left) - _MOST_TOLD} more' if left[_MOST_TOLD:] else '')
      if left else '')
  return trees.filled(state, taken)


def _with_encoder(state: TrainState, path: str) -> TrainState:
  """Takes over an encoder that has no heads, for both networks."""
  weights = load.load(path, None, 'init_from')
  there = trees.named({'params': weights.params, 'state': weights.state})
  fresh = trees.named(state)
  wanted = [name for name in fresh if name.split('.')[0] in _TAKEN
            and name.partition('.')[2].startswith('encoder')]
  taken = {}
  for name in wanted:
    array = there.get(name.partition('_')[2])
    if not _fits(fresh[name], array):
      raise _another(weights)
    taken[name] = array.copy()  # a buffer of its own for each
  _console.info('init_from: took the encoder of %s, %s, for the %s; heads are new',
                path, weights.describe()['architecture'], ' and the '.join(
                    sorted({f'{name.split("_")[0]} network' for name in taken})))
  return trees.filled(state, taken)


def _fits(one: Any, other: Any) -> bool:
  return other is not None and (one.shape, one.dtype) == (other.shape, other.dtype)


def _another(weights: load.Weights) -> UserError:
  n = weights.config.network
  return UserError(
      f'config key init_from is {weights.path!r}, whose encoder is another network '
      f'than this run\'s: set --config.network.name={n.name} '
      f'--config.network.width={n.width:g} --config.network.stem={n.stem} '
      f'--config.network.padding={n.padding} --config.network.embedding={n.embedding}')
