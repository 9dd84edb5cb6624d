"""Linear evaluation: five rates in one pass are five runs, and go on exactly."""

import itertools

import numpy as np
import pytest

from byol_jax.data.sources import open as open_lib
from byol_jax.errors import UserError
from byol_jax.evaluation import linear
from byol_jax.evaluation import logistic
from byol_jax.evaluation import scores
from byol_jax.evaluation import stages

RATES = (2.0, 0.2, 0.02, 0.002, 0.0002)


def clusters(num, seed, classes=6, size=20):
  rng = np.random.default_rng(seed)
  centers = np.random.default_rng(9).standard_normal((classes, size))
  labels = rng.integers(0, classes, num).astype(np.int32)
  features = centers[labels] + 1.5 * rng.standard_normal((num, size))
  return features.astype(np.float32), labels


TRAIN, TEST = clusters(600, 0), clusters(500, 1)


def fit(folder, train=TRAIN, source=None, **settings):
  settings = dict(num_classes=6, holdout=.2, learning_rates=RATES, epochs=10,
                  batch_size=64) | settings
  num_classes, holdout = settings.pop('num_classes'), settings.pop('holdout')
  source = source or linear.Cached(*train, seed=0)
  return linear.fit(
      source, lambda rows: (train[0][rows], train[1][rows]),
      linear.Schedule(**settings), scores.Choice(holdout), num_classes=num_classes,
      stages=stages.Stages(str(folder), str(folder)))


def test_five_rates_in_one_pass_are_five_runs(tmp_path):
  (tmp_path / 'all').mkdir()
  together = fit(tmp_path / 'all', refit=False)
  figures = together.protocol['held_out_top1']
  assert set(figures) == {f'{rate:g}' for rate in RATES}
  assert len(set(figures.values())) > 2  # it matters which
  apart = {}
  for rate in RATES:
    folder = tmp_path / f'{rate}'
    folder.mkdir()
    # two of the same: each is held against the held-out part
    one = fit(folder, learning_rates=(rate, rate * (1 + 1e-9)), refit=False)
    apart[f'{rate:g}'] = one.protocol['held_out_top1'][f'{rate:g}']
  assert apart == pytest.approx(figures, abs=1.0)  # one image of 120 is 0.8
  best = max(apart, key=apart.get)
  assert together.chosen['learning_rate'] == float(best)


def test_close_to_logistic_regression(tmp_path):
  linear_model = pytest.importorskip('sklearn.linear_model')
  train, test = clusters(6000, 0), clusters(4000, 1)
  found = fit(tmp_path, train=train, epochs=40)
  ours = scores.top_k_accuracy(found.scores(test[0]), test[1], 1)
  theirs = linear_model.LogisticRegression(max_iter=5000).fit(*train).score(*test)
  assert ours == pytest.approx(100 * theirs, abs=0.5)
  assert 80 < ours < 95
  assert found.protocol['trained_on'] == found.protocol['train_images'] == 6000


def test_choice_without_refit_leaves_the_held_out_part_out(tmp_path):
  found = fit(tmp_path, refit=False)
  assert 470 <= found.protocol['trained_on'] <= 490
  assert found.protocol['batch_size'] == 64


class _Breaks(linear.Cached):
  """Breaks off after some blocks, as a killed process does."""

  def __init__(self, *arguments, blocks, **more):
    super().__init__(*arguments, **more)
    self._blocks = blocks

  def batches(self, *arguments):
    yield from itertools.islice(super().batches(*arguments), self._blocks)
    raise KeyboardInterrupt


def test_goes_on_to_the_same_bits(tmp_path, monkeypatch):
  monkeypatch.setattr(linear, '_STEPS_AT_A_TIME', 8)
  monkeypatch.setattr(stages, '_SECONDS', -1)  # save after every block
  for name in ('whole', 'broken'):
    (tmp_path / name).mkdir()
  whole = fit(tmp_path / 'whole')
  for blocks in (3, 2):
    with pytest.raises(KeyboardInterrupt):
      fit(tmp_path / 'broken', source=_Breaks(*TRAIN, seed=0, blocks=blocks))
  gone_on = fit(tmp_path / 'broken')
  assert gone_on.protocol == whole.protocol
  np.testing.assert_array_equal(gone_on.scores(TEST[0]), whole.scores(TEST[0]))


def test_a_rate_that_diverges_is_not_chosen(tmp_path):
  features = TRAIN[0] * 1e18
  found = fit(tmp_path, train=(features, TRAIN[1]), learning_rates=(1e20, 1e-37))
  assert found.protocol['held_out_top1']['1e+20'] == 0
  assert found.chosen['learning_rate'] == 1e-37
  (tmp_path / 'all').mkdir()
  with pytest.raises(UserError, match='linear_eval.learning_rates has diverged'):
    fit(tmp_path / 'all', train=(features, TRAIN[1]), learning_rates=(1e20, 1e19))


def test_nothing_to_choose_on(tmp_path):
  few = TRAIN[0][:6], np.arange(6, dtype=np.int32)
  with pytest.raises(UserError, match='no class has two'):
    fit(tmp_path, train=few)
  assert fit(tmp_path, train=few, learning_rates=(0.1,)).protocol['batch_size'] == 6


def test_fashion_features_against_scikit_learn(tmp_path):
  """Linear evaluation and logistic regression, 10,000 training images."""
  linear_model = pytest.importorskip('sklearn.linear_model')
  def features(split):
    data = open_lib.open_part('fashion_sample', split=split)
    pixels = data.images[..., 0].astype(np.float32) / 255
    halved = pixels.reshape(-1, 14, 2, 14, 2).mean((2, 4))
    return halved.reshape(len(pixels), -1), data.labels
  train, test = features('train'), features('test')
  l2 = 1e-4  # next to none, as linear evaluation has none
  theirs = 100 * linear_model.LogisticRegression(
      C=1 / (l2 * len(train[0])), max_iter=1000).fit(*train).score(*test)
  for found, within in (
      (logistic.fit(*train, logistic.Penalties([l2], standardize=False),
                    num_classes=10), 0.2),
      (fit(tmp_path, train=train, num_classes=10, epochs=80, batch_size=0,
           learning_rates=(.4, .3, .2, .1, .05), holdout=.1), 0.5)):
    ours = scores.top_k_accuracy(found.scores(test[0]), test[1], 1)
    assert ours == pytest.approx(theirs, abs=within)
  assert 80 < theirs < 86
