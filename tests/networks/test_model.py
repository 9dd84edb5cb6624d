"""The networks of a run: precision, heads, and what online and target share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.networks import architectures
from byol_jax.networks import model as model_lib

TINY = architectures.Architecture((1,), False, (8,), 8)
IMAGES = np.random.default_rng(0).standard_normal((6, 8, 8, 3)).astype(np.float32)


def _make(**kwargs):
  settings = dict(architecture=TINY, stem='small', projector_hidden_size=12,
                  projection_size=5, predictor_hidden_size=7, num_classes=4)
  return model_lib.make_model(**settings | kwargs)


def _shapes(model):
  return jax.eval_shape(
      functools.partial(model.online.init, is_training=True),
      jax.random.PRNGKey(0), jnp.asarray(IMAGES))


def _dtypes(tree):
  return {leaf.dtype.name for leaf in jax.tree.leaves(tree)}


@functools.cache
def _initial():
  """Parameters and state of the online network."""
  init = jax.jit(functools.partial(_make().online.init, is_training=True))
  return init(jax.random.PRNGKey(0), jnp.asarray(IMAGES))


def test_heads():
  """Linear with bias, normalization, ReLU, linear: no bias, no norm after it."""
  params, _ = _shapes(_make())
  shapes = {
      module: {name: leaf.shape for name, leaf in leaves.items()}
      for module, leaves in params.items() if not module.startswith('encoder')}
  assert shapes == {
      'projector/linear': {'w': (8, 12), 'b': (12,)},
      'projector/batch_norm': {'scale': (1, 12), 'offset': (1, 12)},
      'projector/linear_1': {'w': (12, 5)},
      'predictor/linear': {'w': (5, 7), 'b': (7,)},
      'predictor/batch_norm': {'scale': (1, 7), 'offset': (1, 7)},
      'predictor/linear_1': {'w': (7, 5)},
  }
  assert not any('b' in leaves for module, leaves in params.items()
                 if 'conv' in module)


def test_a_linear_layer_behind_the_encoder_makes_its_features():
  """The arrays of the encoder stay what they are without it."""
  model, plain = _make(embedding=3), _make()
  params, state = model.encoder.init(jax.random.PRNGKey(0), IMAGES, True)
  layer = params['encoder/~/embedding']
  assert model.feature_size == 3 and layer['w'].shape == (8, 3)
  rest = {name: x for name, x in params.items() if name != 'encoder/~/embedding'}
  pooled, _ = plain.encoder.apply(rest, state, IMAGES, True)
  features, _ = model.encoder.apply(params, state, IMAGES, True)
  np.testing.assert_allclose(features, pooled @ layer['w'] + layer['b'], atol=1e-5)
  online, _ = _shapes(model)
  assert online['projector/linear']['w'].shape == (3, 12)


def test_the_defaults_are_the_papers():
  model = model_lib.make_model(num_classes=1000)
  params, _ = jax.eval_shape(
      functools.partial(model.online.init, is_training=True),
      jax.random.PRNGKey(0), jnp.zeros((2, 64, 64, 3)))
  probe = jax.eval_shape(model.probe.init, jax.random.PRNGKey(0),
                         jnp.zeros((2, model.feature_size)))
  assert model.feature_size == 2048
  assert params['projector/linear']['w'].shape == (2048, 4096)
  assert params['predictor/linear']['w'].shape == (256, 4096)
  assert params['predictor/linear_1']['w'].shape == (4096, 256)
  # 37.12M with heads and classifier, as in the reference's ResNet-50
  count = sum(leaf.size for leaf in jax.tree.leaves((params, probe)))
  assert count / 1e6 == pytest.approx(37.12, abs=0.01)


def test_the_target_is_the_online_network_without_predictor():
  model = _make()
  online, online_state = _shapes(model)
  target, target_state = jax.eval_shape(
      functools.partial(model.target.init, is_training=True),
      jax.random.PRNGKey(0), jnp.asarray(IMAGES))
  for with_predictor, without in ((online, target), (online_state, target_state)):
    assert {m for m in with_predictor if not m.startswith('predictor')} == set(
        without)
    assert any(m.startswith('predictor') for m in with_predictor)
  params, state = _initial()
  outputs, _ = jax.jit(model.online.apply, static_argnums=3)(
      params, state, IMAGES, True)
  goal, _ = jax.jit(model.target.apply, static_argnums=3)(
      {m: params[m] for m in target}, {m: state[m] for m in target_state},
      IMAGES, True)
  assert goal.prediction is None
  np.testing.assert_allclose(goal.features, outputs.features, rtol=1e-6)
  np.testing.assert_allclose(goal.projection, outputs.projection, rtol=1e-5,
                             atol=1e-6)


def test_the_heads_compute_what_they_should(x64):
  del x64
  model = _make(precision=model_lib.PRECISIONS['float64'])
  params, state = jax.jit(functools.partial(model.online.init, is_training=True))(
      jax.random.PRNGKey(0), jnp.asarray(IMAGES))
  outputs, _ = jax.jit(model.online.apply, static_argnums=3)(
      params, state, IMAGES, True)
  def head(name, x):
    x = x @ params[f'{name}/linear']['w'] + params[f'{name}/linear']['b']
    x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    return np.maximum(x, 0) @ params[f'{name}/linear_1']['w']
  z = head('projector', np.asarray(outputs.features))
  np.testing.assert_allclose(outputs.projection, z, rtol=1e-10, atol=1e-12)
  np.testing.assert_allclose(outputs.prediction, head('predictor', z), rtol=1e-10,
                             atol=1e-12)


def test_without_predictor_the_prediction_is_the_projection():
  model = _make(use_predictor=False)
  params, _ = _shapes(model)
  assert not any(m.startswith('predictor') for m in params)
  everything, state = _initial()
  outputs, _ = jax.jit(model.online.apply, static_argnums=3)(
      {m: everything[m] for m in params},
      {m: s for m, s in state.items() if not m.startswith('predictor')},
      IMAGES, True)
  np.testing.assert_array_equal(outputs.prediction, outputs.projection)


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_parameters_and_outputs_are_float32(precision):
  model = _make(precision=model_lib.PRECISIONS[precision])
  params, state = _shapes(model)
  assert _dtypes(params) == {'float32'}
  assert _dtypes(state) == {'float32', 'int32'}
  outputs, new_state = jax.eval_shape(
      lambda p, s, x: model.online.apply(p, s, x, True, 2), params, state,
      jnp.asarray(IMAGES))
  assert _dtypes(outputs) == {'float32'}
  assert _dtypes(new_state) == {'float32', 'int32'}
  probe = jax.eval_shape(model.probe.init, jax.random.PRNGKey(0),
                         outputs.features)
  assert _dtypes(probe) == {'float32'}
  assert _dtypes(jax.eval_shape(model.probe.apply, probe, outputs.features)) == {
      'float32'}


def test_bfloat16_computes_in_bfloat16_and_stays_close():
  params, state = _initial()
  outputs = {}
  for name in ('float32', 'bfloat16'):
    model = _make(precision=model_lib.PRECISIONS[name])
    apply = jax.jit(lambda p, s, x, model=model: model.online.apply(
        p, s, x, True, 2)[0])
    program = str(jax.make_jaxpr(apply)(params, state, IMAGES))
    convolutions = [line for line in program.splitlines()
                    if '= conv_general_dilated' in line]
    assert convolutions
    short = {'float32': 'f32[', 'bfloat16': 'bf16['}[name]
    assert all(f':{short}' in line.split('=')[0] for line in convolutions)
    outputs[name] = apply(params, state, IMAGES)
  for ours, exact in zip(*(jax.tree.leaves(outputs[name]) for name in (
      'bfloat16', 'float32'))):
    relative = np.linalg.norm(ours - exact) / np.linalg.norm(exact)
    assert 1e-5 < relative < 0.05


def test_gradients_of_bfloat16_are_float32():
  model = _make(precision=model_lib.PRECISIONS['bfloat16'])
  params, state = _shapes(model)
  grads = jax.eval_shape(jax.grad(
      lambda p, s, x: model.online.apply(p, s, x, True, 2)[0].prediction.sum()),
      params, state, jnp.asarray(IMAGES))
  assert _dtypes(grads) == {'float32'}


def test_float64_is_float64_everywhere(x64):
  model = _make(precision=model_lib.PRECISIONS['float64'])
  params, state = _shapes(model)
  assert _dtypes(params) == {'float64'}
  assert _dtypes(state) == {'float64', 'int32'}
  outputs, _ = jax.eval_shape(
      lambda p, s, x: model.online.apply(p, s, x, True, 2), params, state,
      jnp.asarray(IMAGES))
  assert _dtypes(outputs) == {'float64'}
