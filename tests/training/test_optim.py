"""LARS and the schedules against recorded values and plain numpy."""

import os

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from byol_jax.training import optim

FIXTURES = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'fixtures')
PRESETS = (40, 100, 300, 1000)
ADAPTED = {
    'net/~/conv': {'w': True, 'b': False},
    'net/~/batch_norm': {'scale': False, 'offset': False},
    'net/linear': {'w': True, 'b': False},
    'net/zero_grad': {'w': True},
    'net/zero_param': {'w': True},
}


@pytest.fixture(name='lars', scope='module')
def _lars():
  return np.load(os.path.join(FIXTURES, 'lars_strong.npz'))


@pytest.fixture(name='schedules', scope='module')
def _schedules():
  return np.load(os.path.join(FIXTURES, 'schedules.npz'))


def _tree(data, prefix, dtype):
  """{module: {name: array}} of what stands below `prefix` in the fixture."""
  tree = {}
  for key in data.files:
    if key.startswith(prefix + '/'):
      module, name = key[len(prefix) + 1:].split('|')
      tree.setdefault(module, {})[name] = jnp.asarray(data[key], dtype)
  return tree


def _lars_in_numpy(p, g, mu, lr, adapted, *, weight_decay, eta, momentum):
  """One update of one array, written down from the paper."""
  if adapted:
    g = g + weight_decay * p
    p_norm, g_norm = np.sqrt(np.sum(p**2)), np.sqrt(np.sum(g**2))
    if p_norm > 0 and g_norm > 0:
      g = g * (eta * p_norm / g_norm)
  mu = momentum * mu + g
  return p - lr * mu, mu


def _run_ours(data, dtype):
  """Yields (updates, momentum, params) of the five recorded steps."""
  rates = jnp.asarray(data['meta_lrs'], dtype)
  optimizer = optim.lars(
      lambda step: rates[step], weight_decay=float(data['meta_weight_decay']),
      trust_coefficient=float(data['meta_eta']),
      momentum=float(data['meta_momentum']))
  # As in the train step: a tuple of trees of Haiku parameters.
  params = (_tree(data, 'p0', dtype), {})
  state = optimizer.init(params)
  update = jax.jit(optimizer.update)
  for i in range(5):
    grads = (_tree(data, f'g{i}', dtype), {})
    updates, state = update(grads, state, params, step=jnp.int32(i))
    params = optax.apply_updates(params, updates)
    yield updates[0], state[2].trace[0], params[0]


def _assert_equals_fixture(data, dtype):
  for i, (updates, momentum, params) in enumerate(_run_ours(data, dtype)):
    for ours, prefix in ((updates, f'u{i}'), (momentum, f'm{i + 1}'),
                         (params, f'p{i + 1}')):
      theirs = _tree(data, prefix, dtype)
      assert set(ours) == set(theirs) == set(ADAPTED)
      for module in theirs:
        for name, value in theirs[module].items():
          assert ours[module][name].dtype == dtype
          # the recording is float32
          np.testing.assert_allclose(
              ours[module][name], value, rtol=2e-6, atol=2e-7,
              err_msg=f'{prefix} {module} {name}')


def test_lars_equals_the_recorded_steps_in_float32(lars):
  _assert_equals_fixture(lars, jnp.float32)


def test_lars_equals_the_recorded_steps_in_float64(lars, x64):
  _assert_equals_fixture(lars, jnp.float64)


def test_lars_equals_numpy_in_float64(lars, x64):
  p = jax.tree.map(np.asarray, _tree(lars, 'p0', np.float64))
  mu = jax.tree.map(np.zeros_like, p)
  for i, (_, momentum, params) in enumerate(_run_ours(lars, jnp.float64)):
    lr = float(lars['meta_lrs'][i])
    for module, names in ADAPTED.items():
      for name, adapted in names.items():
        g = np.float64(lars[f'g{i}/{module}|{name}'])
        p[module][name], mu[module][name] = _lars_in_numpy(
            p[module][name], g, mu[module][name], lr, adapted,
            weight_decay=float(lars['meta_weight_decay']),
            eta=float(lars['meta_eta']), momentum=float(lars['meta_momentum']))
        for ours, plain in ((params, p), (momentum, mu)):
          np.testing.assert_allclose(ours[module][name], plain[module][name],
                                     rtol=1e-12, atol=1e-14)


