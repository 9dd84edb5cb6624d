"""How far features of others are from ours."""

import numpy as np
import pytest

from byol_jax import encoder
from byol_jax.weights import agreement


def test_difference_is_the_largest():
  ours = np.array([[3.0, 4.0], [1.0, 0.0]])
  assert agreement.difference(ours, ours) == {'relative_l2': 0, 'one_minus_cos': 0}
  found = agreement.difference(ours, np.array([[3.0, 4.0], [0.0, 1.0]]))
  assert found == pytest.approx({'relative_l2': np.sqrt(2), 'one_minus_cos': 1})
  found = agreement.difference(ours, 2 * ours)
  assert found == pytest.approx({'relative_l2': 1, 'one_minus_cos': 0})


def test_a_sample_has_the_features_of_evaluations(made):
  weights = made()
  rng = np.random.default_rng(0)
  images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((24, 24), (21, 40))]
  sample = agreement.sample(weights, images, 'noise')
  assert sample.prepared.shape == (2, 3, 24, 24)
  encode = encoder.Encoder(weights, 0, 0.0, 4)
  for image, features in zip(images, sample.features):
    # a crop of pixels is not rounded
    ours, = encode(image[None])
    assert np.abs(ours - features).max() < 0.02 * np.abs(features).max()
