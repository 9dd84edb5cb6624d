"""MoCo v2 against five recorded steps of the authors' code, and its queue."""

import math
import pathlib

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.devices import grid as grid_lib
from byol_jax.devices import mapped
from byol_jax.methods import losses
from byol_jax.methods import method as method_lib
from byol_jax.methods import moco
from byol_jax.networks import architectures
from byol_jax.networks import heads
from byol_jax.networks.model import Model
from byol_jax.networks.model import Outputs
from byol_jax.training import optim
from byol_jax.training import step as step_lib
from byol_jax.views.make import Views

RECORDED = np.load(
    pathlib.Path(__file__).parents[1] / 'fixtures/methods/moco_v2_steps.npz')
SIZE, QUEUE = 6, int(RECORDED['meta_K'])
LAYERS = {'body': 'body', 'fc/0': 'fc0', 'fc/2': 'fc2'}  # the authors' names: ours


def _network():
  """Linear, ReLU, linear, ReLU, linear, as the recorded one."""
  def forward(images, is_training, views=1):
    del is_training, views
    x = images.reshape(images.shape[0], -1)
    x = jax.nn.relu(hk.Linear(10, name='body')(x))
    z = hk.Linear(SIZE, name='fc2')(jax.nn.relu(hk.Linear(10, name='fc0')(x)))
    return Outputs(x, z, z)
  network = hk.without_apply_rng(hk.transform_with_state(forward))
  return Model(network, network, network, None, 10)


def _params(prefix):
  return {ours: {'w': jnp.asarray(RECORDED[f'{prefix}/{theirs}/weight'].T),
                 'b': jnp.asarray(RECORDED[f'{prefix}/{theirs}/bias'])}
          for theirs, ours in LAYERS.items()}


def _close(ours, prefix, rtol=1e-10):
  for module, leaves in _params(prefix).items():
    for name, leaf in leaves.items():
      np.testing.assert_allclose(ours[module][name], leaf, rtol=rtol, atol=1e-13,
                                 err_msg=f'{prefix} {module} {name}')


def _stepped(state, method, network, optimizer, rate, tau, num_devices):
  """Returns the state on the devices, and a step: (state, views, tiles) -> the next."""
  def update(state, shared, batch):
    del shared
    return step_lib.update(
        state, batch, model=network, method=method, optimizer=optimizer,
        learning_rate=rate, ema_rate=lambda step: jnp.asarray(1 - tau),
        make_views=lambda step, part: Views(
            jnp.moveaxis(part['views'], 1, 0)[:, :, None, None], part.get('tiles')),
        axis_name=mapped.AXIS)
  devices = jax.devices()[:num_devices]
  update = mapped.pmap_update(update, devices)
  def step(state, **arrays):
    n = len(arrays['views'])
    return update(state, {}, {name: x[grid_lib.example_grid(n, 1, num_devices)]
                              for name, x in arrays.items()})
  return mapped.replicate(state, devices), step


@pytest.mark.parametrize('num_devices', [1, 2])
@pytest.mark.parametrize('tau', ['0.999', '0.9'])
def test_five_steps_equal_the_authors(x64, tau, num_devices):
  method = moco.make(method_lib.Settings(
      queue=QUEUE, projection_size=SIZE, temperature=float(RECORDED['meta_T'])))
  rate = lambda step: jnp.asarray(RECORDED['meta_lr'])
  optimizer = optim.sgd(rate, decay_all=True,
                        weight_decay=float(RECORDED['meta_weight_decay']))
  query = _params(f'm{tau}/init/query')
  state = step_lib.TrainState(
      jnp.zeros((), jnp.int32), query, {}, _params(f'm{tau}/init/key'), {}, {},
      optimizer.init((query, {})),
      {'queue': jnp.asarray(RECORDED[f'm{tau}/init/queue'].T),
       'pointer': jnp.asarray(RECORDED[f'm{tau}/init/queue_pointer'], jnp.int32)})
  state, update = _stepped(state, method, _network(), optimizer, rate, float(tau),
                           num_devices)
  for i in range(5):
    recorded = f'm{tau}/step{i}'
    _close(state.target_params, f'{recorded}/after/key')  # it averages first
    views = np.stack([RECORDED[f'{recorded}/view_q'], RECORDED[f'{recorded}/view_k']], 1)
    state, metrics = update(state, views=views)
    np.testing.assert_allclose(metrics['loss'], RECORDED[f'{recorded}/loss'], rtol=1e-10)
    _close(state.online_params, f'{recorded}/after/query')
    np.testing.assert_allclose(state.carried['queue'],
                               RECORDED[f'{recorded}/after/queue'].T, rtol=1e-10)
    assert int(state.carried['pointer']) == RECORDED[f'{recorded}/after/queue_pointer']