def test_what_is_adapted_goes_by_path(lars):
  params = _tree(lars, 'p0', jnp.float32)
  assert optim.adapted(params) == ADAPTED
  # the scale has as many dimensions as a weight: shapes cannot tell
  assert params['net/~/batch_norm']['scale'].ndim == 4
  assert optim.adapted(({'a/shortcut_batchnorm': {'scale': 1., 'offset': 1.},
                         'normal/linear': {'w': 1., 'b': 1.}},
                        {'classifier': {'w': 1., 'b': 1.}})) == (
      {'a/shortcut_batchnorm': {'scale': False, 'offset': False},
       'normal/linear': {'w': True, 'b': False}},
      {'classifier': {'w': True, 'b': False}})


def test_the_first_step_changes_only_the_momentum(lars):
  rate = optim.warmup_cosine(3.2, 10, 100)
  optimizer = optim.lars(rate, weight_decay=1.5e-6)
  params, grads = (_tree(lars, k, jnp.float32) for k in ('p0', 'g0'))
  state = optimizer.init(params)
  updates, state = optimizer.update(grads, state, params, step=jnp.int32(0))
  new = optax.apply_updates(params, updates)
  chex.assert_trees_all_equal(new, params)
  assert np.abs(state[2].trace['net/linear']['w']).min() > 0
  updates, _ = optimizer.update(grads, state, params, step=jnp.int32(1))
  assert np.abs(updates['net/linear']['w']).min() > 0


def test_optax_lars_is_another_algorithm(lars):
  """It puts the learning rate into the momentum: equal only at a constant one.

  Its update of step 1, with the rate risen from 0.1 to 0.2, is smaller: the
  warm-up lags behind.
  """
  rates = jnp.asarray(lars['meta_lrs'])
  stock = optax.lars(
      lambda step: rates[step], weight_decay=0.1, weight_decay_mask=optim.adapted,
      trust_coefficient=0.02, trust_ratio_mask=optim.adapted, momentum=0.9)
  params = _tree(lars, 'p0', jnp.float32)
  state = stock.init(params)
  for i in range(2):
    updates, state = stock.update(_tree(lars, f'g{i}', jnp.float32), state, params)
    if i == 0:
      np.testing.assert_allclose(updates['net/linear']['w'],
                                 lars['u0/net/linear|w'], rtol=1e-5)
    params = optax.apply_updates(params, updates)
  difference = np.abs(updates['net/linear']['w'] - lars['u1/net/linear|w'])
  assert difference.max() > 0.1 * np.abs(lars['u1/net/linear|w']).max()


def _schedules_of(data, preset):
  peak = float(data[f'{preset}/base_lr']) * 4096 / 256
  total = int(data[f'{preset}/max_steps'])
  return (optim.warmup_cosine(peak, int(data[f'{preset}/warmup_steps']), total),
          optim.ema_rate(float(data[f'{preset}/base_tau']), total), peak)


@pytest.mark.parametrize('preset', PRESETS)
def test_schedules_equal_the_recording_in_float64(schedules, preset, x64):
  learning_rate, ema_rate, _ = _schedules_of(schedules, preset)
  steps = jnp.asarray(schedules[f'{preset}/steps'])
  assert steps.dtype == jnp.int32
  lr, rate = jax.jit(lambda s: (learning_rate(s), ema_rate(s)))(steps)
  assert lr.dtype == rate.dtype == jnp.float64
  np.testing.assert_allclose(lr, schedules[f'{preset}/lr64'], rtol=1e-12,
                             atol=1e-12)
  np.testing.assert_allclose(1 - rate, schedules[f'{preset}/tau64'], rtol=1e-12)


@pytest.mark.parametrize('preset', PRESETS)
def test_schedules_equal_the_recording_in_float32(schedules, preset):
  learning_rate, ema_rate, peak = _schedules_of(schedules, preset)
  steps = jnp.asarray(schedules[f'{preset}/steps'])
  lr, rate = jax.jit(lambda s: (learning_rate(s), ema_rate(s)))(steps)
  assert lr.dtype == rate.dtype == jnp.float32
  np.testing.assert_allclose(lr, schedules[f'{preset}/lr64'], rtol=1e-5,
                             atol=1e-6 * peak)
  np.testing.assert_allclose(1 - rate, schedules[f'{preset}/tau64'], rtol=1e-5)
  # what the update uses is the small number, and that is to 1e-5 of its base
  base = 1 - float(schedules[f'{preset}/base_tau'])
  np.testing.assert_allclose(rate, 1 - schedules[f'{preset}/tau64'],
                             atol=1e-6 * base)


