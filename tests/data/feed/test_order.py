"""The order of the images: a pure function, pinned so that no library moves it."""

import math

import numpy as np
import pytest

from byol_jax.data.feed import order
from byol_jax.devices import grid as grid_lib

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def _mix(x):
  """SplitMix64's output function, in Python's integers."""
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
  return x ^ (x >> 31)


def _hash(*parts):
  h = 0
  for part in parts:
    h = _mix((h + GOLDEN + _mix((part + GOLDEN) & MASK)) & MASK)
  return h


def test_splitmix64():
  """Its published stream from the seed 0, and the hash in plain integers."""
  states = np.array([GOLDEN * i & MASK for i in (1, 2, 3)], np.uint64)
  assert order._mix(states).tolist() == [
      0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
  for parts in ((0, 0, 0), (1, 2, 3), (2**31, 312784, 1281166)):
    assert order._hash(*parts).tolist() == [_hash(*parts)]
  assert order._hash(1, 2, np.arange(4)).tolist() == [
      _hash(1, 2, i) for i in range(4)]


# --------------------------------------------------------------- permutations
def test_pinned_permutations():
  """A run of last year must be the same run today."""
  assert order.permutation(0, 0, 10).tolist() == [2, 4, 8, 9, 0, 6, 1, 3, 7, 5]
  assert order.permutation(0, 1, 10).tolist() == [6, 9, 7, 3, 5, 8, 1, 0, 2, 4]
  assert order.permutation(1, 0, 10).tolist() == [2, 9, 7, 3, 1, 0, 5, 6, 4, 8]
  imagenet = order.permutation(7, 3, 1281167)
  assert imagenet[:5].tolist() == [1272347, 212460, 947582, 836023, 761065]
  assert imagenet[-2:].tolist() == [138867, 784903]
  assert order.rows(0, 1, 4, 10).tolist() == [0, 6, 1, 3]
  assert order.rows(0, 2, 4, 10).tolist() == [7, 5, 6, 9]  # two epochs


@pytest.mark.parametrize('num_images', [1, 2, 7, 1000, 65537])
def test_a_permutation_is_a_bijection(num_images):
  for seed, epoch in ((0, 0), (0, 1), (5, 999)):
    p = order.permutation(seed, epoch, num_images)
    assert p.dtype == np.int64 and not p.flags.writeable
    np.testing.assert_array_equal(np.sort(p), np.arange(num_images))


def test_permutations_differ_and_look_random():
  n = 10000
  some = [order.permutation(*key, n) for key in ((0, 0), (0, 1), (1, 0), (2, 5))]
  for i, a in enumerate(some):
    # one fixed point is expected, and no correlation
    assert np.sum(a == np.arange(n)) < 10
    assert abs(np.corrcoef(a, np.arange(n))[0, 1]) < 5 / math.sqrt(n)
    for b in some[:i]:
      assert np.sum(a == b) < 10
      assert abs(np.corrcoef(a, b)[0, 1]) < 5 / math.sqrt(n)


# ----------------------------------------------------------------------- rows
@pytest.mark.parametrize('batch_size, num_images', [
    (4, 10), (10, 10), (7, 10), (3, 100), (1, 5), (23, 10)])
def test_every_image_once_an_epoch(batch_size, num_images):
  """Also where a batch straddles epochs, or is larger than the data set."""
  epochs = 6
  steps = epochs * num_images // batch_size
  stream = np.concatenate([order.rows(3, s, batch_size, num_images)
                           for s in range(steps)])
  assert stream.dtype == np.int64 and len(stream) == steps * batch_size
  for epoch in range(len(stream) // num_images):
    seen = stream[epoch * num_images:(epoch + 1) * num_images]
    np.testing.assert_array_equal(seen, order.permutation(3, epoch, num_images))
    assert sorted(seen) == list(range(num_images))


@pytest.mark.parametrize('case', range(50))
def test_exactly_once_an_epoch_over_all_hosts(case):
  rng = np.random.default_rng(case)
  num_images, hosts = int(rng.integers(1, 500)), int(rng.choice([1, 2, 4, 8]))
  sub_batches = int(rng.integers(1, 4))
  batch = hosts * sub_batches * int(rng.integers(1, 20))
  seed, epochs = int(rng.integers(2**31)), int(rng.integers(1, 5))
  steps = -(-epochs * num_images // batch)
  stream = np.full((steps, batch), -1)
  for examples_of_host in grid_lib.example_grid(batch, sub_batches, hosts):
    mine = examples_of_host.reshape(-1)
    for step in range(steps):
      assert (stream[step, mine] == -1).all()  # no other host's
      stream[step, mine] = order.rows(seed, step, batch, num_images)[mine]
  stream = stream.reshape(-1)[:epochs * num_images]
  np.testing.assert_array_equal(
      np.sort(stream.reshape(epochs, num_images), axis=1),
      np.tile(np.arange(num_images), (epochs, 1)))


def test_substitutes():
  """Pinned, spread over the data set, and new at each attempt."""
  assert [order.substitute(4, k, 1000) for k in range(3)] == [361, 861, 379]
  many = [order.substitute(k, 0, 1000) for k in range(2000)]
  assert min(many) >= 0 and max(many) < 1000 and len(set(many)) > 800
  assert {order.substitute(0, k, 1) for k in range(5)} == {0}


def test_a_step_needs_no_history():
  forwards = [order.rows(1, s, 6, 20) for s in range(40)]
  for s in (39, 0, 17, 3):  # any start, any order
    order.permutation.cache_clear()
    np.testing.assert_array_equal(order.rows(1, s, 6, 20), forwards[s])
  late = order.rows(1, 312783, 4096, 1281167)  # the paper's last step
  assert late.shape == (4096,) and len(set(late.tolist())) == 4096
  assert not np.array_equal(order.rows(2, 0, 6, 20), forwards[0])


# ------------------------------------------------------------------- uniforms
def test_pinned_uniforms():
  np.testing.assert_allclose(
      order.uniforms(0, 0, np.arange(2), 3),
      [[0.16065105, 0.97029644, 0.0066726], [0.06558555, 0.17227495, 0.29033286]],
      atol=5e-9)
  np.testing.assert_allclose(order.uniforms(3, 100000, [4095], 2),
                             [[0.30677118, 0.61802572]], atol=5e-9)
  # 53 bits of the hash
  assert order.uniforms(5, 6, [7], 9)[0, 8] == (_hash(5, 6, 7, 8) >> 11) / 2**53


def test_uniforms_depend_on_seed_step_and_example_only():
  whole = order.uniforms(0, 5, np.arange(64), 8)
  assert whole.shape == (64, 8) and whole.dtype == np.float64
  np.testing.assert_array_equal(order.uniforms(0, 5, [40, 3, 3], 8),
                                whole[[40, 3, 3]])
  np.testing.assert_array_equal(order.uniforms(0, 5, np.arange(64), 3),
                                whole[:, :3])
  for other in (order.uniforms(1, 5, np.arange(64), 8),
                order.uniforms(0, 6, np.arange(64), 8),
                order.uniforms(0, 5, np.arange(64, 128), 8)):
    assert not np.any(other == whole)


def test_uniforms_are_uniform_and_independent():
  n = 20000
  now, then = (order.uniforms(0, step, np.arange(n), 8) for step in (10, 11))
  columns = np.concatenate([now, then], -1)
  assert columns.min() >= 0 and columns.max() < 1
  bound = 5 / math.sqrt(n)
  np.testing.assert_allclose(columns.mean(0), 0.5, atol=bound * 12**-0.5)
  quantiles = np.linspace(0.1, 0.9, 9)
  for column in columns.T:
    np.testing.assert_allclose(np.quantile(column, quantiles), quantiles,
                               atol=bound / 2)
  correlations = np.corrcoef(columns.T) - np.eye(16)
  assert np.abs(correlations).max() < bound
  assert abs(np.corrcoef(now[:-1, 0], now[1:, 0])[0, 1]) < bound
  # and not the draws of the permutation
  keys = order._hash(0, 10, np.arange(n)).astype(np.float64)
  assert abs(np.corrcoef(now[:, 0], keys)[0, 1]) < bound
