"""Three full train steps of the reference implementation, in float64.

The fixture was recorded from DeepMind's published code (repaired for today's
JAX); its keys and settings are described in fixtures/README.md.
"""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np

from byol_jax.methods import byol
from byol_jax.networks import architectures
from byol_jax.networks import model as model_lib
from byol_jax.training import optim
from byol_jax.training import step as step_lib
from byol_jax.views import make as views_lib

FIXTURE = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'fixtures', 'byol_step_tiny.npz')
MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])
TINY = architectures.Architecture((1, 1, 1, 1), False, (8, 8, 8, 8))


def _tree(data, prefix):
  """{module: {name: array}} below `prefix`, with our name of the encoder."""
  tree = {}
  for key in data.files:
    if key.startswith(prefix):
      module, name = key[len(prefix):].split('|')
      module = module.replace('tiny_res_net', 'encoder')
      tree.setdefault(module, {})[name] = data[key]
  return tree


def _part(tree, like):
  return {module: tree[module] for module in like}


def _assert_close(ours, theirs, tolerance, absolute=1e-12):
  assert set(ours) == set(theirs)
  for module in ours:
    for name in ours[module]:
      np.testing.assert_allclose(
          ours[module][name], theirs[module][name], rtol=tolerance,
          atol=absolute, err_msg=f'{module} {name}')


def test_three_steps_equal_the_reference(x64):
  data = np.load(FIXTURE)
  model = model_lib.make_model(
      architecture=TINY, padding='same', projector_hidden_size=64,
      projection_size=32, predictor_hidden_size=64, num_classes=10,
      precision=model_lib.PRECISIONS['float64'])
  # The reference rounded its learning rate to float32; test_optim.py holds the
  # schedule itself against the recorded float64 values.
  recorded = jnp.asarray(
      [data[f'step{i}/log_learning_rate'] for i in range(3)], jnp.float64)
  learning_rate = lambda step: recorded[step - 500]
  ema_rate = optim.ema_rate(0.99, 1000)
  optimizer = optim.lars(learning_rate, weight_decay=1.5e-6)

  def make_views(step, batch):
    del step
    views = jnp.stack([batch['view1'], batch['view2']]).astype(jnp.float64)
    return views_lib.Views((views - MEAN) / STD)

  state = jax.eval_shape(lambda: step_lib.init(
      jax.random.PRNGKey(0), model, optimizer, (32, 32, 3), method=byol.make(),
      with_probe=True))
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), state)
  online = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64),
                        _tree(data, 'online_in/'))
  target = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64),
                        _tree(data, 'target_in/'))
  params, probe = _part(online, state.online_params), _part(online, ['classifier'])
  assert set(online) == set(params) | set(probe)
  state = zeros._replace(
      step=jnp.asarray(500, jnp.int32), online_params=params,
      target_params=_part(target, state.target_params), probe_params=probe,
      opt_state=optimizer.init((params, probe)))

  update = jax.jit(functools.partial(
      step_lib.update, model=model, method=byol.make(), optimizer=optimizer,
      learning_rate=learning_rate, ema_rate=ema_rate, make_views=make_views))
  for i in range(3):
    batch = {k: data[f'step{i}/{k}'][None] for k in ('view1', 'view2', 'labels')}
    if i == 0:
      grads = jax.jit(lambda state, batch: step_lib._gradients(
          state, batch, make_views, model, byol.make(), None)[1][0])(state, batch)
      expected = _tree(data, 'step0/grad/')
      _assert_close(grads[0] | grads[1], expected, 1e-8)
    state, metrics = update(state, batch)
    for ours, theirs in (('loss', 'repr_loss'), ('probe_loss', 'classif_loss'),
                         ('tau', 'tau')):
      np.testing.assert_allclose(metrics[ours], data[f'step{i}/log_{theirs}'],
                                 rtol=1e-8)
    np.testing.assert_allclose(
        metrics['probe_top1'], 100 * data[f'step{i}/log_top1_accuracy'], atol=1e-4)

  assert int(state.step) == 503
  _assert_close(state.online_params | state.probe_params,
                _tree(data, 'step2/online_out/'), 1e-8)
  expected = _tree(data, 'step2/target_out/')
  _assert_close(state.target_params, _part(expected, state.target_params), 1e-8)
  expected = _tree(data, 'step2/online_bn_out/')
  _assert_close(state.online_state, expected, 1e-8)
  expected = _tree(data, 'step2/target_bn_out/')
  _assert_close(state.target_state, _part(expected, state.target_state), 1e-8)
  momentum = state.opt_state[2].trace
  _assert_close(momentum[0] | momentum[1], _tree(data, 'step2/momentum_out/'),
                2e-8, absolute=1e-11)
