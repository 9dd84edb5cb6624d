"""Pairs and BYOL together, on a network of one matrix, against the formulas."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from byol_jax.methods import losses
from byol_jax.networks import model as model_lib
from byol_jax.retrieval import compound

RNG = np.random.default_rng(0)
W, Q, TARGET = (RNG.standard_normal((3, 3)).astype(np.float32) for _ in range(3))
IMAGES = RNG.standard_normal((8, 3)).astype(np.float32)  # 2 anchors, 2 positives, twice


def _online(params, state, images, is_training, views):
  assert is_training and views == 2
  features = images @ params['encoder']['w']
  return model_lib.Outputs(features, features, features @ params['predictor']['w']), {
      'seen': state['seen'] + len(images)}


def _target(params, state, images, is_training, views):
  assert is_training and views == 2
  return model_lib.Outputs(None, images @ params['encoder']['w'], None), {
      'seen': state['seen'] + len(images)}


MODEL = model_lib.Model(
    *(hk.TransformedWithState(None, apply) for apply in (_online, _target, None)), None, 3)
BESIDE = compound.Compound(0.25, 0.9, (
    ({'encoder': {'w': W}, 'predictor': {'w': Q}}, {'seen': 0}),
    ({'encoder': {'w': TARGET}}, {'seen': 0})), None)


def test_both_losses_are_of_the_same_views():
  params, statistics = BESIDE.start()
  encode = BESIDE.wrapped(MODEL).encoder.apply
  outputs, after = encode(params, statistics, IMAGES, True)
  anchor1, _, _, positive2 = np.split(IMAGES @ W, 4)
  np.testing.assert_allclose(outputs['pairs'], np.concatenate([anchor1, positive2]),
                             rtol=1e-5)
  one, two = np.split(IMAGES, 2)
  expected = losses.byol_loss(one @ W @ Q, two @ W @ Q, one @ TARGET, two @ TARGET)
  np.testing.assert_allclose(outputs['byol'], expected, rtol=1e-5)
  total = BESIDE.loss(lambda head, features, targets: head * features.sum() + targets)
  np.testing.assert_allclose(
      total(2.0, outputs, 5.0), 2 * outputs['pairs'].sum() + 5 + 0.25 * expected,
      rtol=1e-5)
  assert after['online']['seen'] == 8 and after['target'][1]['seen'] == 8


def test_the_target_follows_and_does_not_learn():
  params, statistics = BESIDE.start()
  encode = BESIDE.wrapped(MODEL).encoder.apply
  _, after = encode(params, statistics, IMAGES, True)
  target = after['target'][0]
  np.testing.assert_allclose(target['encoder']['w'], 0.9 * TARGET + 0.1 * W, rtol=1e-5)
  assert 'predictor' not in target

  def loss(params, target):
    outputs, after = encode(params, statistics | {'target': target}, IMAGES, True)
    return outputs['byol'] + sum(map(jnp.sum, jax.tree.leaves(after['target'][0])))

  grads, none = jax.grad(loss, (0, 1))(params, ({'encoder': {'w': TARGET}}, {'seen': 0.}))
  assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(grads))
  # the sum of the new target depends on the old one, BYOL's loss does not
  np.testing.assert_allclose(none[0]['encoder']['w'], 0.9, rtol=1e-5)