def test_a_larger_batch_lets_the_target_follow_as_several_steps_would(x64):
  """The EMA scaling rule: with k times the batch, tau^k a step."""
  whole = optim.ema_rate(0.99, 400)
  power = optim.ema_rate(0.99, 100, power=4.0)
  steps = np.arange(100)
  # tau hardly changes within four steps
  tau = np.prod([1 - np.asarray(whole(4 * steps + i)) for i in range(4)], axis=0)
  np.testing.assert_allclose(1 - power(steps), tau, rtol=1e-3)
  np.testing.assert_allclose(1 - power(steps), (1 - whole(4 * steps))**4, rtol=1e-12)
  assert float(optim.ema_rate(0.0, 10, power=2.0)(0)) == 1.0


def test_the_scaled_rate_keeps_its_digits_near_the_end():
  rate = optim.ema_rate(0.996, 312_784, power=6.0)(jnp.int32(312_000))
  assert rate.dtype == jnp.float32
  small = 0.004 * 0.5 * (np.cos(np.pi * 312_000 / 312_784) + 1)
  np.testing.assert_allclose(rate, -np.expm1(6 * np.log1p(-small)), rtol=1e-2)


@pytest.mark.parametrize('preset, lr, tau, total', [
    (40, 7.2, 0.97, 12511), (100, 7.2, 0.99, 31278), (300, 4.8, 0.99, 93835),
    (1000, 3.2, 0.996, 312784)])
def test_ends_of_the_schedules(schedules, preset, lr, tau, total):
  """The paper's table: peak after 3127 steps, ends at zero and stays there."""
  assert int(schedules[f'{preset}/max_steps']) == total
  learning_rate, ema_rate, _ = _schedules_of(schedules, preset)
  assert float(learning_rate(0)) == 0.0
  assert float(learning_rate(3127)) == pytest.approx(lr)
  assert float(learning_rate(3126)) == pytest.approx(lr * 3126 / 3127)
  middle = 3127 + (total - 3127) / 2
  assert float(learning_rate(middle)) == pytest.approx(lr / 2, rel=1e-3)
  assert float(ema_rate(0)) == pytest.approx(1 - tau)
  assert float(ema_rate(total / 2)) == pytest.approx((1 - tau) / 2, rel=1e-3)
  for end in (total, total + 1000):
    assert abs(float(learning_rate(end))) < 1e-6
    assert abs(float(ema_rate(end))) < 1e-8


def test_schedules_at_their_limits():
  assert float(optim.warmup_cosine(2.0, 0, 10)(0)) == 2.0  # no warm-up
  assert float(optim.warmup_cosine(2.0, 10, 10)(5)) == 1.0  # nothing else
  assert float(optim.ema_rate(1.0, 10)(0)) == 0.0
  assert float(optim.ema_rate(0.0, 10)(0)) == 1.0


# ----------------------------------------------------- of the methods beside BYOL
_ARRAYS = {'net/linear': {'w': (3, 4), 'b': (4,)}, 'net/batch_norm': {'scale': (4,)},
           'projector/linear': {'w': (4, 2)}, 'predictor/linear': {'w': (2, 2)}}


def _draw(seed):
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda shape: jnp.asarray(rng.standard_normal(shape)), _ARRAYS,
                      is_leaf=lambda x: isinstance(x, tuple))


def _steps(optimizer, num_steps=4):
  """Yields the gradients and the parameters after each step, and those before."""
  params = _draw(0)
  state = optimizer.init(params)
  for step in range(num_steps):
    grads = _draw(step + 1)
    updates, state = optimizer.update(grads, state, params, step=jnp.asarray(step))
    before, params = params, optax.apply_updates(params, updates)
    yield step, before, grads, params


def _rate(step):
  return 0.1 * (1.0 + step)


@pytest.mark.parametrize('decay_all', [True, False])
def test_sgd_equals_the_formula(x64, decay_all):
  optimizer = optim.sgd(_rate, weight_decay=0.1, momentum=0.9, decay_all=decay_all)
  mu = jax.tree.map(jnp.zeros_like, _draw(0))
  for step, before, grads, after in _steps(optimizer):
    adapted = optim.adapted(before)
    mu = jax.tree.map(lambda m, g, p, a: 0.9 * m + g + 0.1 * p * (decay_all or a),
                      mu, grads, before, adapted)
    expected = jax.tree.map(lambda p, m, s=step: p - _rate(s) * m, before, mu)
    chex.assert_trees_all_close(after, expected, rtol=1e-12)


