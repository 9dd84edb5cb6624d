"""Learning a head: it finds what pairs have in common, and held-out pairs choose."""

import numpy as np
import pytest

from byol_jax.errors import UserError
from byol_jax.evaluation import stages as stages_lib
from byol_jax.retrieval import batches
from byol_jax.retrieval import learn
from byol_jax.retrieval import metrics
from byol_jax.retrieval.pairs import Pairs

RNG = np.random.default_rng(0)
KINDS = np.arange(120) % 6
# what a pair has in common is weak, and what differs is strong
X = np.concatenate([0.4 * np.eye(6)[KINDS] + 0.1 * RNG.standard_normal((120, 6)),
                    RNG.standard_normal((120, 12))], axis=1).astype(np.float32)
ITEMS = batches.Items([str(k) for k in range(120)], np.arange(120)[:, None])
SETTINGS = learn.Settings(
    dimensions=0, temperatures=(0.3,), learn_temperature=False, learning_rates=(1,),
    epochs=5, batch_size=32, popularity=True, encoder_rates=(), encoder_rate=1,
    encoder_epochs=1, freeze_statistics=True, seed=0)


def task(tmp_path):
  """Pairs of one kind; those of the last 40 images are held out."""
  anchor = np.concatenate([RNG.integers(80, size=200), 80 + RNG.integers(40, size=40)])
  other = np.concatenate([RNG.integers(13, size=200), 14 + RNG.integers(6, size=40)])
  positive = KINDS[anchor] + 6 * other
  kept = anchor != positive
  pairs = Pairs(anchor[kept], positive[kept], np.ones(kept.sum()))
  is_out = pairs.anchor >= 80
  return learn.Task(pairs, np.flatnonzero(~is_out), np.flatnonzero(is_out), ITEMS,
                    np.arange(120), stages_lib.Stages(str(tmp_path), str(tmp_path)), '')


def of_kind(embed):
  """The share of images never learned from whose nearest one is of their kind."""
  z = embed(X[80:])
  z /= np.linalg.norm(z, axis=1, keepdims=True)
  similarity = z @ z.T - 2 * np.eye(40)
  nearest = KINDS[80:][similarity.argmax(1)]
  return (nearest == KINDS[80:]).mean()


def test_a_head_learns_what_pairs_have_in_common(tmp_path):
  made = task(tmp_path)
  only_kept = made._replace(pairs=made.pairs.take(made.kept))
  learned = learn.learn_head(X, only_kept, SETTINGS)
  before, after = (of_kind(learn.head_lib.finished(head))
                   for head in (learned.first, learned.head))
  assert before < 0.75 < 0.85 < after
  assert learned.how['pairs'] == len(made.kept) and learned.temperature == 0.3
  assert 'held_out_rank' not in learned.how  # nothing to choose from


def test_held_out_pairs_choose(tmp_path):
  """A rate that does nothing, one that learns, and one that diverges."""
  settings = SETTINGS._replace(learning_rates=(1e-9, 1, 3e38))
  learned = learn.learn_head(X, task(tmp_path), settings)
  nothing, good, bad = learned.how['held_out_rank'].values()
  assert good < 0.8 * nothing and bad == np.inf
  assert nothing == pytest.approx(learned.how['held_out_rank_of_the_start'], rel=1e-3)
  assert learned.how['learning_rate'] == 1
  settings = settings._replace(learning_rates=(2.8e38, 2.9e38, 3e38))
  with pytest.raises(UserError, match='every candidate'):
    learn.learn_head(X, task(tmp_path), settings)


def test_positives_are_searched_among_all_images_of_the_items():
  """Against ranks that are counted one by one; items of several images."""
  items = batches.Items(list('abcd'), [np.array(x) for x in ([0], [1, 2], [3], [4, 5])])
  pairs = Pairs(np.array([0, 1, 0]), np.array([1, 3, 2]), np.array([1.0, 2, 3]))
  x, gallery = X[:8], np.array([0, 1, 2, 3, 4, 5])
  found = learn.ranked(x, pairs, items, gallery)
  unit = x / np.linalg.norm(x, axis=1, keepdims=True)
  expected = []
  for query, relevant in ((0, (1, 2, 3)), (1, (4, 5))):
    order = [k for k in np.argsort(-unit[gallery] @ unit[query]) if k != query]
    expected.append(1 / (1 + min(order.index(k) for k in relevant)))
  mrr = metrics.names(learn.RECALL_AT).index('mrr')
  np.testing.assert_allclose(found.values[:, mrr], expected)
  assert learn.mean_rank(found) == pytest.approx(np.prod(expected) ** -0.5)
