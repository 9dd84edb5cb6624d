"""The networks of a run: online, target and probe, as pure functions."""

from __future__ import annotations

import contextlib
import functools
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from byol_jax.networks import architectures
from byol_jax.networks import heads
from byol_jax.networks import norm
from byol_jax.networks import resnet


class Precision(NamedTuple):
  """The dtypes of the parameters and of the arithmetic between them.

  Batch statistics, the features and everything after the heads are float32 (or
  wider) in every policy.
  """
  params: jnp.dtype
  compute: jnp.dtype


PRECISIONS = {
    'float32': Precision(jnp.float32, jnp.float32),
    'bfloat16': Precision(jnp.float32, jnp.bfloat16),
    'float64': Precision(jnp.float64, jnp.float64),  # needs jax_enable_x64
}


class Outputs(NamedTuple):
  """The networks' outputs for a batch, float32 (or wider)."""
  features: jax.Array            # y, [B, D]
  projection: jax.Array          # z, [B, P]
  prediction: jax.Array | None   # q(z), [B, P]; None from the target
  jigsaw: jax.Array | None = None  # of the tiles, [B, P]; None without tiles


class Model(NamedTuple):
  """The networks: transformed functions (images, is_training, views=1) -> Outputs.

  `views` says how many parts of the batch are normalized by themselves (`norm.py`).

  `online` and `target` share the names of their parameters; the target has no
  predictor. `online` takes `tiles` [n, T, s, s, 3] where the model has a jigsaw.
  `encoder` is their first part, and returns the features alone.
  `probe` maps features to logits. `feature_size` is D.
  """
  online: hk.TransformedWithState
  target: hk.TransformedWithState
  encoder: hk.TransformedWithState
  probe: hk.Transformed
  feature_size: int


@contextlib.contextmanager
def _precision(policy: Precision):
  """Creates every parameter in one dtype, and casts it to the one asked for.

  Convolutions and linear layers ask for their input's dtype, normalization
  layers for float32.
  """
  def create(next_creator, shape, dtype, init, context):
    del dtype, context
    return next_creator(shape, policy.params, init)

  def get(next_getter, value, context):
    return next_getter(value).astype(context.original_dtype)

  with hk.custom_creator(create), hk.custom_getter(get):
    yield


def make_model(
    *,
    architecture: architectures.Architecture = architectures.ARCHITECTURES['resnet50'],
    width: float = 1,
    stem: str = 'imagenet',
    padding: str = 'torch',
    last_gamma: float = 1.0,
    embedding: int = 0,
    form: architectures.Heads = architectures.HEADS['byol'],
    projector_hidden_size: int = 4096,
    projection_size: int = 256,
    predictor_hidden_size: int = 4096,
    use_predictor: bool = True,
    bn_decay_rate: float = 0.9,
    bn_eps: float = 1e-5,
    bn_groups: int = 1,
    num_classes: int = 0,
    precision: Precision = PRECISIONS['float32'],
    axis_name: str | None = None,
) -> Model:
  """Builds the networks (defaults: paper, section 3.3).

  Args:
    architecture: an entry of `architectures.ARCHITECTURES`.
    width: see `resnet.ResNet`, as are `stem`, `padding`, `last_gamma` and
      `embedding`.
    stem: the first layers.
    padding: the convolutions' padding.
    last_gamma: initial scale of each block's last normalization.
    form: an entry of `architectures.HEADS`.
    projector_hidden_size: hidden units of the projector.
    projection_size: outputs of projector and predictor.
    predictor_hidden_size: hidden units of the predictor.
    use_predictor: False makes the predictor the identity, an ablation that
      collapses (paper, table 5b).
    bn_decay_rate: decay of the running averages of batch normalization.
    bn_eps: added to the variance of batch normalization.
    bn_groups: see `norm.BatchNorm`.
    num_classes: outputs of the probe; 0 where there are no labels.
    precision: an entry of `PRECISIONS`.
    axis_name: the mapped axis that batch statistics are averaged over. None
      for use outside a mapped function: initialization and evaluation.
  """
  make_norm = functools.partial(
      norm.BatchNorm, decay_rate=bn_decay_rate, eps=bn_eps, axis_name=axis_name,
      groups=bn_groups)

  def make_encoder() -> resnet.ResNet:
    return resnet.ResNet(
        architecture, norm=make_norm, width=width, stem=stem, padding=padding,
        last_gamma=last_gamma, embedding=embedding)

  def run(module, x, is_training: bool, views: int) -> jax.Array:
    with _precision(precision):
      return module(x.astype(precision.compute), is_training, views)

  def mlp(layers: architectures.Perceptron, hidden_size: int, name: str) -> heads.MLP:
    return heads.MLP(layers, hidden_size, projection_size, norm=make_norm, name=name)

  def encode(images, is_training: bool, views: int = 1) -> jax.Array:
    return run(make_encoder(), images, is_training, views)

  def forward(images, is_training: bool, views: int, tiles, predict: bool) -> Outputs:
    dtype = jnp.promote_types(precision.compute, jnp.float32)
    encoder = make_encoder()
    features = run(encoder, images, is_training, views)
    projection = run(mlp(form.projector, projector_hidden_size, 'projector'),
                     features, is_training, views)
    prediction = projection if predict else None
    if predict and use_predictor and form.predictor:
      predictor = mlp(form.predictor, predictor_hidden_size, 'predictor')
      with _precision(precision):
        prediction = predictor(projection, is_training, views)
    solved = None
    if tiles is not None:
      of_tiles = run(encoder, tiles.reshape(-1, *tiles.shape[2:]), is_training, 1)
      solver = heads.Jigsaw(form.projector, projector_hidden_size, projection_size,
                            norm=make_norm)
      solved = run(solver, of_tiles, is_training, tiles.shape[1])
    return Outputs(features, *(None if x is None else x.astype(dtype)
                               for x in (projection, prediction, solved)))

  def online(images, is_training: bool, views: int = 1, tiles=None) -> Outputs:
    return forward(images, is_training, views, tiles, predict=True)

  def target(images, is_training: bool, views: int = 1) -> Outputs:
    return forward(images, is_training, views, None, predict=False)

  def probe(features):
    with _precision(precision):
      return hk.Linear(num_classes, name='classifier')(features)

  return Model(
      online=hk.without_apply_rng(hk.transform_with_state(online)),
      target=hk.without_apply_rng(hk.transform_with_state(target)),
      encoder=hk.without_apply_rng(hk.transform_with_state(encode)),
      probe=hk.without_apply_rng(hk.transform(probe)),
      feature_size=embedding or round(architecture.channels[-1] * width))
