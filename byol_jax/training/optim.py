"""LARS in the paper's order, its exclusions, and the two schedules."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

Schedule = Callable[[jax.Array], jax.Array]  # step -> value


def _as_float(step) -> jax.Array:
  """Returns the step in the widest float enabled (float32 is exact up to 2^24)."""
  return jnp.asarray(step, jnp.result_type(float))


def warmup_cosine(peak: float, warmup_steps: int, total_steps: int) -> Schedule:
  """Makes the learning rate: linear from 0 to peak, then half a cosine to 0.

  Evaluated at the step's index before the update: at step 0 the rate is 0, and
  the first update changes nothing but momentum, target and statistics (paper,
  section 3.3).

  Args:
    peak: base learning rate x batch size / 256.
    warmup_steps: W; 0 starts at the peak.
    total_steps: T.

  Returns:
    A schedule.
  """
  def schedule(step):
    step = _as_float(step)
    warm = step / max(warmup_steps, 1) * peak
    progress = (step - warmup_steps) / max(total_steps - warmup_steps, 1)
    progress = jnp.clip(progress, 0.0, 1.0)
    cosine = peak * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
    return jnp.where(step < warmup_steps, warm, cosine)
  return schedule


def ema_rate(tau_base: float, total_steps: int, power: float = 1.0) -> Schedule:
  """Makes the target's step size 1 - tau; tau goes from tau_base to 1 by a cosine.

  1 - tau = (1 - tau_base) (cos(pi k / K) + 1) / 2 (paper, section 3.3). The
  small number is what the update uses, so it is what is computed: float32 tau
  would leave 1 - tau four digits near the end.

  Args:
    tau_base: tau at step 0, in [0, 1].
    total_steps: K.
    power: tau is raised to it at every step. A batch k times as large, with k
      times the learning rate, makes of k steps one: its target follows as
      before with tau^k (Busbridge et al. 2023, the EMA scaling rule).

  Returns:
    A schedule.
  """
  def schedule(step):
    progress = jnp.clip(_as_float(step) / total_steps, 0.0, 1.0)
    rate = (1.0 - tau_base) * 0.5 * (jnp.cos(jnp.pi * progress) + 1.0)
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


def _scale_by_schedule_at_step(
    schedule: Schedule) -> optax.GradientTransformationExtraArgs:
  """Multiplies by -schedule(step); the step is the train state's own."""
  def update(updates, state, params=None, *, step, **unused):
    del params, unused
    rate = schedule(step)
    return jax.tree.map(lambda u: -rate.astype(u.dtype) * u, updates), state
  return optax.GradientTransformationExtraArgs(
      lambda params: optax.EmptyState(), update)


def _scale_by_trust_ratio(coefficient: float) -> optax.GradientTransformation:
  """Multiplies each leaf by coefficient ||p|| / ||u||, by 1 if a norm is 0.

  `optax.scale_by_trust_ratio` does the same but takes norms that can be
  differentiated, which costs a pass over parameters and gradients.
  """
  def scale(update, param):
    update_norm, param_norm = (
        jnp.sqrt(jnp.sum(jnp.square(x))) for x in (update, param))
    is_zero = (update_norm == 0) | (param_norm == 0)
    ratio = coefficient * param_norm / jnp.where(is_zero, 1, update_norm)
    return jnp.where(is_zero, 1, ratio) * update

  def update(updates, state, params):
    return jax.tree.map(scale, updates, params), state
  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def lars(
    learning_rate: Schedule,
    *,
    weight_decay: float,
    trust_coefficient: float = 1e-3,
    momentum: float = 0.9,
) -> optax.GradientTransformationExtraArgs:
  """Makes LARS as the paper uses it (You et al. 2017; paper, section 3.3).

    g  <- g + weight_decay p                            (adapted leaves)
    g  <- g trust_coefficient ||p|| / ||g||             (adapted leaves)
    mu <- momentum mu + g
    p  <- p - learning_rate(step) mu

  `optax.lars` is another algorithm: it puts the learning rate into the
  momentum, so that a warm-up lags behind.

  Args:
    learning_rate: a schedule of the global step.
    weight_decay: added to the gradient before its norm is taken.
    trust_coefficient: eta.
    momentum: heavy ball, no Nesterov.

  Returns:
    An optax transformation; call `update(grads, state, params, step=step)`.
  """
  return optax.chain(
      optax.add_decayed_weights(weight_decay, adapted),
      optax.masked(_scale_by_trust_ratio(trust_coefficient), adapted),
      optax.trace(momentum),
      _scale_by_schedule_at_step(learning_rate))
