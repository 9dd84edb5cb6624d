"""No product, near-duplicate or later event of one part is in the other."""

import numpy as np
import pytest

from byol_jax.errors import UserError
from byol_jax.retrieval import groups as groups_lib
from byol_jax.retrieval.pairs import Pairs


def connected(pairs, rows):
  """The sets of items that pairs connect, the slow way."""
  sets = []
  for ends in zip(pairs.anchor[rows].tolist(), pairs.positive[rows].tolist()):
    touched = [s for s in sets if s & set(ends)]
    sets = [s for s in sets if not s & set(ends)] + [set(ends).union(*touched)]
  return sets


def log(items, count, seed=0, shops=1):
  """Pairs within each of some shops, whose items are a range of their own."""
  rng = np.random.default_rng(seed)
  shop = rng.integers(shops, size=count) * items
  ends = rng.integers(items, size=(2, count)) + shop
  return Pairs(*ends, np.ones(count), rng.uniform(0, 1000, count))


@pytest.mark.parametrize('shops,items,by', [(60, 4, 'that pairs connect'),
                                            (1, 240, 'items with')])
@pytest.mark.parametrize('by_time', [True, False])
@pytest.mark.parametrize('seed', range(5))
def test_nothing_leaks(shops, items, by, by_time, seed):
  """Many small groups are dealt whole; of one large one the items are."""
  pairs = log(items, 500, seed, shops)
  # 30 products have a second item, which is a near-duplicate
  groups = np.arange(shops * items)
  groups[-30:] = groups[:30]
  parts = groups_lib.divide(pairs, groups, 0.3, seed, by_time=by_time)
  kept, out = pairs.take(parts.kept), pairs.take(parts.held_out)
  products = [set(groups[np.concatenate(part[:2])]) for part in (kept, out)]
  assert not products[0] & products[1]
  assert by in parts.by
  if by_time:
    assert kept.time.max() < out.time.min()
  else:
    assert 'too late' not in str(parts.counts)
  assert kept.size + out.size + sum(parts.counts.values()) == pairs.size
  assert kept.size > out.size > 0
  if shops > 1:  # not a pair crosses
    assert parts.counts['pairs with an item in either part'] == 0


def test_the_share_is_about_what_was_asked_for():
  pairs = log(4, 2000, 0, shops=400)
  parts = groups_lib.divide(pairs, np.arange(1600), 0.2, 0, by_time=False)
  assert len(parts.held_out) == pytest.approx(400, abs=40)
  again = groups_lib.divide(pairs, np.arange(1600), 0.2, 1, by_time=False)
  assert set(parts.held_out) != set(again.held_out)


def test_pairs_that_cannot_be_divided():
  pairs = Pairs(np.array([0, 0]), np.array([1, 1]), np.ones(2))
  with pytest.raises(UserError, match='no pair is left to learn from when 2 pairs are '
                     'divided by items with .*give more pairs'):
    groups_lib.divide(pairs, np.arange(2), 0.3, 0, by_time=False)


def test_joined_is_union_find():
  pairs = log(200, 120)
  groups = groups_lib.joined(pairs.anchor, pairs.positive, 200)
  sets = connected(pairs, slice(None))
  for one in sets:
    assert len({groups[item] for item in one}) == 1
  alone = 200 - sum(map(len, sets))
  assert len(set(groups)) == len(sets) + alone


def test_near_duplicates():
  rng = np.random.default_rng(0)
  x = rng.standard_normal((300, 16)).astype(np.float32)
  x[200] = 5 * x[10] + 0.01 * x[11]  # length does not matter
  found = np.stack(groups_lib.alike(x, 0.98, at_a_time=64)).T.tolist()
  assert found == [[10, 200]]
  unit = x / np.linalg.norm(x, axis=1, keepdims=True)
  expected = np.argwhere(np.triu(unit @ unit.T >= 0.5, 1)).tolist()
  assert sorted(np.stack(groups_lib.alike(x, 0.5, at_a_time=64)).T.tolist()) == expected
  content = [b'a', b'b', b'a', b'c', b'b'].__getitem__
  assert groups_lib.same_bytes(content, 5).tolist() == [0, 1, 0, 3, 1]
