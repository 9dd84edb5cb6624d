"""The supervised step against its formula, written by hand."""

import jax
import numpy as np
import pytest

from byol_jax.training import supervised


def encode(params, statistics, images, is_training):
  assert is_training
  x = images.reshape(len(images), -1)
  features = x @ params['conv']['w'] + params['norm']['scale']
  return features, {'mean': statistics['mean'] + 1}


def state_and_batch():
  rng = np.random.default_rng(0)
  encoder = {'conv': {'w': rng.normal(size=(12, 5)).astype(np.float32)},
             'norm': {'scale': rng.normal(size=5).astype(np.float32)}}
  head = supervised.linear_head(5, 3, np.float32, seed=0)
  images = rng.normal(size=(8, 2, 2, 3)).astype(np.float32)
  return supervised.init(encoder, {'mean': np.zeros(1, np.float32)}, head), images, (
      np.arange(8) % 3)


def gradients(params, images, labels):
  """Of the mean cross-entropy, by hand."""
  encoder, head = params
  x = images.reshape(len(images), -1)
  features = x @ encoder['conv']['w'] + encoder['norm']['scale']
  logits = features @ head['w'] + head['b']
  likely = np.exp(logits - logits.max(1, keepdims=True))
  error = (likely / likely.sum(1, keepdims=True) - np.eye(3)[labels]) / len(labels)
  back = error @ head['w'].T
  return ({'conv': {'w': x.T @ back}, 'norm': {'scale': back.sum(0)}},
          {'w': features.T @ error, 'b': error.sum(0)})


def test_steps_are_the_formula():
  """Nesterov momentum 0.9, a cosine, decay of weights only, two learning rates."""
  state, images, labels = state_and_batch()
  rates = supervised.Rates(*map(np.float32, (0.5, 4, 0.1)))
  params = jax.tree.map(np.float64, state.params)
  momentum = jax.tree.map(np.zeros_like, params)
  decayed = ({'conv': {'w': 1}, 'norm': {'scale': 0}}, {'w': 1, 'b': 0})
  for step in range(4):
    state = supervised.update(
        state, images, labels, rates, encode=encode, loss=supervised.classification,
        encoder_rate=0.3, axis_name=None)
    grads = jax.tree.map(lambda g, p, on: g + 0.1 * p * on,
                         gradients(params, images, labels), params, decayed)
    momentum = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, grads)
    rate = 0.5 * 0.5 * (1 + np.cos(np.pi * step / 4))
    params = tuple(
        jax.tree.map(lambda p, m, g, r=r: p - r * (0.9 * m + g), p, m, g)
        for p, m, g, r in zip(params, momentum, grads, (0.3 * rate, rate)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
                 state.params, params)
  assert state.step == 4 and state.statistics['mean'] == 4


def test_the_loss_is_the_callers():
  state, images, _ = state_and_batch()
  # pulls the features of two images together; a head has nothing to say
  loss = lambda head, features, pairs: np.float32(0.5) * (
      (features[pairs[:, 0]] - features[pairs[:, 1]]) ** 2).sum()
  pairs = np.array([[0, 1]])
  after = supervised.update(
      state, images, pairs, supervised.Rates(*map(np.float32, (.01, 10, 0))),
      encode=encode, loss=loss, encoder_rate=1.0, axis_name=None)
  before, now = (loss(None, encode(s.params[0], s.statistics, images, True)[0], pairs)
                 for s in (state, after))
  assert now < 0.9 * before
  np.testing.assert_array_equal(after.params[1]['w'], state.params[1]['w'])


@pytest.mark.parametrize('name', ['w', 'b'])
def test_the_names_in_checkpoints_are_those_of_version_0_1(name):
  """A fine-tuning that was interrupted goes on."""
  state, *_ = state_and_batch()
  names = {jax.tree_util.keystr(path, simple=True, separator='.')
           for path, _ in jax.tree_util.tree_flatten_with_path(state)[0]}
  assert {f'params.1.{name}', 'params.0.conv.w', f'momentum.trace.1.{name}', 'step',
          'statistics.mean'} <= names
