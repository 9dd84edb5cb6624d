"""Builds the pure functions of a run from its config.

Pretraining, preflight and the benchmarks build the step here, so all have the same.
"""

from __future__ import annotations

from collections.abc import Callable
import functools
import importlib
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from byol_jax.config import schedule
from byol_jax.data.images import crops
from byol_jax.devices import mapped
from byol_jax.methods import method as method_lib
from byol_jax.methods import names as method_names
from byol_jax.methods.method import Method
from byol_jax.networks import architectures
from byol_jax.networks import model as model_lib
from byol_jax.training import optim
from byol_jax.training import step as step_lib
from byol_jax.views import jigsaw
from byol_jax.views import make as views_lib
from byol_jax.views import recipes


class Program(NamedTuple):
  """The functions of a run.

  Attributes:
    init: () -> TrainState of step 0, jitted.
    update: (state, shared, batch) -> (state, metrics), for `mapped.pmap_step`:
      `shared` and `batch` as batch.py describes them.
    make_views: (shared, step, batch) -> `Views`.
    method: the method of learning.
    unmapped_model: the networks, for use outside of the mapped step.
    spec: how views are made.
    eval_spec: how images are prepared for evaluation.
  """
  init: Callable[[], step_lib.TrainState]
  update: Callable[..., tuple[step_lib.TrainState, step_lib.Metrics]]
  make_views: Callable[[Any, jax.Array, step_lib.Batch], views_lib.Views]
  method: Method
  unmapped_model: model_lib.Model
  spec: views_lib.ViewSpec
  eval_spec: views_lib.ViewSpec


def build(config: ml_collections.ConfigDict, num_images: int,
          num_classes: int) -> Program:
  """Builds the functions of a run.

  Args:
    config: resolved (`schedule.resolve`).
    num_images: the size of the training part.
    num_classes: 0 without labels, which leaves out the probe.

  Returns:
    The functions.
  """
  spec = view_spec(config)
  learning_rate, ema_rate, optimizer = make_optimizer(config, num_images)
  method = make_method(config)
  model = make_model(config, num_classes, mapped.AXIS, pretrains=True)
  unmapped_model = make_model(config, num_classes, None)
  make_views = functools.partial(views_lib.make, spec=spec)

  @jax.jit
  def init():
    return step_lib.init(
        jax.random.PRNGKey(config.seed), unmapped_model, optimizer,
        (spec.image_size, spec.image_size, 3), method=method, tiles_shape=(
            (jigsaw.TILES, spec.jigsaw.tile, spec.jigsaw.tile, 3)
            if spec.jigsaw else None),
        with_probe=num_classes > 0, target_init=config.train.target_init)

  def update(state, shared, batch):
    if num_classes and 'labels' not in batch:
      batch = batch | {'labels': shared['labels'][batch['rows']]}
    return step_lib.update(
        state, batch, model=model, method=method, optimizer=optimizer,
        learning_rate=learning_rate, ema_rate=ema_rate,
        make_views=functools.partial(make_views, shared),
        axis_name=mapped.AXIS,
        skip_nonfinite=config.safety.on_nonfinite == 'skip',
        unroll=config.train.unroll)

  return Program(init, update, make_views, method, unmapped_model, spec,
                 eval_view(config)[0])


def view_spec(config: ml_collections.ConfigDict) -> views_lib.ViewSpec:
  """Returns how views are made, as static values."""
  def recipe(view):
    fields = view.to_dict()
    return recipes.Recipe(**fields | {'blur_sigma': tuple(fields['blur_sigma'])})
  data, third = config.data, None
  if config.method.jigsaw > 0:
    fields = config.augment.jigsaw.to_dict()
    third = crops.Jigsaw(**fields | {'area': tuple(fields['area'])})
  return views_lib.ViewSpec(
      image_size=data.image_size, area=tuple(data.crop_area),
      aspect=tuple(data.crop_aspect), mean=tuple(data.mean),
      std=tuple(data.std), sampler=data.crop_sampler, jigsaw=third,
      recipes=(recipe(config.augment.view1), recipe(config.augment.view2)))


