"""The step serves methods that are not BYOL: other views, no target, a memory."""

import functools
import os

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.devices import grid as grid_lib
from byol_jax.devices import mapped
from byol_jax.methods import byol
from byol_jax.methods import losses
from byol_jax.methods import method as method_lib
from byol_jax.methods import moco
from byol_jax.methods import simclr
from byol_jax.methods import simsiam
from byol_jax.networks import architectures
from byol_jax.networks import model as model_lib
from byol_jax.training import optim
from byol_jax.training import step as step_lib
from byol_jax.views import make as views_lib

TINY = architectures.Architecture((1,), False, (8,), 8)
BATCH, SIDE, MEMORY, SIZE = 16, 12, 24, 8
RATE = optim.warmup_cosine(0.5, 2, 20)
OPTIMIZER = optim.lars(RATE, weight_decay=1e-4, trust_coefficient=1e-2)


def _siamese():
  """Both views through one network, joint statistics, no target."""
  def loss(outputs, carried, axis_name):
    del carried, axis_name
    one, two = outputs.online.projection
    return jnp.mean(losses.regression_loss(one, jax.lax.stop_gradient(two))), {
        'agreement': jnp.mean(one * two)}
  return method_lib.Method(
      title='Siamese', online_views=(0, 1), target_views=(), joint_statistics=True,
      loss=loss, meaning=method_lib.Meaning(0, 4))


def _queue():
  """View 0 against view 1 of the target, and a memory of earlier targets."""
  def loss(outputs, carried, axis_name):
    del axis_name
    query, key = outputs.online.projection[0], outputs.target.projection[0]
    return jnp.mean(losses.regression_loss(query, jax.lax.stop_gradient(key))) + (
        jnp.mean(jnp.square(query @ carried['memory'].T))), {}
  def advance(outputs, carried, axis_name):
    keys = outputs.target.projection[0]
    if axis_name is not None:
      keys = jax.lax.all_gather(keys, axis_name, tiled=True)
    return {'memory': jnp.concatenate([keys, carried['memory']])[:MEMORY]}
  return method_lib.Method(
      title='Queue', online_views=(0,), target_views=(1,), joint_statistics=False,
      loss=loss, follow=lambda target, online, rate: online,
      meaning=method_lib.Meaning(0),
      init=lambda key: {'memory': jax.random.normal(key, (MEMORY, SIZE))},
      advance=advance)


_SETTINGS = method_lib.Settings(
    examples=BATCH, projection_size=SIZE, temperature=0.5, queue=64)
# a new method joins them: 'name': name.make(_SETTINGS)
METHODS = {
    'siamese': _siamese(), 'queue': _queue(),
    'byol, negatives': byol.make(_SETTINGS._replace(beta=1.0)),
    'byol, best map': byol.make(_SETTINGS._replace(
        target='stopped', optimal_predictor=True)),
    'simclr': simclr.make(_SETTINGS),
    'simsiam': simsiam.make(_SETTINGS),
    'moco': moco.make(_SETTINGS._replace(shuffle=True)),
    'infomin': moco.make(_SETTINGS._replace(jigsaw=0.5, symmetric=True)),
}
# what their networks have beside those of the others
_NETWORKS = {
    'simclr': {'form': architectures.HEADS['simclr']},
    'simsiam': {'form': architectures.HEADS['simsiam'], 'use_predictor': True},
    'moco': {'form': architectures.HEADS['moco'], 'bn_groups': 4},
    'infomin': {'form': architectures.HEADS['moco'], 'bn_groups': 2},
}
_TILES = (9, 6, 6, 3)
_ALWAYS = ('simclr', 'moco')  # negatives of the batch, and a queue with shuffled keys
_LONG = pytest.mark.skipif('BYOL_TEST_LONG' not in os.environ, reason='BYOL_TEST_LONG=1')


def _model(name, axis_name=None):
  return model_lib.make_model(**dict(
      architecture=TINY, stem='half', projector_hidden_size=16, projection_size=SIZE,
      predictor_hidden_size=16, use_predictor=False, axis_name=axis_name) | (
          _NETWORKS.get(name, {})) | ({} if axis_name else {'bn_groups': 1}))


def _views(step, part):
  """Returns the given views, other ones at each step, with tiles and an order."""
  images = jnp.moveaxis(part['views'], 1, 0) + 0.1 * step
  tiles = images[0, :, None, :6, :6] * jnp.arange(1, 10)[:, None, None, None]
  return views_lib.Views(images, tiles, jnp.sin(100 * images[0, :, 0, 0, 0]))


@functools.cache
def _initial(name):
  init = jax.jit(lambda: step_lib.init(
      jax.random.PRNGKey(0), _model(name), OPTIMIZER, (SIDE, SIDE, 3),
      method=METHODS[name], with_probe=False,
      tiles_shape=_TILES if METHODS[name].tiles else None))
  return jax.tree.map(np.asarray, init())


