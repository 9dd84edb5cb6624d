"""The made log: a visitor's two clicks are of one class, but for the noise."""

import numpy as np
import pytest

from byol_jax.retrieval import clicks
from byol_jax.retrieval import pairs as pairs_lib

LABELS = np.random.default_rng(0).integers(5, size=1000)


@pytest.mark.parametrize('noise,same', [(0.0, 1.0), (0.3, 0.7 + 0.3 / 5), (1.0, 0.2)])
def test_the_noise_is_what_was_asked_for(noise, same):
  pairs, counts = pairs_lib.from_events(
      clicks.make(LABELS, 4000, noise, seed=1), pairs_lib.Rules())
  assert pairs.size == counts['sessions'] == 4000  # no rule takes one
  agree = (LABELS[pairs.anchor] == LABELS[pairs.positive]).mean()
  assert agree == pytest.approx(same, abs=0.03 if noise else 0)
  assert (pairs.anchor != pairs.positive).all()
  assert len(np.unique(pairs.anchor)) > 900


def test_it_follows_from_the_seed():
  one, same, other = (clicks.make(LABELS, 50, 0.3, seed) for seed in (1, 1, 2))
  for x, y in zip(one[:4], same[:4]):
    np.testing.assert_array_equal(x, y)
  assert (one.item != other.item).any()


def test_labels_may_be_missing_in_between():
  log = clicks.make(np.array([0, 0, 4, 4, 4, 9, 9]), 300, 0.0, 0)
  ends = np.array([0, 0, 4, 4, 4, 9, 9])[log.item].reshape(-1, 2)
  assert (ends[:, 0] == ends[:, 1]).all() and set(ends[:, 0]) == {0, 4, 9}
