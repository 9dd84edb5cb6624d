"""The train step: accumulation, target, probe, and any number of devices."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from byol_jax.data.feed import order
from byol_jax.devices import grid as grid_lib
from byol_jax.devices import mapped
from byol_jax.methods import byol
from byol_jax.methods import losses
from byol_jax.networks import architectures
from byol_jax.networks import model as model_lib
from byol_jax.training import optim
from byol_jax.training import step as step_lib
from byol_jax.views import make as views_lib

BYOL = byol.make()
TINY = architectures.Architecture((1,), False, (8,), 8)
BATCH, SIDE, CLASSES, SEED = 16, 20, 4, 0
RATE = 0.1  # 1 - tau, but for the two steps below
STEP_OF_TAU_1, STEP_OF_TAU_0 = 100, 200


def _make_model(axis_name=None, precision='float32'):
  return model_lib.make_model(
      architecture=TINY, stem='half', projector_hidden_size=16,
      projection_size=8, predictor_hidden_size=16, num_classes=CLASSES,
      precision=model_lib.PRECISIONS[precision], axis_name=axis_name)


def _learning_rate(step):
  return 1.0 + 0.1 * step


def _ema_rate(step):
  return jnp.select([step == STEP_OF_TAU_1, step == STEP_OF_TAU_0], [0.0, 1.0],
                    RATE)


OPTIMIZER = optim.lars(_learning_rate, weight_decay=1e-4, trust_coefficient=1e-2)


def _init(key, with_probe=True, target_init='own_key'):
  return step_lib.init(key, _make_model(), OPTIMIZER, (SIDE, SIDE, 3), method=BYOL,
                       with_probe=with_probe, target_init=target_init)


@functools.cache
def _initial(target_init='own_key'):
  """The state of step 0, as numpy; one compilation makes both kinds."""
  return _both_initial()[target_init != 'own_key']


@functools.cache
def _both_initial():
  states = jax.jit(lambda key: (_init(key), _init(key, target_init='copy')))(
      jax.random.PRNGKey(SEED))
  return jax.tree.map(np.asarray, states)


@pytest.fixture(name='state')
def _state():
  """A state with moving parts: BN statistics and momentum are not zero."""
  state = _initial()
  rng = np.random.default_rng(0)
  return state._replace(opt_state=jax.tree.map(
      lambda x: (0.1 * rng.standard_normal(x.shape)).astype(x.dtype),
      state.opt_state))


def _as_float64(tree):
  return jax.tree.map(
      lambda x: x.astype(np.float64) if x.dtype == np.float32 else x, tree)


def _views(num_sub_batches, seed=0, dtype=np.float64):
  """A batch whose views are given; sub-batches differ in brightness."""
  rng = np.random.default_rng(seed)
  n = BATCH // num_sub_batches
  shape = (num_sub_batches, n, 2, SIDE, SIDE, 3)
  x = rng.standard_normal(shape) + np.arange(num_sub_batches).reshape(-1, 1, 1, 1,
                                                                      1, 1)
  return {'views': jnp.asarray(x, dtype),
          'labels': jnp.asarray(rng.integers(0, CLASSES, (num_sub_batches, n)),
                                jnp.int32)}


def _given_views(step, batch):
  del step
  return views_lib.Views(jnp.moveaxis(batch['views'], 1, 0))


@functools.cache
def _update(precision='float32'):
  return jax.jit(functools.partial(
      step_lib.update, model=_make_model(precision=precision), method=BYOL,
      optimizer=OPTIMIZER, learning_rate=_learning_rate, ema_rate=_ema_rate,
      make_views=_given_views))


def _assert_close(ours, theirs, rtol, atol=None):
  """Leaf by leaf, relative to the leaf's largest value."""
  def check(path, a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    scale = np.abs(b).max() if b.size else 0.0
    np.testing.assert_allclose(
        a, b, rtol=rtol, atol=rtol * scale if atol is None else atol,
        err_msg=jax.tree_util.keystr(path))
  jax.tree_util.tree_map_with_path(check, ours, theirs)


# ---------------------------------------------------------- one step, by hand
def _step_by_hand(state, batch):
  """Algorithm 1, written anew: one view after the other, a loop over N.

  Returns the new (online, target, probe) parameters, momentum, both states of
  batch normalization and the metrics.
  """
  model = _make_model(precision='float64')

  def loss_of(trained, online_state, target_state, images, labels):
    params, probe = trained
    one, online_state = model.online.apply(params, online_state, images[:, 0], True)
    two, online_state = model.online.apply(params, online_state, images[:, 1], True)
    goal1, target_state = model.target.apply(
        state.target_params, target_state, images[:, 0], True)
    goal2, target_state = model.target.apply(
        state.target_params, target_state, images[:, 1], True)
    loss = losses.byol_loss(one.prediction, two.prediction, goal1.projection,
                            goal2.projection)
    logits = model.probe.apply(probe, jax.lax.stop_gradient(one.features))
    probe_loss = losses.cross_entropy(logits, labels)
    z = jnp.concatenate([one.projection, two.projection])
    z = z / jnp.linalg.norm(z, axis=-1, keepdims=True)
    return loss + probe_loss, (online_state, target_state, {
        'loss': loss, 'probe_loss': probe_loss,
        'probe_top1': 100 * losses.accuracy(logits, labels),
        'batch_projection_std': z.std(0).mean() * z.shape[-1]**0.5})

  gradient = jax.jit(jax.grad(loss_of, has_aux=True))
  trained = (state.online_params, state.probe_params)
  online_state, target_state = state.online_state, state.target_state
  grads, metrics = [], []
  n = len(batch['views'])
  for images, labels in zip(batch['views'], batch['labels']):
    g, (online_state, target_state, m) = gradient(
        trained, online_state, target_state, images, labels)
    grads.append(g)
    metrics.append(m)
  mean = lambda trees: jax.tree.map(lambda *x: sum(x) / n, *trees)
  grads = mean(grads)
  updates, opt_state = OPTIMIZER.update(grads, state.opt_state, trained,
                                        step=state.step)
  online, probe = optax.apply_updates(trained, updates)
  tau = 1 - RATE  # with the new online parameters
  target = {module: {name: tau * old + (1 - tau) * online[module][name]
                     for name, old in leaves.items()}
            for module, leaves in state.target_params.items()}
  return (online, target, probe, opt_state, online_state, target_state,
          mean(metrics), grads)


@pytest.mark.parametrize('num_sub_batches', [1, 4])
def test_equals_the_step_by_hand(state, num_sub_batches, x64):
  """N sub-batches with statistics of their own; optimizer and EMA move once."""
  state = _as_float64(state)
  batch = _views(num_sub_batches)
  online, target, probe, opt_state, online_state, target_state, metrics, grads = (
      _step_by_hand(state, batch))
  new, ours = _update('float64')(state, batch)
  _assert_close((new.online_params, new.target_params, new.probe_params,
                 new.opt_state), (online, target, probe, opt_state), 1e-9)
  _assert_close((new.online_state, new.target_state),
                (online_state, target_state), 1e-9)
  counters = {int(leaf) for path, leaf in
              jax.tree_util.tree_leaves_with_path(new.online_state)
              if path[-1].key == 'counter'}
  assert counters == {2 * num_sub_batches}  # one view after the other
  assert int(new.step) == 1 and new.step.dtype == jnp.int32
  assert set(ours) == set(metrics) | {
        'learning_rate', 'tau', 'gradient_norm', 'finite'}
  for name, value in metrics.items():
    if name != 'batch_projection_std' or num_sub_batches == 1:
      np.testing.assert_allclose(ours[name], value, rtol=1e-6, err_msg=name)
  assert 0 <= float(ours['loss']) <= 8
  np.testing.assert_allclose(ours['tau'], 0.9)
  np.testing.assert_allclose(ours['learning_rate'], 1.0)
  squares = sum(np.sum(np.square(g)) for g in jax.tree.leaves(grads[0]))
  np.testing.assert_allclose(ours['gradient_norm'], squares**0.5, rtol=1e-9)


def test_accumulation_is_not_one_large_batch(state, x64):
  """Batch statistics are those of a sub-batch (paper, appendix G.2)."""
  state = _as_float64(state)
  batch = _views(4)
  whole = jax.tree.map(lambda x: x.reshape(1, BATCH, *x.shape[2:]), batch)
  ours, large = (_update('float64')(state, b)[1] for b in (batch, whole))
  assert abs(ours['loss'] - large['loss']) > 1e-3


@pytest.mark.parametrize('platform, unroll, sub_batches, loops', [
    ('cpu', True, 4, 0), ('tpu', True, 4, 1), ('cuda', True, 4, 1), ('cpu', False, 4, 1),
    ('cpu', False, 1, 0), ('tpu', True, 1, 0)])
def test_accumulation_is_no_loop_on_a_cpu(state, platform, unroll, sub_batches, loops):
  """There a loop's gradients of convolutions are a hundred times as slow."""
  update = jax.jit(functools.partial(_update().__wrapped__, unroll=unroll))
  traced = update.trace(state, _views(sub_batches, dtype=np.float32))
  lowered = traced.lower(lowering_platforms=(platform,)).as_text()
  assert lowered.count('stablehlo.while') == loops


# ---------------------------------------------------------------- the target
@pytest.mark.parametrize('tau, step', [(1, STEP_OF_TAU_1), (0, STEP_OF_TAU_0)])
def test_target_at_tau_1_and_tau_0(state, tau, step):
  state = state._replace(step=np.int32(step))
  new, metrics = _update()(state, _views(1, dtype=np.float32))
  assert float(metrics['tau']) == tau and int(new.step) == step + 1
  if tau == 1:  # fixed, to the bit
    chex.assert_trees_all_equal(new.target_params,
                                state.target_params)
  else:  # the online network after its update
    new_online = {m: new.online_params[m] for m in new.target_params}
    _assert_close(new.target_params, new_online, 1e-6)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), new_online,
                         {m: state.online_params[m] for m in new_online})
    assert max(jax.tree.leaves(moved)) > 1e-3


