"""What is evaluated: one rule for its images, and features that nobody mistakes."""

import numpy as np
import pytest

from byol_jax.config import keys
from byol_jax.data.sources import table
from byol_jax.evaluation import features as features_lib
from byol_jax.evaluation import figures
from byol_jax.evaluation import subject
from byol_jax.networks import architectures
from byol_jax.training import build
from byol_jax.weights import load as weights_lib


@pytest.fixture(name='weights', scope='module')
def _weights():
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(architectures.ARCHITECTURES, 'resnet8',
                  architectures.Architecture((1,), False, (4,), 4))
    config = keys.base()
    config.network.update(name='resnet8', stem='half', precision='float32',
                          projector_hidden_size=4, predictor_hidden_size=4,
                          projection_size=4)
    config.data.update(image_size=8, eval_image_size=0, center_share=0.875)
    weights = weights_lib.untrained(weights_lib.Weights(
        config, {}, {}, 'online', 20, 'run', ''))
    yield weights._replace(digest='trained', network='online')


def make_inference(weights, **more):
  return subject.make_inference(
      weights, **dict(image_size=0, center_share=0.0, batch_size=2) | more)


@pytest.mark.parametrize('of_the_run, asked, expected', [
    (0, 0, 8), (12, 0, 12), (12, 16, 16), (0, 16, 16)])
def test_one_rule_for_the_size(weights, of_the_run, asked, expected):
  config = weights.config.copy_and_resolve_references()
  config.data.eval_image_size = of_the_run
  weights = weights._replace(config=config)
  assert make_inference(weights, image_size=asked).spec.image_size == expected
  if not asked:  # pretraining measures by the same rule
    assert build.eval_view(config)[0].image_size == expected


def test_one_rule_for_the_centre(weights):
  assert make_inference(weights).center_share == 0.875
  assert make_inference(weights, center_share=0.5).center_share == 0.5


def images(num=12, seed=0):
  rng = np.random.default_rng(seed)
  return table.Images(rng.integers(0, 256, (num, 8, 8, 3), np.uint8),
                      np.arange(num) % 2, None, 'noise')


@pytest.fixture(name='make')
def _make(weights, tmp_path):
  encoder = make_inference(weights)
  store = features_lib.Store(str(tmp_path / 'kept'), 16)
  return lambda kind, data, rows: subject.make(
      kind, weights, encoder, store, data, rows)


def test_an_untrained_encoder_is_named_by_what_it_is_calibrated_on(make):
  data = images()
  one = make(figures.UNTRAINED, data, np.arange(10))
  assert make(figures.UNTRAINED, data, np.arange(10)).key == one.key
  other = make(figures.UNTRAINED, data, np.arange(2, 12))
  assert one.key['encoder'].startswith('untrained 0 trained ')
  assert one.key['encoder'] != other.key['encoder']
  assert one.key | {'encoder': ''} == other.key | {'encoder': ''}


def test_features_of_each_kind(make, tmp_path):
  data, rows = images(), np.arange(4, 12)
  made = {}
  for kind in figures.kinds('byol'):
    if kind == 'byol':
      continue  # this one has no statistics
    found = make(kind, data, rows).features(data, rows, is_test=False)
    assert found.rows.tolist() == rows.tolist() and np.isfinite(found.x).all()
    made[kind] = found.x
  np.testing.assert_allclose(  # the images themselves, of 7 of 8 pixels' centre
      made[figures.RAW_PIXELS].mean(), data.images[4:].mean() / 255, atol=0.05)
  assert made[figures.RAW_PIXELS].shape == (8, 8 * 8 * 3)
  kept = list((tmp_path / 'kept').glob('*/*.npz'))
  assert len(kept) == 1  # pixels are not kept
  with np.load(kept[0]) as file:
    np.testing.assert_array_equal(file['features'], made[figures.UNTRAINED])
