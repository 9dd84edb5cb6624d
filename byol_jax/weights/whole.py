"""Reads the networks of a run whole, with the heads that an encoder is without."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import jax
import numpy as np

from byol_jax import errors
from byol_jax.devices import trees as trees_lib
from byol_jax.errors import UserError
from byol_jax.run import checkpoint
from byol_jax.training import build
from byol_jax.weights import find
from byol_jax.weights import load


def read(weights: load.Weights) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
  """Reads online and target network with their heads, which only a run has.

  Returns:
    (params, state) of the online network, and of the target.

  Raises:
    UserError: the weights are a file, or the checkpoint cannot be read.
  """
  path = weights.path
  if find.form(path) != 'run':
    raise UserError(f'config key weights is {path!r}: an encoder alone lacks the '
                    'heads; name the WORKDIR that it is of')
  checkpoints, step = find.opened(os.path.join(find.parse(path)[0], str(weights.step)),
                                  'weights')
  with contextlib.closing(checkpoints):
    try:
      opened = checkpoints.open(step)
      arrays = opened.read({
          name: leaf for name, leaf in opened.leaves.items()
          if name.startswith(('online_', 'target_'))})
    except checkpoint.DamagedError as error:
      raise UserError(f'cannot read checkpoint {step} of {path!r}: it is damaged '
                      f'({errors.one_line(error)})') from error
  trees = trees_lib.nested(arrays)
  model = build.make_model(weights.config, 0, None)
  side = weights.config.data.image_size
  images = jax.ShapeDtypeStruct((2, side, side, 3), np.float32)
  return tuple(
      _ordered(network, images, trees[f'{name}_params'], trees[f'{name}_state'])
      for name, network in zip(load.NETWORKS, (model.online, model.target)))


def _ordered(network: Any, images: jax.ShapeDtypeStruct, params: Any,
             state: Any) -> tuple[Any, Any]:
  """Returns (params, state) in haiku's order, which compiled functions depend on."""
  like = jax.eval_shape(
      lambda images: network.init(jax.random.PRNGKey(0), images, True), images)
  return tuple(trees_lib.filled(shapes, trees_lib.named(tree))
               for shapes, tree in zip(like, (params, state)))