def test_the_target_starts_from_its_own_key_or_as_a_copy():
  own, copy = _initial(), _initial(target_init='copy')
  for state in (own, copy):
    assert not any(m.startswith('predictor') for m in state.target_params)
    assert {m for m in state.online_params if not m.startswith('predictor')} == set(
        state.target_params)
  def equal(state, module):
    return np.array_equal(state.online_params[module]['w'],
                          state.target_params[module]['w'])
  weights = [m for m, leaves in own.target_params.items() if 'w' in leaves]
  assert len(weights) > 4
  assert not any(equal(own, m) for m in weights)
  assert all(equal(copy, m) for m in weights)
  chex.assert_trees_all_equal(own.online_params,
                              copy.online_params)


# ----------------------------------------------------------------- the probe
def test_the_probes_gradient_does_not_reach_the_encoder(state):
  batch = _views(1, dtype=np.float32)
  other = dict(batch, labels=(batch['labels'] + 1) % CLASSES)
  gradients = jax.jit(lambda state, batch: step_lib._gradients(
      state, batch, _given_views, _make_model(), BYOL, None)[1][0])
  (online, probe), (same, different) = (gradients(state, b) for b in (batch, other))
  chex.assert_trees_all_equal(online, same)
  assert np.abs(probe['classifier']['w'] - different['classifier']['w']).max() > 1e-3


