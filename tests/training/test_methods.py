"""The step serves methods that are not BYOL: other views, no target, a memory."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.devices import grid as grid_lib
from byol_jax.devices import mapped
from byol_jax.methods import losses
from byol_jax.methods import method as method_lib
from byol_jax.networks import architectures
from byol_jax.networks import model as model_lib
from byol_jax.training import optim
from byol_jax.training import step as step_lib

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
      loss=loss, follow=method_lib.copied, meaning=method_lib.Meaning(0),
      init=lambda key: {'memory': jax.random.normal(key, (MEMORY, SIZE))},
      advance=advance)


# a new method joins them: 'name': name.make()
METHODS = {'siamese': _siamese(), 'queue': _queue()}


def _model(axis_name=None):
  return model_lib.make_model(
      architecture=TINY, stem='half', projector_hidden_size=16, projection_size=SIZE,
      predictor_hidden_size=16, use_predictor=False, axis_name=axis_name)


@functools.cache
def _initial(name):
  init = jax.jit(lambda: step_lib.init(
      jax.random.PRNGKey(0), _model(), OPTIMIZER, (SIDE, SIDE, 3),
      method=METHODS[name], with_probe=False))
  return jax.tree.map(np.asarray, init())


def _run(name, num_devices, num_sub_batches, steps=3):
  def update(state, shared, batch):
    del shared
    return step_lib.update(
        state, batch, model=_model(mapped.AXIS), method=METHODS[name],
        optimizer=OPTIMIZER, learning_rate=RATE, ema_rate=lambda step: jnp.float32(0.1),
        make_views=lambda step, part: jnp.moveaxis(part['views'], 1, 0) + 0.1 * step,
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


@pytest.mark.parametrize('name', sorted(METHODS))
@pytest.mark.parametrize('num_sub_batches', [1, 2])
def test_devices_compute_the_same(name, num_sub_batches):
  (one, said), (four, also) = (_run(name, n, num_sub_batches) for n in (1, 4))
  assert mapped.replicas_agree(four)
  np.testing.assert_allclose(said['loss'], also['loss'], rtol=1e-4)
  np.testing.assert_allclose(said['batch_projection_std'],
                             also['batch_projection_std'], rtol=1e-3)
  chex.assert_trees_all_close(one.carried, four.carried, rtol=1e-3, atol=1e-4)


def test_without_target_views_no_target_runs():
  state = _initial('siamese')
  assert state.target_params == {} and state.target_state == {}
  new, metrics = _run('siamese', 1, 1)
  assert new.target_params == {} and 'agreement' in metrics


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
