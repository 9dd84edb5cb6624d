"""The train step: pure functions over one NamedTuple, the paper's algorithm 1.

Nothing here knows devices, configs or a method's name. `axis_name` names the mapped
axis that gradients and metrics are averaged over; None runs unmapped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import functools
from typing import Any, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import optax

from byol_jax.methods import losses
from byol_jax.methods.method import Method
from byol_jax.methods.method import Pass
from byol_jax.networks import norm
from byol_jax.networks.model import Model
from byol_jax.networks.model import Outputs
from byol_jax.training import optim
from byol_jax.views.make import Views

Batch = Mapping[str, jax.Array]
Metrics = Mapping[str, jax.Array]
MakeViews = Callable[[jax.Array, Batch], Views]

_MOST_UNROLLED = 16  # sub-batches: each is compiled anew


class TrainState(NamedTuple):
  """Everything that a run carries from one step to the next."""
  step: jax.Array                  # int32, updates done
  online_params: hk.Params         # encoder, projector, predictor
  online_state: hk.State           # running averages of batch normalization
  target_params: hk.Params         # encoder, projector; {} where no target runs
  target_state: hk.State           # from the target's own forward passes
  probe_params: hk.Params          # linear classifier; {} without labels
  opt_state: optax.OptState        # momentum of (online_params, probe_params)
  carried: Mapping[str, jax.Array] = {}  # the method's own; {} for BYOL


def init(
    key: jax.Array,
    model: Model,
    optimizer: optax.GradientTransformationExtraArgs,
    image_shape: tuple[int, int, int],
    *,
    method: Method,
    with_probe: bool,
    target_init: str = 'own_key',
    tiles_shape: tuple[int, ...] | None = None,
) -> TrainState:
  """Makes the state of step 0.

  Args:
    key: a PRNG key.
    model: networks built with axis_name=None.
    optimizer: see `optim.py`.
    image_shape: (H, W, C) of a view.
    method: which networks there are, and what is carried beside them.
    with_probe: whether a linear probe is trained beside the networks.
    target_init: 'own_key' draws the target from its own key, as the reference
      code does; 'copy' starts it equal to the online network.
    tiles_shape: (T, s, s, C) of an image's tiles, where the method has a jigsaw.

  Returns:
    The state.
  """
  online_key, target_key, probe_key = jax.random.split(key, 3)
  images = jnp.zeros((2, *image_shape))
  tiles = {} if tiles_shape is None else {'tiles': jnp.zeros((2, *tiles_shape))}
  online_params, online_state = model.online.init(online_key, images, True, **tiles)
  target_params, target_state = {}, {}
  if method.target_views:
    target_params, target_state = model.target.init(target_key, images, True)
  if target_init == 'copy':
    target_params = _only(online_params, target_params)
  probe_params = {}
  if with_probe:
    features = jnp.zeros((2, model.feature_size))
    probe_params = model.probe.init(probe_key, features)
  return TrainState(
      step=jnp.zeros((), jnp.int32),
      online_params=online_params,
      online_state=online_state,
      # donated buffers must not be shared between online and target
      target_params=jax.tree.map(jnp.copy, target_params),
      target_state=target_state,
      probe_params=probe_params,
      opt_state=optimizer.init((online_params, probe_params)),
      # a key of its own, so that those above stay what they were
      carried=method.init(jax.random.fold_in(key, 1)))


def _only(tree: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the modules of `tree` that `like` has too."""
  return {module: tree[module] for module in like}


class _Results(NamedTuple):
  """The results of a pass beside its loss."""
  online_state: hk.State
  target_state: hk.State
  outputs: Pass
  metrics: Metrics