def make_method(config: ml_collections.ConfigDict) -> Method:
  """Makes the method that config.method names."""
  c, entry = config.method, method_names.METHODS[config.method.name]
  module = importlib.import_module(entry.module)
  return module.make(method_lib.Settings(
      examples=config.train.batch_size // config.train.accumulation_steps,
      projection_size=config.network.projection_size,
      target=entry.target if c.target == 'auto' else c.target,
      beta=c.beta, optimal_predictor=c.optimal_predictor, temperature=c.temperature,
      queue=c.queue, symmetric=c.symmetric, jigsaw=c.jigsaw,
      shuffle=c.shuffle and config.network.bn_groups > 1))


def eval_view(config: ml_collections.ConfigDict, image_size: int = 0,
              center_share: float = 0.0) -> tuple[views_lib.ViewSpec, float]:
  """Returns how a run's encoder sees images in evaluations; nothing else decides it.

  Args:
    config: the run's config.
    image_size: pixels; 0: data.eval_image_size or, where that is 0, the size of the
      views.
    center_share: the centre crop's share of the shorter side; 0: the run's.

  Returns:
    The spec, of that size, and the share.
  """
  spec = view_spec(config)
  return spec._replace(
      image_size=image_size or config.data.eval_image_size or spec.image_size,
      jigsaw=None,
  ), center_share or config.data.center_share


def make_model(config: ml_collections.ConfigDict, num_classes: int,
               axis_name: str | None, pretrains: bool = False) -> model_lib.Model:
  """Builds the networks of a config; only pretraining follows network.bn_groups."""
  n = config.network
  form = method_names.heads(config.method.name, n.heads)
  if n.projector_layers is not None:
    form = form._replace(
        projector=form.projector._replace(layers=n.projector_layers))
  return model_lib.make_model(
      architecture=architectures.ARCHITECTURES[n.name], width=n.width, stem=n.stem,
      padding=n.padding, last_gamma=n.last_gamma, embedding=n.embedding,
      form=form, projector_hidden_size=n.projector_hidden_size,
      projection_size=n.projection_size,
      predictor_hidden_size=n.predictor_hidden_size, use_predictor=n.predictor,
      bn_decay_rate=n.bn_decay_rate, bn_eps=n.bn_eps,
      bn_groups=n.bn_groups if pretrains else 1,
      num_classes=num_classes,
      precision=model_lib.PRECISIONS[n.precision], axis_name=axis_name)


def encoder_shapes(config: ml_collections.ConfigDict) -> tuple[Any, Any]:
  """Returns (params, state) of a config's encoder as shapes and dtypes."""
  model = make_model(config, 0, None)
  images = jax.ShapeDtypeStruct(
      (2, config.data.image_size, config.data.image_size, 3), np.float32)
  return jax.eval_shape(
      lambda images: model.encoder.init(jax.random.PRNGKey(0), images, True), images)


def make_optimizer(config: ml_collections.ConfigDict, num_images: int):
  """Returns (learning rate, 1 - tau, optimizer) of a resolved config."""
  c = config.train
  total = schedule.total_steps(config, num_images)
  peak = optim.scaled(c.base_learning_rate, c.batch_size, c.rate_scaling)
  learning_rate = optim.warmup_cosine(
      peak, schedule.warmup_steps(config, num_images), total, end=c.rate_end * peak,
      steps_an_epoch=num_images / c.batch_size if c.rate_per == 'epoch' else 0.0)
  rates = optim.Rates(c.projector_rate, c.predictor_rate,
                      peak if c.predictor_schedule == 'constant' else None)
  options = dict(weight_decay=c.weight_decay, momentum=c.momentum,
                 decay_all=c.decay_all, rates=rates)
  if c.optimizer == 'sgd':
    optimizer = optim.sgd(learning_rate, **options)
  elif c.optimizer == 'lars':
    optimizer = optim.lars(
        learning_rate, trust_coefficient=c.trust_coefficient, trust_clip=c.trust_clip,
        rate_in_momentum=c.rate_in_momentum, **options)
  else:
    raise ValueError(f'there is no optimizer {c.optimizer!r}')
  ema_rate = optim.ema_rate(c.tau_base, total, schedule.tau_power(config),
                            tau_end=c.tau_end)
  return learning_rate, ema_rate, optimizer
