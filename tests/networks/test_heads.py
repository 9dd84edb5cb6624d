"""The heads of each method against numpy, from the same weights."""

import functools

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.networks import architectures
from byol_jax.networks import heads as heads_lib
from byol_jax.networks import norm

# What a head has, by the first letters of its arrays. MoCo's has no normalization,
# SimCLR's one without an offset behind the last layer, SimSiam's one without arrays.
PROJECTORS = {
    'byol': {'linear': 'bw', 'batch_norm': 'os', 'linear_1': 'w'},
    'simclr': {'linear': 'w', 'batch_norm': 'os', 'linear_1': 'w', 'batch_norm_1': 'os',
               'linear_2': 'w', 'batch_norm_2': 's'},
    'moco': {'linear': 'bw', 'linear_1': 'bw'},
    'simsiam': {'linear': 'w', 'batch_norm': 'os', 'linear_1': 'w',
                'batch_norm_1': 'os', 'linear_2': 'w'}}
PREDICTORS = {
    'byol': PROJECTORS['byol'],
    'simsiam': {'linear': 'w', 'batch_norm': 'os', 'linear_1': 'bw'}}
CASES = [(name, 'projector') for name in PROJECTORS] + [
    (name, 'predictor') for name in PREDICTORS]
_NORM = functools.partial(norm.BatchNorm, decay_rate=0.9, eps=1e-5)
_X = np.random.default_rng(0).standard_normal((8, 6))


def _transformed(module, *arguments, **options):
  """A module of heads.py as pure functions of x and `views`."""
  return hk.without_apply_rng(hk.transform_with_state(
      lambda x, count: module(*arguments, 12, 5, norm=_NORM, **options)(
          x, True, count)))


def _drawn(network, *arguments):
  """Its parameters, drawn anew, none of them 0 or 1; and its state."""
  params, state = network.init(jax.random.PRNGKey(0), *arguments)
  rng = np.random.default_rng(1)
  return jax.tree.map(lambda x: rng.normal(0.3, 1, x.shape), params), state


def _normalized(x, views, leaves):
  x = x.reshape(views, -1, x.shape[-1])
  x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
  return x.reshape(-1, x.shape[-1]) * leaves.get('scale', 1) + leaves.get('offset', 0)


def test_every_form_is_a_case():
  assert set(CASES) == {
      (name, part) for name, form in architectures.HEADS.items()
      for part in ('projector', 'predictor') if getattr(form, part)}


@pytest.mark.parametrize('views', [1, 2])
@pytest.mark.parametrize('name, part', CASES)
def test_a_head(name, part, views, x64):
  """Views are normalized together, as SimCLR does, or each by itself."""
  form = getattr(architectures.HEADS[name], part)
  network = _transformed(heads_lib.MLP, form, name='head')
  params, state = _drawn(network, _X, views)
  expected = {'projector': PROJECTORS, 'predictor': PREDICTORS}[part][name]
  assert {module.split('/')[1]: ''.join(sorted(x[0] for x in leaves))
          for module, leaves in params.items()} == expected
  out, _ = network.apply(params, state, _X, views)
  x, numbers = _X, [m for m in expected if m.startswith('linear')]
  for number in numbers:
    layer = params[f'head/{number}']
    x = x @ layer['w'] + layer.get('b', 0)
    own = number.replace('linear', 'batch_norm')
    if own in expected or (name, part, number) == ('simsiam', 'projector', 'linear_2'):
      x = _normalized(x, views, params.get(f'head/{own}', {}))
    if number != numbers[-1]:
      x = np.maximum(x, 0)
  np.testing.assert_allclose(out, x, rtol=1e-9, atol=1e-11)


def test_new_weights():
  """SimCLR's dense layers start at N(0, 0.01), others at 1 / sqrt(inputs)."""
  def std(form):
    mlp = hk.transform_with_state(lambda x: heads_lib.MLP(
        form, 256, 64, norm=_NORM, name='head')(x, True))
    return float(np.std(mlp.init(jax.random.PRNGKey(0), jnp.zeros((2, 9)))[0][
        'head/linear_1']['w']))
  assert std(architectures.HEADS['simclr'].projector) == pytest.approx(0.01, rel=0.02)
  # cut at two deviations
  assert std(architectures.HEADS['byol'].projector) == pytest.approx(0.88 / 16, rel=0.02)


def test_the_jigsaws_head(x64):
  """PyContrast's: a perceptron a tile, the nine outputs side by side, a layer."""
  network = _transformed(heads_lib.Jigsaw, architectures.HEADS['moco'].projector)
  x = np.random.default_rng(2).standard_normal((4 * 9, 6))
  params, state = _drawn(network, x, 9)
  out, _ = network.apply(params, state, x, 9)
  layers = {module.replace('/~', ''): leaves for module, leaves in params.items()}
  first, second, last = (layers[f'jigsaw/{name}'] for name in (
      'tile/linear', 'tile/linear_1', 'linear'))
  each = np.maximum(x @ first['w'] + first['b'], 0) @ second['w'] + second['b']
  np.testing.assert_allclose(out, each.reshape(4, 9 * 5) @ last['w'] + last['b'],
                             rtol=1e-10)
