"""LARS in both orders, SGD, their exclusions, and the schedules."""

from __future__ import annotations

from collections.abc import Callable
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

Schedule = Callable[[jax.Array], jax.Array]  # step -> value


def _as_float(step) -> jax.Array:
  """Returns the step in the widest float enabled (float32 is exact up to 2^24)."""
  return jnp.asarray(step, jnp.result_type(float))


def warmup_cosine(peak: float, warmup_steps: int, total_steps: int, *,
                  end: float = 0.0, steps_an_epoch: float = 0.0) -> Schedule:
  """Makes the learning rate: linear from 0 to peak, then half a cosine to `end`.

  Evaluated at the step's index before the update: at step 0 the rate is 0, and
  the first update changes nothing but momentum, target and statistics (paper,
  section 3.3).

  Args:
    peak: base learning rate x batch size / 256 (see `scaled`).
    warmup_steps: W; 0 starts at the peak.
    total_steps: T.
    end: the rate that the cosine ends at.
    steps_an_epoch: where it is not 0 the cosine goes down once an epoch, as in MoCo and
      SimSiam, and not at each step.

  Returns:
    A schedule.
  """
  if steps_an_epoch:
    # The first steps of all epochs but the first, whole numbers: quotients of float32
    # would miss some by one. A sum of halves rounds down.
    epochs = np.arange(1, math.floor(total_steps / steps_an_epoch) + 2)
    firsts = np.ceil(epochs * steps_an_epoch - 0.5).astype(np.int32)

  def schedule(step):
    index, step = step, _as_float(step)
    warm = step / max(warmup_steps, 1) * peak
    now = step
    if steps_an_epoch:
      now = jnp.searchsorted(firsts, index, side='right') * steps_an_epoch
      now = jnp.maximum(_as_float(now), warmup_steps)
    progress = (now - warmup_steps) / max(total_steps - warmup_steps, 1)
    progress = jnp.clip(progress, 0.0, 1.0)
    cosine = (peak - end) * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
    if end:
      cosine += end
    return jnp.where(step < warmup_steps, warm, cosine)
  return schedule


def scaled(base: float, batch_size: int, rule: str) -> float:
  """Returns the peak learning rate for a batch.

  Args:
    base: the rate at a batch of 256 ('linear'), or of 1 ('sqrt').
    batch_size: images a step.
    rule: 'linear', base x B / 256 (BYOL, section 3.3), or 'sqrt', base x sqrt(B), which
      small batches want (SimCLR, appendix B.1: 0.075 sqrt(B)).
  """
  return base * (batch_size / 256 if rule == 'linear' else math.sqrt(batch_size))


def ema_rate(tau_base: float, total_steps: int, power: float = 1.0, *,
             tau_end: float = 1.0) -> Schedule:
  """Makes the target's step size 1 - tau; tau goes to tau_end by a cosine.

  1 - tau = (tau_end - tau_base) (cos(pi k / K) + 1) / 2 + 1 - tau_end; in the paper
  (section 3.3) tau_end is 1. The
  small number is what the update uses, so it is what is computed: float32 tau
  would leave 1 - tau four digits near the end.

  Args:
    tau_base: tau at step 0, in [0, 1].
    total_steps: K.
    power: tau is raised to it at every step. A batch k times as large, with k
      times the learning rate, makes of k steps one: its target follows as
      before with tau^k (Busbridge et al. 2023, the EMA scaling rule).
    tau_end: tau at step K; equal to tau_base it is constant (MoCo: 0.999).

  Returns:
    A schedule.
  """
  def schedule(step):
    progress = jnp.clip(_as_float(step) / total_steps, 0.0, 1.0)
    rate = (tau_end - tau_base) * 0.5 * (jnp.cos(jnp.pi * progress) + 1.0)
    if tau_end != 1.0:
      rate += 1.0 - tau_end
    if power == 1.0:
      return rate
    return -jnp.expm1(power * jnp.log1p(-rate))  # 1 - (1 - rate)^power
  return schedule


def adapted(params) -> object:
  """Marks the leaves that weight decay and LARS adaptation apply to.

  Excluded are biases (name 'b') and everything in a module with 'norm' in its
  name (paper, section 3.3). By name: the scales of batch normalization have
  as many dimensions as the weights.

  Args:
    params: any nesting of Haiku parameters {module: {name: array}}.

  Returns:
    The same structure with booleans.
  """
  def is_adapted(path, _):
    module, name = path[-2].key, path[-1].key
    return name != 'b' and 'norm' not in module.split('/')[-1]
  return jax.tree_util.tree_map_with_path(is_adapted, params)


class Rates(NamedTuple):
  """How fast the heads learn beside the encoder.

  Attributes:
    projector: factor of the projector's rate (BYOL, table 22).
    predictor: factor of the predictor's (BYOL, table 21).
    constant_predictor: the rate that the predictor keeps, the schedule's peak (SimSiam,
      section 4.2); None: it follows the schedule.
  """
  projector: float = 1.0
  predictor: float = 1.0
  constant_predictor: float | None = None


