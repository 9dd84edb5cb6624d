"""The supervised train step: an encoder and a head learn from labels.

Pure functions over one NamedTuple, SGD with Nesterov momentum 0.9 and a cosine to 0.
The caller gives the loss; nothing here knows devices or configs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax

from byol_jax.methods import losses
from byol_jax.networks import norm
from byol_jax.training import optim

_MOMENTUM = optax.trace(0.9, nesterov=True)


class State(NamedTuple):
  """Everything that a training run carries from one step to the next."""
  step: jax.Array        # int32, updates done
  params: Any            # (encoder, head)
  statistics: hk.State   # running averages of batch normalization
  momentum: optax.OptState


class Rates(NamedTuple):
  """Values of a training run: float32 scalars, traced, so that none compiles anew.

  Attributes:
    learning_rate: the head's, at the first step.
    total: steps, after which a cosine has brought it to 0.
    weight_decay: decays weights, not biases and normalization.
  """
  learning_rate: jax.Array
  total: jax.Array
  weight_decay: jax.Array


# (head, features [n, D], targets [n, ...]) -> this device's mean, a scalar
Loss = Callable[[Any, jax.Array, Any], jax.Array]


def init(encoder: hk.Params, statistics: hk.State, head: Any) -> State:
  """Returns the state of step 0, as host arrays."""
  params = (encoder, head)
  return jax.tree.map(np.asarray, State(
      np.zeros((), np.int32), params, statistics, _MOMENTUM.init(params)))


def linear_head(feature_size: int, num_classes: int, dtype: Any,
                seed: int) -> dict[str, jax.Array]:
  """Draws a linear classifier: truncated normal / sqrt(D), biases zero."""
  w = jax.random.truncated_normal(
      jax.random.PRNGKey(seed), -2, 2, (feature_size, num_classes), dtype)
  return {'w': w / np.sqrt(feature_size), 'b': jnp.zeros(num_classes, dtype)}


def classification(head: dict[str, jax.Array], features: jax.Array,
                   labels: jax.Array) -> jax.Array:
  """Returns the mean cross-entropy of a linear classifier; labels int32 [n]."""
  logits = jnp.matmul(features, head['w'],
                      precision=jax.lax.Precision.HIGHEST) + head['b']
  return losses.cross_entropy(logits, labels)


def standardized(head: dict[str, jax.Array], features: jax.Array) -> jax.Array:
  """Returns what a linear head makes of features that get mean 0 and deviation 1.

  `head` has w [D, d] and b [d], which learn, and mean [D] and scale [D], constants.
  """
  mean, scale = jax.lax.stop_gradient((head['mean'], head['scale']))
  return jnp.matmul((features - mean) * scale, head['w'],
                    precision=jax.lax.Precision.HIGHEST) + head['b']


def pairs(temperature: float | None, axis_name: str | None) -> Loss:
  """Makes the loss of pairs (`losses.pair_loss`) behind a head of `standardized`.

  Args:
    temperature: T; None: it is learned, and the head has its logarithm,
      'log_temperature'.
    axis_name: the mapped axis.

  Returns:
    A loss of features [2 n, D], the anchors before their positives, and the targets
    `weight`, `masks` and `log_frequency`.
  """
  def loss(head, features, targets):
    one, other = jnp.split(standardized(head, features), 2)
    return losses.pair_loss(
        one, other, **targets, axis_name=axis_name,
        temperature=jnp.exp(head['log_temperature'])
        if temperature is None else temperature)
  return loss


def update(state: State, images: jax.Array, targets: Any, rates: Rates, *,
           encode: Callable[..., Any], loss: Loss, encoder_rate: float,
           axis_name: str | None) -> State:
  """Does one step.

  Args:
    state: the state before the step.
    images: float32 [n, S, S, 3], normalized.
    targets: [n, ...], the values that the loss compares with.
    rates: learning rate, steps and weight decay.
    encode: (params, statistics, images, is_training) -> (features, statistics).
    loss: is minimised.
    encoder_rate: the encoder's learning rate over that of the head.
    axis_name: the mapped axis that gradients are averaged over, or None.

  Returns:
    The state after the step.
  """
  def objective(params):
    encoder, head = params
    features, statistics = encode(encoder, state.statistics, images, True)
    return loss(head, features, targets), statistics

  grads, statistics = jax.grad(objective, has_aux=True)(state.params)
  grads = norm.average_over(grads, axis_name)
  grads = jax.tree.map(
      lambda g, p, is_decayed: g + rates.weight_decay * p if is_decayed else g,
      grads, state.params, _decayed(state.params))
  moves, momentum = _MOMENTUM.update(grads, state.momentum)
  progress = state.step.astype(jnp.float32) / rates.total
  rate = rates.learning_rate * 0.5 * (1 + jnp.cos(jnp.pi * progress))
  params = tuple(
      jax.tree.map(lambda p, m, r=r: p - r * m, p, m)
      for p, m, r in zip(state.params, moves, (rate * encoder_rate, rate)))
  return State(state.step + 1, params, statistics, momentum)


def _decayed(params: Any) -> Any:
  """Marks the leaves of (encoder, head) that weight decay applies to."""
  encoder, head = params
  return optim.adapted(encoder), jax.tree_util.tree_map_with_path(
      lambda path, _: path[-1].key != 'b', head)