def _pass(views, seed=0, n=4):
  draw = lambda k: jnp.asarray(np.random.default_rng(seed + k).standard_normal(
      (views, n, SIZE)))
  return method_lib.Pass(Outputs(draw(0), draw(1), draw(2)),
                         Outputs(draw(3), draw(4), None))


def test_symmetric_is_the_sum_and_both_halves_meet_the_same_queue(x64):
  settings = method_lib.Settings(queue=16, projection_size=SIZE, temperature=0.2)
  both = moco.make(settings._replace(symmetric=True))
  one = moco.make(settings)
  carried = both.init(jax.random.PRNGKey(0))
  outputs = _pass(views=2)
  halves = [one.loss(method_lib.Pass(*(jax.tree.map(lambda x, i=i: x[i:i + 1], part)
                                       for part in outputs)), carried, None)[0]
            for i in (0, 1)]
  np.testing.assert_allclose(both.loss(outputs, carried, None)[0], sum(halves),
                             rtol=1e-12)
  assert both.meaning.chance == pytest.approx(2 * math.log(17))
  # view 0's keys first: the target saw the views in the order 1, 0
  new = both.advance(outputs, carried, None)
  keys = losses.l2_normalize(outputs.target.projection)
  np.testing.assert_array_equal(
      new['queue'][:8], jnp.concatenate([keys[1], keys[0]]))
  np.testing.assert_array_equal(new['queue'][8:], carried['queue'][8:])
  assert int(new['pointer']) == 8
  assert int(both.advance(outputs, new, None)['pointer']) == 0


def test_the_queue_starts_as_unit_rows_and_by_chance_the_loss_is_its_logarithm(x64):
  method = moco.make(method_lib.Settings(queue=512, projection_size=SIZE,
                                         temperature=1000.0))
  carried = method.init(jax.random.PRNGKey(0))
  np.testing.assert_allclose(np.linalg.norm(carried['queue'], axis=1), 1, rtol=1e-6)
  loss, _ = method.loss(_pass(views=1), carried, None)
  np.testing.assert_allclose(loss, method.meaning.chance, rtol=1e-3)


def test_no_gradient_reaches_the_keys(x64):
  method = moco.make(method_lib.Settings(queue=8, projection_size=SIZE))
  carried = method.init(jax.random.PRNGKey(0))
  online, target = jax.grad(lambda outputs: method.loss(outputs, carried, None)[0])(
      _pass(views=1))
  assert np.abs(online.projection).min() > 0 and not np.any(target.projection)


def test_the_jigsaw_is_compared_with_the_same_key(x64):
  settings = method_lib.Settings(queue=8, projection_size=SIZE, jigsaw=0.25)
  infomin, plain = moco.make(settings), moco.make(settings._replace(jigsaw=0.0))
  assert (infomin.title, infomin.tiles, plain.tiles) == ('InfoMin', True, False)
  carried = plain.init(jax.random.PRNGKey(0))
  outputs = _pass(views=1)
  tiles = outputs.online.projection[0] + 1
  of = lambda method, query: method.loss(outputs._replace(
      online=outputs.online._replace(projection=query, jigsaw=tiles)), carried, None)[0]
  np.testing.assert_allclose(
      of(infomin, outputs.online.projection),
      0.75 * of(plain, outputs.online.projection) + 0.25 * of(plain, tiles[None]),
      rtol=1e-12)