_SAME = Rates()


def _scale_by_schedule_at_step(
    schedule: Schedule, rates: Rates = _SAME,
) -> optax.GradientTransformationExtraArgs:
  """Multiplies by -schedule(step); the step is the train state's own."""
  def update(updates, state, params=None, *, step, **unused):
    del params, unused
    rate = schedule(step)
    if rates == _SAME:
      return jax.tree.map(lambda u: -rate.astype(u.dtype) * u, updates), state
    def scale(path, u):
      head = path[-2].key.split('/')[0]
      here = rate
      if head == 'predictor':
        if rates.constant_predictor is not None:
          here = jnp.asarray(rates.constant_predictor)
        here = here * rates.predictor
      elif head == 'projector':
        here = here * rates.projector
      return -here.astype(u.dtype) * u
    return jax.tree_util.tree_map_with_path(scale, updates), state
  return optax.GradientTransformationExtraArgs(
      lambda params: optax.EmptyState(), update)


def _scale_by_trust_ratio(
    coefficient: float, clip_by: Schedule | None,
) -> optax.GradientTransformationExtraArgs:
  """Multiplies each leaf by coefficient ||p|| / ||u||, by 1 if a norm is 0.

  `optax.scale_by_trust_ratio` does the same but takes norms that can be
  differentiated, which costs a pass over parameters and gradients.

  Args:
    coefficient: eta.
    clip_by: the learning rate, by which the factor is divided and then at most 1; None
      for the factor as it is.
  """
  def update(updates, state, params, *, step, **unused):
    del unused
    rate = None if clip_by is None else clip_by(step)
    def scale(update, param):
      update_norm, param_norm = (
          jnp.sqrt(jnp.sum(jnp.square(x))) for x in (update, param))
      is_zero = (update_norm == 0) | (param_norm == 0)
      ratio = coefficient * param_norm / jnp.where(is_zero, 1, update_norm)
      if rate is not None:
        ratio = jnp.minimum(ratio / rate.astype(ratio.dtype), 1)
      return jnp.where(is_zero, 1, ratio) * update
    return jax.tree.map(scale, updates, params), state
  return optax.GradientTransformationExtraArgs(
      lambda params: optax.EmptyState(), update)


def lars(
    learning_rate: Schedule,
    *,
    weight_decay: float,
    trust_coefficient: float = 1e-3,
    trust_clip: bool = False,
    momentum: float = 0.9,
    rate_in_momentum: bool = False,
    decay_all: bool = False,
    rates: Rates = _SAME,
) -> optax.GradientTransformationExtraArgs:
  """Makes LARS as the paper uses it (You et al. 2017; paper, section 3.3).

    g  <- g + weight_decay p                            (adapted leaves)
    g  <- g trust_coefficient ||p|| / ||g||             (adapted leaves)
    mu <- momentum mu + g
    p  <- p - learning_rate(step) mu

  `optax.lars` is another algorithm: it puts the learning rate into the
  momentum, so that a warm-up lags behind. So does SimCLR's code, and so does
  `rate_in_momentum`:

    mu <- momentum mu + learning_rate(step) g
    p  <- p - mu

  Args:
    learning_rate: a schedule of the global step.
    weight_decay: added to the gradient before its norm is taken.
    trust_coefficient: eta.
    trust_clip: whether the factor of an adapted leaf is divided by the rate, and then
      at most 1, as in LARC (NVIDIA's apex) and in solo-learn's recipes.
    momentum: heavy ball, no Nesterov.
    rate_in_momentum: see above.
    decay_all: whether biases and norms decay, too.
    rates: factors of the heads' rates.

  Returns:
    An optax transformation; call `update(grads, state, params, step=step)`.
  """
  last = [optax.trace(momentum), _scale_by_schedule_at_step(learning_rate, rates)]
  return optax.chain(
      optax.add_decayed_weights(weight_decay, None if decay_all else adapted),
      optax.masked(_scale_by_trust_ratio(
          trust_coefficient, learning_rate if trust_clip else None), adapted),
      *(last[::-1] if rate_in_momentum else last))


def sgd(
    learning_rate: Schedule,
    *,
    weight_decay: float,
    momentum: float = 0.9,
    decay_all: bool = False,
    rates: Rates = _SAME,
) -> optax.GradientTransformationExtraArgs:
  """Makes SGD with heavy-ball momentum, as PyTorch's (MoCo, SimSiam).

    mu <- momentum mu + g + weight_decay p
    p  <- p - learning_rate(step) mu

  Args:
    learning_rate: a schedule of the global step.
    weight_decay: times the parameter, added to the gradient.
    momentum: heavy ball, no Nesterov.
    decay_all: whether biases and norms decay, too, as in MoCo's and SimSiam's code.
    rates: factors of the heads' rates.

  Returns:
    An optax transformation; call `update(grads, state, params, step=step)`.
  """
  return optax.chain(
      optax.add_decayed_weights(weight_decay, None if decay_all else adapted),
      optax.trace(momentum),
      _scale_by_schedule_at_step(learning_rate, rates))
