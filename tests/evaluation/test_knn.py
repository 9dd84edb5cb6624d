"""k-NN against scikit-learn, and what it refuses."""

import numpy as np
import pytest

from byol_jax.errors import UserError
from byol_jax.evaluation import checks
from byol_jax.evaluation import knn
from byol_jax.evaluation import scores


def clusters(num, classes=8, size=12, seed=0, noise=1.2):
  rng = np.random.default_rng(seed)
  centers = np.random.default_rng(99).standard_normal((classes, size))
  labels = rng.integers(0, classes, num)
  features = centers[labels] + noise * rng.standard_normal((num, size))
  return features.astype(np.float32), labels


def accuracy(train, test, k=20, temperature=.07, num_classes=8):
  classifier = knn.fit(*train, knn.Voting(k, temperature), num_classes=num_classes)
  features, labels = checks.check_labelled(*test, num_classes, 'test')
  return (scores.measure(classifier.scores(features), labels)
          | {'protocol': classifier.protocol})


@pytest.mark.parametrize('k', [1, 5, 200])
@pytest.mark.parametrize('temperature', [.07, 1.])
def test_equals_scikit_learn(k, temperature):
  neighbors = pytest.importorskip('sklearn.neighbors')
  train, test = clusters(700), clusters(300, seed=1)
  model = neighbors.KNeighborsClassifier(
      k, metric='cosine', algorithm='brute',
      weights=lambda distance: np.exp((1 - distance) / temperature))
  votes = model.fit(*train).predict_proba(test[0])
  top1 = 100 * np.mean(votes.argmax(1) == test[1])
  top5 = 100 * np.mean([label in np.argsort(-v, kind='stable')[:5]
                        for v, label in zip(votes, test[1])])
  results = accuracy(train, test, k=k, temperature=temperature)
  assert results['top1'] == pytest.approx(top1, abs=1e-9)
  assert results['top5'] == pytest.approx(top5, abs=1e-9)
  assert 30 < top1 < 99    # the comparison says something
  assert results['protocol']['k'] == k
  assert results['protocol']['temperature'] == temperature


def test_blocks_do_not_change_the_result(monkeypatch):
  train, test = clusters(150), clusters(70, seed=1)
  whole = accuracy(train, test)
  all_of_them = accuracy(train, test, k=150)
  monkeypatch.setattr(knn, '_TILE', 64)
  monkeypatch.setattr(knn, '_QUERIES', 5)  # 40 on eight devices
  assert accuracy(train, test) == whole
  assert accuracy(train, test, k=150) == all_of_them


def test_length_of_features_and_tiny_temperature():
  train, test = clusters(150), clusters(70, seed=1)
  scaled = (train[0] * 1000, train[1]), (test[0] * .01, test[1])
  assert accuracy(*scaled) == accuracy(train, test)
  # exp(cosine / 0.001) is beyond float32; the nearest decides
  nearest = accuracy(train, test, k=1)['top1']
  assert accuracy(train, test, temperature=1e-6)['top1'] == nearest


def test_few_classes_have_no_top5():
  train, test = clusters(60, classes=4), clusters(30, classes=4)
  assert 'top5' not in accuracy(train, test, num_classes=4)


def test_bad_features_and_labels():
  train, test = clusters(60), clusters(20, seed=1)
  with pytest.raises(UserError, match='training labels lie in'):
    accuracy(train, test, num_classes=3)
  test[0][3, 2] = np.nan
  with pytest.raises(UserError, match='1 of 20 test features are not finite'):
    accuracy(train, test)
  with pytest.raises(UserError, match='non-empty'):
    accuracy(train, (test[0][:0], test[1][:0]))
  with pytest.raises(UserError, match='60 training features, but labels'):
    accuracy((train[0], train[1][:-1]), test)