def _loss(
    trained: tuple[hk.Params, hk.Params],
    state: TrainState,
    views: Views,
    labels: jax.Array | None,
    model: Model,
    method: Method,
    axis_name: str | None,
) -> tuple[jax.Array, _Results]:
  """Computes the loss of one sub-batch.

  Args:
    trained: online and probe parameters.
    state: gives the target's parameters, both networks' statistics and what the
      method carries.
    views: of the sub-batch.
    labels: int32 [n] or None.
    model: the networks.
    method: gives the loss.
    axis_name: the mapped axis.

  Returns:
    The total loss, and the other results of the pass.
  """
  online_params, probe_params = trained
  forward = functools.partial(_forward, views=views, method=method, axis_name=axis_name)
  online, online_state = forward(
      model.online, online_params, state.online_state, which=method.online_views,
      **({'tiles': views.tiles} if method.tiles else {}))
  target, target_state = None, state.target_state
  if method.target_views:
    target, target_state = forward(
        model.target, state.target_params, target_state, which=method.target_views,
        shuffled=method.shuffled)

  outputs = Pass(online, target)
  loss, metrics = method.loss(outputs, state.carried, axis_name)
  chex.assert_rank([loss, *metrics.values()], 0, custom_message=(
      f"the loss and the metrics of {method.title} are this device's means: scalars"))
  normalized = losses.l2_normalize(jax.lax.stop_gradient(
      online.projection.reshape(-1, online.projection.shape[-1])))
  if 'loss' in metrics:
    raise ValueError(f"a metric of {method.title} is called 'loss', as the loss is")
  metrics = metrics | {
      'loss': loss,
      # for `_spread`: averages of moments are those of the global batch
      'moments': jnp.stack([jnp.mean(normalized, 0),
                            jnp.mean(jnp.square(normalized), 0)]),
  }
  total = loss
  if probe_params:
    features = jax.lax.stop_gradient(online.features[0])
    logits = model.probe.apply(probe_params, features)
    probe_loss = losses.cross_entropy(logits, labels)
    total += probe_loss
    metrics |= {'probe_loss': probe_loss,
                'probe_top1': 100 * losses.accuracy(logits, labels)}
  return total, _Results(online_state, target_state,
                         jax.lax.stop_gradient(outputs), metrics)


def _forward(
    network: hk.TransformedWithState,
    params: hk.Params,
    net_state: hk.State,
    *,
    views: Views,
    which: tuple[int, ...],
    method: Method,
    axis_name: str | None,
    shuffled: bool = False,
    **tiles: jax.Array,
) -> tuple[Outputs, hk.State]:
  """Runs a network on some views as one batch.

  Args:
    network: the online or the target network.
    params: its parameters.
    net_state: its running averages.
    views: of the sub-batch.
    which: the views that it sees, counted from 0.
    method: says whether they are normalized together.
    axis_name: the mapped axis.
    shuffled: whether it sees the examples in the order of `views.order`.
    **tiles: of a jigsaw, for the online network.

  Returns:
    Fields [V, n, .] in the order of the examples, and the new running averages.
  """
  images = views.images
  chex.assert_rank(images, 5)
  if max(which) >= len(images):
    raise ValueError(f'{method.title} sees view {max(which)}, but there are only '
                     f'{len(images)}, counted from 0')
  chosen = (images if which == tuple(range(len(images)))
            else jnp.stack([images[i] for i in which]))
  if shuffled:
    chosen = _in_order(chosen, views.order, axis_name)
  outputs, net_state = network.apply(
      params, net_state, chosen.reshape(-1, *chosen.shape[2:]), True,
      1 if method.joint_statistics else len(which), **tiles)
  jigsaw, outputs = outputs.jigsaw, jax.tree.map(
      lambda x: x.reshape(len(which), -1, *x.shape[1:]), outputs._replace(jigsaw=None))
  if shuffled:
    outputs = jax.tree.map(
        lambda x: _in_order(x, views.order, axis_name, back=True), outputs)
  return outputs._replace(jigsaw=jigsaw), net_state


def _in_order(x: jax.Array, order: jax.Array, axis_name: str | None, *,
              back: bool = False) -> jax.Array:
  """Returns this device's part of the global batch in another order, or puts it back.

  Args:
    x: [V, n, ...], this device's examples, or those that another order gave it.
    order: [n], a random number for each of this device's examples; their ranks over
      all devices are the order, whatever the number of devices.
    axis_name: the mapped axis.
    back: whether x is in that order, and shall leave it.

  Returns:
    An array like x.
  """
  ranks = jnp.argsort(losses.gather(order, axis_name))
  if back:
    ranks = jnp.argsort(ranks)
  n = order.shape[0]
  if len(ranks) > n:
    x = jax.lax.all_gather(x, axis_name, axis=1, tiled=True)
    ranks = jax.lax.dynamic_slice(ranks, (n * jax.lax.axis_index(axis_name),), (n,))
  return x[:, ranks]


def _spread(moments: jax.Array) -> jax.Array:
  """Computes the std of the normalized projection over the global batch, x sqrt(d).

  1 is spread over the whole sphere, 0 is collapse (diagnostics.py says more,
  less often).
  """
  mean, mean_of_squares = moments
  std = jnp.sqrt(jnp.maximum(mean_of_squares - jnp.square(mean), 0.0))
  return jnp.mean(std) * std.shape[-1]**0.5