def _infomin():
  """A linear encoder that images and tiles share, MoCo's head and the jigsaw's."""
  def forward(images, is_training, views=1, tiles=None):
    del views
    body, form = hk.Linear(10, name='body'), architectures.HEADS['moco'].projector
    encode = lambda x, n: jax.nn.relu(body(x.reshape(n, -1)))
    x = encode(images, len(images))
    z = heads.MLP(form, 8, SIZE, norm=None, name='projector')(x, is_training)
    if tiles is None:
      return Outputs(x, z, z)
    solved = heads.Jigsaw(form, 8, SIZE, norm=None)(
        encode(tiles, 9 * len(images)), is_training, 9)
    return Outputs(x, z, z, solved)
  network = hk.without_apply_rng(hk.transform_with_state(forward))
  return Model(network, network, network, None, 10)


def test_seven_steps_of_infomin(x64):
  """PyContrast's, written down: both queries, one key, one queue that wraps."""
  tau, t, lr, decay, weight, size, n = 0.9, 0.15, 0.1, 1e-2, 0.5, 24, 8
  rng = np.random.default_rng(0)
  views, tiles = rng.standard_normal((7, n, 2, 12)), rng.standard_normal((7, n, 9, 12))
  network, rate = _infomin(), lambda step: jnp.asarray(lr)
  make = lambda **tiles: jax.tree.map(
      lambda x: jnp.asarray(rng.normal(0, 0.5, x.shape)), network.online.init(
          jax.random.PRNGKey(0), views[0, :, 0], True, **tiles)[0])
  online, target = make(tiles=tiles[0]), make()
  optimizer = optim.sgd(rate, decay_all=True, weight_decay=decay)
  method = moco.make(method_lib.Settings(
      queue=size, projection_size=SIZE, temperature=t, jigsaw=weight))
  carried = method.init(jax.random.PRNGKey(1))
  queue = np.array(carried['queue'])
  state, update = _stepped(step_lib.TrainState(
      jnp.zeros((), jnp.int32), online, {}, target, {}, {},
      optimizer.init((online, {})), carried), method, network, optimizer, rate, tau, 2)

  def head(params, name, x):
    first, second = params[f'{name}/linear'], params[f'{name}/linear_1']
    return jnp.maximum(x @ first['w'] + first['b'], 0) @ second['w'] + second['b']
  def encode(params, x):
    return jnp.maximum(x @ params['body']['w'] + params['body']['b'], 0)
  def unit(x):
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)
  tile = next(m for m in online if m.endswith('tile/linear')).removesuffix('/linear')
  last = next(m for m in online if m.startswith('jigsaw') and 'tile' not in m)

  def loss(params, key, queue, query_view, pieces):
    query = unit(head(params, 'projector', encode(params, query_view)))
    solved = head(params, tile, encode(params, pieces)).reshape(n, -1)
    solved = unit(solved @ params[last]['w'] + params[last]['b'])
    def entropy(q):
      logits = jnp.concatenate([(q * key).sum(1, keepdims=True), q @ queue.T], 1) / t
      return -jnp.mean(jax.nn.log_softmax(logits)[:, 0])
    return (1 - weight) * entropy(query) + weight * entropy(solved)

  graded = jax.jit(jax.value_and_grad(loss))
  speed = jax.tree.map(jnp.zeros_like, online)
  for i in range(7):
    state, metrics = update(state, views=views[i], tiles=tiles[i])
    key = unit(head(target, 'projector', encode(target, views[i, :, 1])))
    value, grads = graded(online, key, queue, views[i, :, 0], tiles[i])
    speed = jax.tree.map(lambda v, g, p: 0.9 * v + g + decay * p, speed, grads, online)
    online = jax.tree.map(lambda p, v: p - lr * v, online, speed)
    target = {m: {k: tau * x + (1 - tau) * online[m][k] for k, x in leaves.items()}
              for m, leaves in target.items()}
    queue[(i * n + np.arange(n)) % size] = key
    np.testing.assert_allclose(metrics['loss'], value, rtol=1e-10)
  chex.assert_trees_all_close(state.online_params, online, rtol=1e-9, atol=1e-12)
  chex.assert_trees_all_close(state.target_params, target, rtol=1e-9, atol=1e-12)
  np.testing.assert_allclose(state.carried['queue'], queue, rtol=1e-9)