def test_without_labels_there_is_no_probe():
  state = jax.eval_shape(functools.partial(_init, with_probe=False),
                         jax.random.PRNGKey(SEED))
  assert state.probe_params == {}
  batch = _views(2, dtype=np.float32)
  del batch['labels']
  new, metrics = jax.eval_shape(_update(), state, batch)
  assert jax.tree.structure(new) == jax.tree.structure(state)
  assert 'loss' in metrics and not any('probe' in name for name in metrics)


def test_features_use_the_running_statistics(state):
  batch = _views(1, dtype=np.float32)
  new, _ = _update()(state, batch)
  images = batch['views'][0, :, 0]
  encode = jax.jit(lambda s, x: step_lib.evaluated(
      s.online_params, s.online_state, x, _make_model()))
  outputs = encode(new, images)
  assert outputs.features.shape == (BATCH, 8)
  assert outputs.prediction.shape == (BATCH, 8)
  # an image's features do not depend on its company
  alone = encode(new, jnp.flip(images, 0))
  np.testing.assert_allclose(alone.features[::-1], outputs.features, rtol=1e-4,
                             atol=1e-5)


# ------------------------------------------------------------------- devices
SPEC = views_lib.ViewSpec(image_size=SIDE)
IMAGES = np.random.default_rng(1).integers(0, 256, (40, 24, 24, 3)).astype(np.uint8)
LABELS = np.arange(40, dtype=np.int32) % CLASSES


@functools.cache
def _mapped_update(num_devices):
  """The step as a run has it: resident images, augmented, over devices."""
  model = _make_model(mapped.AXIS)

  def update(state, shared, batch):
    batch = dict(batch, labels=shared['labels'][batch['rows']])
    return step_lib.update(
        state, batch, model=model, method=BYOL, optimizer=OPTIMIZER,
        learning_rate=_learning_rate, ema_rate=_ema_rate,
        make_views=lambda step, part: views_lib.make(
            {'key': shared['key'], 'images': shared['images']}, step, part, SPEC),
        axis_name=mapped.AXIS)

  return mapped.pmap_update(update, jax.devices()[:num_devices])