def test_lars_with_the_rate_inside_the_momentum(x64):
  """SimCLR's code: v <- 0.9 v + rate x trust x (g + decay p); p <- p - v."""
  optimizer = optim.lars(_rate, weight_decay=0.1, trust_coefficient=0.02,
                         rate_in_momentum=True)
  v = jax.tree.map(jnp.zeros_like, _draw(0))
  for step, before, grads, after in _steps(optimizer):
    def speed(v, g, p, adapted, step=step):
      if adapted:
        g = g + 0.1 * p
        g = g * 0.02 * np.linalg.norm(p) / np.linalg.norm(g)
      return 0.9 * v + _rate(step) * g
    v = jax.tree.map(speed, v, grads, before, optim.adapted(before))
    chex.assert_trees_all_close(
        after, jax.tree.map(lambda p, v: p - v, before, v), rtol=1e-12)


def test_lars_that_is_clipped_by_the_rate(x64):
  """solo-learn's: trust <- min(trust / rate, 1); p <- p - rate x momentum."""
  optimizer = optim.lars(_rate, weight_decay=0.1, trust_coefficient=0.3,
                         trust_clip=True)
  v, clipped = jax.tree.map(jnp.zeros_like, _draw(0)), []
  for step, before, grads, after in _steps(optimizer):
    def speed(v, g, p, adapted, step=step):
      if adapted:
        g = g + 0.1 * p
        trust = 0.3 * np.linalg.norm(p) / np.linalg.norm(g)
        clipped.append(trust > _rate(step))
        g = g * (1.0 if clipped[-1] else trust / _rate(step))
      return 0.9 * v + g
    v = jax.tree.map(speed, v, grads, before, optim.adapted(before))
    chex.assert_trees_all_close(
        after, jax.tree.map(lambda p, v, s=step: p - _rate(s) * v, before, v),
        rtol=1e-12)
  assert True in clipped and False in clipped


def test_heads_have_rates_of_their_own(x64):
  make = lambda **rates: optim.sgd(_rate, weight_decay=0.0, momentum=0.0,
                                   rates=optim.Rates(**rates))
  for step, before, grads, after in _steps(
      make(projector=3.0, predictor=10.0, constant_predictor=0.5)):
    moved = jax.tree.map(lambda p, q, g: np.mean((p - q) / g), before, after, grads)
    np.testing.assert_allclose(moved['net/linear']['w'], _rate(step), rtol=1e-9)
    np.testing.assert_allclose(moved['projector/linear']['w'], 3 * _rate(step),
                               rtol=1e-9)
    np.testing.assert_allclose(moved['predictor/linear']['w'], 5.0, rtol=1e-9)


def test_rates_of_a_batch():
  assert optim.scaled(0.3, 4096, 'linear') == pytest.approx(4.8)
  assert optim.scaled(0.075, 4096, 'sqrt') == pytest.approx(4.8)  # SimCLR, B.1


def test_a_rate_that_falls_once_an_epoch_and_ends_above_0(x64):
  schedule = optim.warmup_cosine(2.0, 0, 100, end=0.5, steps_an_epoch=10)
  for step in range(100):
    epoch = step // 10
    expected = 0.5 + 1.5 * 0.5 * (1 + np.cos(np.pi * epoch / 10))
    np.testing.assert_allclose(schedule(step), expected, rtol=1e-12)


@pytest.mark.parametrize('images, batch, epochs', [
    (1_281_167, 256, 800), (1_281_167, 512, 100), (50_000, 512, 800), (1_000, 3, 50)])
def test_epochs_begin_at_their_step_in_32_bits(images, batch, epochs):
  """An epoch's first step is that nearest to epoch x images / batch, halves down."""
  total = epochs * images // batch
  schedule = jax.jit(optim.warmup_cosine(1.0, 0, total, steps_an_epoch=images / batch))
  first = np.array([-((batch - 2 * k * images) // (2 * batch)) for k in range(1, epochs)])
  steps = np.stack([first - 1, first])
  rates = np.asarray(schedule(steps), np.float64)
  epoch = np.arange(epochs)
  expected = 0.5 * (1 + np.cos(np.pi * epoch * images / batch / total))
  np.testing.assert_allclose(rates, [expected[:-1], expected[1:]], atol=2e-6)
  assert (rates[0] > rates[1]).all()


def test_tau_can_stay_or_end_below_1(x64):
  constant = optim.ema_rate(0.999, 100, tau_end=0.999)
  for step in (0, 37, 100):
    np.testing.assert_allclose(constant(step), 0.001, rtol=1e-9)
    assert float(optim.ema_rate(0.0, 100, tau_end=0.0)(step)) == 1.0
    assert float(optim.ema_rate(1.0, 100)(step)) == 0.0
  rising = optim.ema_rate(0.99, 100, tau_end=0.999)
  np.testing.assert_allclose([rising(0), rising(50), rising(100)],
                             [0.01, 0.0055, 0.001], rtol=1e-9)
