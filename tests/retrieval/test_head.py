"""The head against a training written out in numpy, and sessions in a row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.evaluation import stages as stages_lib
from byol_jax.methods import losses
from byol_jax.retrieval import batches
from byol_jax.retrieval import head as head_lib
from byol_jax.retrieval import pairs as pairs_lib

RNG = np.random.default_rng(0)
X = (RNG.standard_normal((40, 6)) * [1, 5, 0.1, 1, 2, 0] + 3).astype(np.float32)
PAIRS = pairs_lib.Pairs(np.arange(30), (np.arange(30) + 7) % 40, np.ones(30))
ITEMS = batches.Items([], np.arange(40)[:, None])


def pairs(size=8):
  return batches.Batches(PAIRS, ITEMS, np.arange(40), batch_size=size, seed=1,
                         popularity=True)


def fit(tmp_path, grid, learn=False, epochs=25):
  return head_lib.fit(
      X, pairs(), head_lib.start(X, 6), grid, epochs=epochs, learn_temperature=learn,
      stages=stages_lib.Stages(str(tmp_path), str(tmp_path)), name='head')


def test_the_head_starts_at_the_identity_on_standardized_features():
  first = head_lib.start(X, 6)
  z = head_lib.finished(first)(X)
  np.testing.assert_allclose(z[:, :5], (X - X.mean(0))[:, :5] / X.std(0)[:5], atol=1e-4)
  np.testing.assert_allclose(z[:, 5], 0, atol=1e-4)  # does not vary
  few = head_lib.start(X, 2)
  assert few['w'].shape == (6, 2)
  # principal directions: uncorrelated, the largest first
  covariance = np.cov(head_lib.finished(few)(X).T)
  assert abs(covariance[0, 1]) < 1e-4 and covariance[0, 0] > covariance[1, 1]
  eigenvalues = np.linalg.eigvalsh(np.cov(z[:, :5].T))[::-1]
  np.testing.assert_allclose(np.diag(covariance), eigenvalues[:2], rtol=1e-3)


def test_the_training_is_the_formula(tmp_path):
  """Nesterov momentum 0.9, a cosine, each point as if it were alone."""
  grid = head_lib.points((0.2, 0.5), (0.3,))
  found = fit(tmp_path, grid, epochs=2)
  made, total = pairs(), 7
  for point, head in zip(grid, found):
    first = head_lib.start(X, 6)
    values = {name: first[name] for name in ('w', 'b')}
    momentum = {name: np.zeros_like(x) for name, x in values.items()}

    def loss(values, batch, first=first, point=point):
      x = jnp.asarray((X - first['mean']) * first['scale'])
      a, p = (x[rows] @ values['w'] + values['b'] for rows in batch['images'])
      return losses.pair_loss(a, p, *(batch[name] for name in (
          'weight', 'masks', 'log_frequency')), temperature=point.temperature,
                              axis_name=None)

    gradient = jax.jit(jax.grad(loss))
    for step in range(total):
      grads = gradient(values, made.of(step))
      rate = point.learning_rate * 0.5 * (1 + np.cos(np.pi * step / total))
      momentum = {k: 0.9 * m + grads[k] for k, m in momentum.items()}
      values = {k: x - rate * (0.9 * momentum[k] + grads[k]) for k, x in values.items()}
    for name in values:
      np.testing.assert_allclose(head[name], values[name], atol=1e-4)
    np.testing.assert_array_equal(head['mean'], first['mean'])
  assert np.abs(found[0]['w'] - found[1]['w']).max() > 0.01


def test_points_are_each_combination_once():
  assert head_lib.points((0.1, 0.5, 0.1), (1, 2)) == [
      (0.1, 1), (0.1, 2), (0.5, 1), (0.5, 2)]


def test_a_temperature_may_learn(tmp_path):
  fixed, = fit(tmp_path / 'fixed', [head_lib.Point(0.5, 0.3)])
  learned, = fit(tmp_path / 'learned', [head_lib.Point(0.5, 0.3)], learn=True)
  assert 'log_temperature' not in fixed
  assert 0.01 < np.exp(learned['log_temperature']) != pytest.approx(0.5, abs=0.01)


def test_a_training_that_was_interrupted_goes_on_to_the_bit(tmp_path, monkeypatch):
  grid = head_lib.points((0.2, 0.5), (0.3,))
  whole = fit(tmp_path / 'whole', grid)
  monkeypatch.setattr(stages_lib, '_SECONDS', -1)
  save, saved = stages_lib.Stage.save, []
  def break_off(self, step, state, *, last=False):
    save(self, step, state, last=last)
    saved.append(step)
    if len(saved) == 2:
      self._checkpoints.wait()
      raise KeyboardInterrupt
  with monkeypatch.context() as patch:
    patch.setattr(stages_lib.Stage, 'save', break_off)
    with pytest.raises(KeyboardInterrupt):
      fit(tmp_path / 'broken', grid)
    again = fit(tmp_path / 'broken', grid)
  assert saved == [32, 64, 93]
  jax.tree.map(np.testing.assert_array_equal, whole, again)