def _gradients(state, batch, make_views, model, method, axis_name,
               unroll=True) -> tuple[TrainState, tuple[Any, Metrics]]:
  """Computes gradients and metrics, averaged over the sub-batches, and the state.

  Each sub-batch has its own batch statistics and is augmented when its turn
  comes; see `update`. Neither the optimizer nor the target has moved yet.
  """
  def one(state, sub_batch):
    views = make_views(state.step, sub_batch)
    grads, results = jax.grad(_loss, has_aux=True)(
        (state.online_params, state.probe_params), state, views,
        sub_batch.get('labels'), model, method, axis_name)
    state = state._replace(
        online_state=results.online_state, target_state=results.target_state,
        carried=method.advance(results.outputs, state.carried, axis_name))
    return state, (grads, results.metrics)

  num_sub_batches = jax.tree.leaves(batch)[0].shape[0]
  if num_sub_batches == 1:
    state, sums = one(state, jax.tree.map(lambda x: x[0], batch))
    return state, sums

  def accumulate(carry, sub_batch):
    state, sums = carry
    state, terms = one(state, sub_batch)
    return (state, jax.tree.map(jnp.add, sums, terms)), None

  zeros = jax.tree.map(
      lambda x: jnp.zeros(x.shape, x.dtype),
      jax.eval_shape(lambda s, b: one(s, jax.tree.map(lambda x: x[0], b))[1],
                     state, batch))
  loop = functools.partial(jax.lax.scan, accumulate)
  (state, sums), _ = jax.lax.platform_dependent(
      (state, zeros), batch, default=loop, cpu=functools.partial(
          loop, unroll=unroll and num_sub_batches <= _MOST_UNROLLED))
  return state, jax.tree.map(lambda x: x / num_sub_batches, sums)


def update(
    state: TrainState,
    batch: Batch,
    *,
    model: Model,
    method: Method,
    optimizer: optax.GradientTransformationExtraArgs,
    learning_rate: optim.Schedule,
    ema_rate: optim.Schedule,
    make_views: MakeViews,
    axis_name: str | None = None,
    skip_nonfinite: bool = False,
    unroll: bool = True,
) -> tuple[TrainState, Metrics]:
  """Does one step of a run (paper, algorithm 1).

  Args:
    state: the state before the step.
    batch: this device's share, leaves [N, n, ...] for N sub-batches. With
      N > 1 gradients are averaged over the sub-batches, each normalized by its
      own statistics, and optimizer and target move once (paper, appendix G.2).
    model: the networks, built with the same axis_name.
    method: the views, the loss and the target's rule.
    optimizer: see `optim.py`.
    learning_rate: the optimizer's schedule, to be logged.
    ema_rate: schedule of 1 - tau.
    make_views: (step, sub-batch) -> `Views`, [V, n, H, W, C], normalized.
    axis_name: the mapped axis.
    skip_nonfinite: whether a step whose loss or gradient is not finite leaves
      everything but the step as it was.
    unroll: whether a CPU runs up to 16 sub-batches without a loop. XLA brings
      convolutions into the form of its CPU libraries in the program itself, not in the
      body of a loop, where their gradients take a hundred times as long. Both round
      differently.

  Returns:
    The state after the step, and metrics, equal on all devices.
  """
  before, step = state, state.step
  state, (grads, metrics) = _gradients(
      state, batch, make_views, model, method, axis_name, unroll)
  grads, metrics = norm.average_over((grads, metrics), axis_name)

  trained = (state.online_params, state.probe_params)
  updates, opt_state = optimizer.update(
      grads, state.opt_state, trained, step=step)
  online_params, probe_params = optax.apply_updates(trained, updates)

  # After the optimizer, with the new online parameters (paper, equation 1).
  rate = ema_rate(step)
  target_params = method.follow(
      state.target_params, _only(online_params, state.target_params), rate)

  state = state._replace(
      online_params=online_params,
      target_params=target_params,
      probe_params=probe_params,
      opt_state=opt_state)
  finite = jnp.isfinite(optax.tree.norm(grads) + metrics['loss']
                        + metrics.get('probe_loss', 0.0))
  if skip_nonfinite:  # fuses with what computes the new arrays
    state = jax.tree.map(lambda new, old: jnp.where(finite, new, old),
                         state, before)

  moments = metrics.pop('moments')
  metrics = dict(
      metrics,
      batch_projection_std=_spread(moments),
      learning_rate=learning_rate(step),
      gradient_norm=optax.tree.norm(grads[0]),
      finite=finite.astype(jnp.float32))
  if method.target_views:
    metrics['tau'] = 1.0 - rate
  return state._replace(step=step + 1), metrics


def evaluated(params: hk.Params, state: hk.State, images: jax.Array,
              model: Model) -> Outputs:
  """Runs the online network in inference mode (running statistics).

  Args:
    params: the online parameters.
    state: the online network's running averages.
    images: [n, H, W, C], normalized.
    model: networks built with axis_name=None.

  Returns:
    `Outputs` of float32 arrays [n, ...].
  """
  outputs, _ = model.online.apply(params, state, images, False)
  return outputs