def _run(num_devices, num_steps):
  """(state, metrics) after some steps, with two sub-batches."""
  devices = jax.devices()[:num_devices]
  shared = mapped.replicate({
      'key': jax.random.PRNGKey(SEED), 'images': IMAGES, 'labels': LABELS}, devices)
  state = mapped.replicate(_initial(), devices)
  grid = grid_lib.example_grid(BATCH, 2, num_devices)
  for step in range(num_steps):
    rows = order.rows(SEED, step, BATCH, len(IMAGES))[grid].astype(np.int32)
    state, metrics = _mapped_update(num_devices)(
        state, shared, {'rows': rows, 'examples': grid})
  return state, metrics


@functools.cache
def _one_step_on_one_device():
  return jax.tree.map(np.asarray, _run(1, 1))


@pytest.mark.parametrize('num_devices', [2, 4, 8])
def test_one_step_is_the_same_on_any_number_of_devices(num_devices):
  state, metrics = _run(num_devices, 1)
  expected, expected_metrics = _one_step_on_one_device()
  assert mapped.replicas_agree((state, metrics))
  # biases before a normalization have no gradient but rounding: absolutely
  _assert_close(state, expected, 1e-5, atol=1e-5)
  for name in set(metrics) - {'batch_projection_std'}:
    _assert_close(metrics[name], expected_metrics[name], 1e-5)
  moved = np.abs(expected.online_params['projector/linear']['w']
                 - _initial().online_params['projector/linear']['w']).max()
  assert moved > 1e-3  # the step did something


@pytest.mark.parametrize('num_devices', [2, 8])
def test_projection_std_is_the_same_on_any_number_of_devices(num_devices):
  """Of the global batch: a device may hold one image only."""
  _, metrics = _run(num_devices, 1)
  _, expected = _one_step_on_one_device()
  np.testing.assert_allclose(metrics['batch_projection_std'],
                             expected['batch_projection_std'], rtol=1e-4)


def test_replicas_are_equal_to_the_bit_after_20_steps():
  state, metrics = _run(8, 20)
  assert len(jax.tree.leaves(state)[0].addressable_shards) == 8
  assert mapped.replicas_agree(state)
  assert int(state.step) == 20
  assert np.isfinite(float(metrics['loss']))


def test_the_update_takes_the_old_buffers():
  devices = jax.devices()[:1]
  state = mapped.replicate(_initial(), devices)
  shared = mapped.replicate({
      'key': jax.random.PRNGKey(SEED), 'images': IMAGES, 'labels': LABELS}, devices)
  grid = grid_lib.example_grid(BATCH, 2, 1)
  rows = order.rows(SEED, 0, BATCH, len(IMAGES))[grid].astype(np.int32)
  new, _ = _mapped_update(1)(state, shared, {'rows': rows, 'examples': grid})
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
  assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((new, shared)))


@pytest.mark.parametrize('skip', [False, True])
def test_a_step_that_is_not_finite_can_be_skipped(state, skip):
  views_ = np.zeros((1, BATCH, SIDE, SIDE, 3), np.float32)
  def update(bad):
    def make_views(step, batch):
      return views_lib.Views(
          jnp.stack([batch['views'], -batch['views']]) + jnp.where(
              step == bad, jnp.nan, jax.random.normal(
                  jax.random.PRNGKey(0), (2, BATCH, SIDE, SIDE, 3))))
    return jax.jit(functools.partial(
        step_lib.update, model=_make_model(), method=BYOL, optimizer=OPTIMIZER,
        learning_rate=_learning_rate, ema_rate=_ema_rate, make_views=make_views,
        skip_nonfinite=skip))(state, {
            'views': views_, 'labels': np.zeros((1, BATCH), np.int32)})
  good, metrics = update(bad=-1)
  assert float(metrics['finite']) == 1
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(good))
  after, metrics = update(bad=int(state.step))
  # the loss may be finite: XLA's max on a CPU, as in ReLU, drops a NaN
  assert float(metrics['finite']) == 0
  assert not np.isfinite(metrics['gradient_norm'])
  assert int(after.step) == int(state.step) + 1
  pairs = zip(jax.tree.leaves(after._replace(step=state.step)),
              jax.tree.leaves(state))
  assert all(np.asarray(a).tobytes() == np.asarray(b).tobytes()
             for a, b in pairs) == skip
