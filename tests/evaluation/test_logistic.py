"""Logistic regression against scikit-learn; its choice never sees the test set."""

import numpy as np
import pytest

from byol_jax.errors import UserError
from byol_jax.evaluation import checks
from byol_jax.evaluation import logistic
from byol_jax.evaluation import scores


def correlated(num, classes=7, seed=0, size=30):
  """Skewed, correlated features, as an encoder's after its ReLU."""
  rng = np.random.default_rng(seed)
  fixed = np.random.default_rng(99)
  centers = fixed.standard_normal((classes, 6))
  mixing = fixed.standard_normal((6, size))
  scales = np.exp(fixed.standard_normal(size))
  labels = rng.integers(0, classes, num)
  hidden = centers[labels] + .8 * rng.standard_normal((num, 6))
  features = np.maximum(hidden @ mixing, 0) * scales + 3
  features[:, 4] = 7.3    # a dead unit
  return features.astype(np.float32), labels


TRAIN, TEST = correlated(1500), correlated(2000, seed=1)


def probe(train=TRAIN, test=TEST, **settings):
  settings = dict(num_classes=7, l2=[1e-3], max_iterations=60,
                  standardize=True) | settings
  num_classes, holdout = settings.pop('num_classes'), settings.pop('holdout', .1)
  classifier = logistic.fit(*train, logistic.Penalties(**settings),
                            scores.Choice(holdout), num_classes=num_classes)
  features, labels = checks.check_labelled(*test, num_classes, 'test')
  return (scores.measure(classifier.scores(features), labels) | classifier.chosen
          | {'protocol': classifier.protocol})


@pytest.mark.parametrize('standardize', [True, False])
@pytest.mark.parametrize('l2', [1e-4, 1e-2, 1e-1])
def test_equals_scikit_learn(l2, standardize):
  linear_model = pytest.importorskip('sklearn.linear_model')
  preprocessing = pytest.importorskip('sklearn.preprocessing')
  scaler = preprocessing.StandardScaler(
      with_mean=standardize, with_std=standardize).fit(TRAIN[0].astype(np.float64))
  model = linear_model.LogisticRegression(
      C=1 / (l2 * len(TRAIN[0])), tol=1e-8, max_iter=20_000)
  model.fit(scaler.transform(TRAIN[0]), TRAIN[1])
  expected = 100 * model.score(scaler.transform(TEST[0]), TEST[1])
  results = probe(l2=[l2], max_iterations=1000, standardize=standardize)
  assert results['top1'] == pytest.approx(expected, abs=.2)
  assert results['protocol']['converged']
  assert 50 < expected < 99


def test_chooses_on_held_out_training_images():
  grid = [1e-4, 1e-2, 3.]
  results = probe(l2=grid)
  protocol = results['protocol']
  assert set(protocol['held_out_top1']) == {'0.0001', '0.01', '3'}
  best = max(protocol['held_out_top1'].values())
  assert protocol['held_out_top1'][f'{results["l2"]:g}'] == best
  # refitted to all training images, not to the part
  assert results['top1'] == pytest.approx(
      probe(l2=[results['l2']])['top1'], abs=.1)
  assert results['top5'] > results['top1']


def test_choice_never_sees_the_test_set():
  grid = [1e-4, 1e-2, 3.]
  shuffled = TEST[0], np.random.default_rng(0).permutation(TEST[1])
  ours, wrong = probe(l2=grid), probe(l2=grid, test=shuffled)
  assert wrong['top1'] < 30 < ours['top1']
  assert wrong['l2'] == ours['l2']
  assert wrong['protocol'] == ours['protocol']


def test_iterations_are_bounded():
  protocol = probe(l2=[1e-6], max_iterations=3)['protocol']
  assert protocol['iterations'] == 3 and not protocol['converged']


def test_bad_features_and_labels():
  with pytest.raises(UserError, match='training labels lie in'):
    probe(num_classes=6)
  features = TRAIN[0].copy()
  features[5] = np.inf
  with pytest.raises(UserError, match='training features are not finite'):
    probe(train=(features, TRAIN[1]))
  with pytest.raises(UserError, match='above 1e\\+15'):  # LAPACK would fail
    probe(train=(TRAIN[0] * 1e19, TRAIN[1]))
  one_each = TRAIN[0][:7], np.arange(7)
  with pytest.raises(UserError, match='no class has two'):
    probe(train=one_each, l2=[1e-3, 1e-2])
  assert probe(train=one_each)['protocol']['train_images'] == 7