def _run(name, num_devices, num_sub_batches, steps=3, method=None):
  def update(state, shared, batch):
    del shared
    return step_lib.update(
        state, batch, model=_model(name, mapped.AXIS), method=method or METHODS[name],
        optimizer=OPTIMIZER, learning_rate=RATE, ema_rate=lambda step: jnp.float32(0.1),
        make_views=_views,
        axis_name=mapped.AXIS)
  devices = jax.devices()[:num_devices]
  mapped_update = mapped.pmap_update(update, devices)
  views = np.random.default_rng(1).standard_normal(
      (BATCH, 2, SIDE, SIDE, 3)).astype(np.float32)
  batch = {'views': views[grid_lib.example_grid(BATCH, num_sub_batches, num_devices)]}
  state = mapped.replicate(_initial(name), devices)
  for _ in range(steps):
    state, metrics = mapped_update(state, {}, batch)
  return state, metrics


@functools.cache
def _alone(name):
  return _run(name, 1, 2)


@pytest.mark.parametrize('name, num_devices', [
    pytest.param(name, n, marks=() if name in _ALWAYS and n == 8 else _LONG)
    for name in sorted(METHODS) for n in (2, 8)])
def test_devices_compute_the_same(name, num_devices):
  """Three steps of two sub-batches."""
  (one, said), (several, also) = _alone(name), _run(name, num_devices, 2)
  assert mapped.replicas_agree(several)
  np.testing.assert_allclose(said['loss'], also['loss'], rtol=1e-4)
  np.testing.assert_allclose(said['batch_projection_std'],
                             also['batch_projection_std'], rtol=1e-3)
  chex.assert_trees_all_close(one.carried, several.carried, rtol=1e-3, atol=2e-3)
  chex.assert_trees_all_close(one.online_params, several.online_params, rtol=1e-2,
                              atol=1e-3)


def test_examples_leave_their_order_and_come_back():
  """Whatever the number of devices, the order is that of the ranks of the draws."""
  rng = np.random.default_rng(0)
  x, order = rng.standard_normal((2, BATCH, 3)), rng.random(BATCH)
  def run(x, order):
    there = step_lib._in_order(x, order, 'i')
    return there, step_lib._in_order(there, order, 'i', back=True)
  for num_devices in (1, 4):
    parts = lambda a, d=num_devices: jnp.moveaxis(
        a.reshape(2, d, BATCH // d, 3), 1, 0)
    there, back = jax.pmap(run, axis_name='i', devices=jax.devices()[:num_devices])(
        parts(x), order.reshape(num_devices, -1))
    np.testing.assert_allclose(there, parts(x[:, np.argsort(order)]), rtol=1e-6)
    np.testing.assert_allclose(back, parts(x), rtol=1e-6)


def test_shuffled_keys_are_normalized_beside_other_images():
  plain = METHODS['moco']._replace(shuffled=False)
  first = _run('moco', 1, 1, steps=1)[0].carried['queue'][:BATCH]
  same = _run('moco', 1, 1, steps=1, method=plain)[0].carried['queue'][:BATCH]
  assert np.abs(first - same).max() > 0.01


def test_with_one_group_the_order_changes_nothing(monkeypatch):
  monkeypatch.setitem(_NETWORKS, 'moco', _NETWORKS['moco'] | {'bn_groups': 1})
  first = _run('moco', 4, 1, steps=1)[0].carried['queue']
  plain = METHODS['moco']._replace(shuffled=False)
  same = _run('moco', 4, 1, steps=1, method=plain)[0].carried['queue']
  np.testing.assert_allclose(first, same, atol=1e-5)


def test_without_target_views_no_target_runs():
  state = _initial('siamese')
  assert state.target_params == {} and state.target_state == {}
  new, metrics = _run('siamese', 1, 1)
  assert new.target_params == {} and 'agreement' in metrics
  assert 'tau' not in metrics


def test_what_is_carried_advances_once_a_sub_batch():
  first = _initial('queue').carried['memory']
  for num_sub_batches in (1, 2):
    new, _ = _run('queue', 4, num_sub_batches, steps=1)
    # the newest come first, the oldest of before are gone
    np.testing.assert_array_equal(new.carried['memory'][BATCH:], first[:MEMORY - BATCH])
  # the target is a copy of the online network after each step
  chex.assert_trees_all_equal(new.target_params, {
      name: new.online_params[name] for name in new.target_params})


@pytest.mark.parametrize('wrong, words', [
    (dict(online_views=(0, 2)), 'sees view 2, but there are only 2'),
    (dict(loss=lambda outputs, carried, axis_name: (
        outputs.online.projection[0], {})), 'means: scalars'),
    (dict(loss=lambda outputs, carried, axis_name: (
        jnp.float32(0), {'loss': jnp.float32(1)})), "called 'loss'"),
], ids=['a third view', 'no mean', 'a metric called loss'])
def test_what_an_author_gets_wrong_is_named(monkeypatch, wrong, words):
  monkeypatch.setitem(METHODS, 'siamese', _siamese()._replace(**wrong))
  with pytest.raises((ValueError, AssertionError), match=words):
    _run('siamese', 1, 1, steps=1)
