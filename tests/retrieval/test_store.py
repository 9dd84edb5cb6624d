"""The table of an index, against numpy."""

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from byol_jax import errors
from byol_jax.retrieval import store as store_lib

pytest.importorskip('lancedb', reason="the extra [index] is not installed")

RNG = np.random.default_rng(0)


def unit(count):
  x = RNG.standard_normal((count, 16)).astype(np.float32)
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def rows(names, x, price):
  return {'image': names, 'image_stamp': ['1'] * len(names),
          'about_stamp': ['a'] * len(names), 'vector': x,
          'thumbnail': [b'jpeg'] * len(names), 'price': price}


def make(folder, dtype='float32'):
  return store_lib.create(str(folder), 16, dtype, {'price': 'number'})


@pytest.mark.parametrize('dtype', ['float32', 'float16'])
def test_the_nearest_are_numpys(tmp_path, dtype):
  store, x = make(tmp_path, dtype), unit(50)
  names = [f"it's {k}" for k in range(50)]
  store.put(rows(names, x, [float(k) for k in range(50)]))
  query = unit(1)[0]
  cosines = x @ query
  for where, allowed in ((None, range(50)), ("price < 20 AND image != 'a;b'", range(20))):
    order = sorted(allowed, key=lambda k: -cosines[k])[:5]
    found = store.nearest(query, 5, where)
    assert [row['image'] for _, row in found] == [names[k] for k in order]
    np.testing.assert_allclose([cosine for cosine, _ in found], cosines[order],
                               atol=1e-5 if dtype == 'float32' else 2e-3)
  assert found[0][1]['thumbnail'] == b'jpeg' and 'vector' not in found[0][1]


def test_rows_are_replaced_and_removed_by_their_names(tmp_path):
  store, x = make(tmp_path), unit(6)
  names = list('abcde') + ["f'g"]
  store.put(rows(names, x, [1.0] * 6))
  store.put(rows(['b', 'z'], x[:2], [None, 7.0]))
  store.delete(["f'g", 'nothing'])
  again = store_lib.open_table(str(tmp_path))
  assert again.size == 6 and again.columns == ['price']
  assert set(again.stamps()) == set('abcdez') and again.stamps()['z'] == ('1', 'a')
  found = again.rows(['b', 'z', 'unknown'])
  assert found.keys() == {'b', 'z'} and found['b']['price'] is None
  np.testing.assert_array_equal(found['b']['vector'], x[0])


def test_an_approximate_index_answers_and_takes_more(tmp_path):
  store, x = make(tmp_path), unit(600)
  names = [str(k) for k in range(600)]
  store.put(rows(names[:500], x[:500], [0.0] * 500))
  assert not store.is_approximate
  store.approximate()
  assert store.is_approximate
  store.put(rows(names[500:], x[500:], [1.0] * 100))
  store.approximate()
  queries = x[450:550]
  true = [{names[k] for k in row} for row in np.argsort(-(queries @ x.T))[:, :10]]
  assert store.nearest_of_all(queries, 10) == true
  for exact, at_least in ((True, 1000), (False, 950)):
    assert sum(len(of_query & {row['image'] for _, row in store.nearest(
        query, 10, exact=exact)}) for query, of_query in zip(queries, true)) >= at_least
  assert store.nearest(x[7], 1, 'price = 1')[0][1]['price'] == 1


APPROXIMATE = """
import sys
from byol_jax.retrieval import store
table = store.open_table(sys.argv[1])
print('begun', flush=True)
table.approximate()
"""


def approximated(folder, killed_after=None):
  """Makes the approximate index in a process, maybe killed; returns its seconds."""
  process = subprocess.Popen([sys.executable, '-c', APPROXIMATE, str(folder)],
                             stdout=subprocess.PIPE)
  process.stdout.readline()
  start = time.monotonic()
  if killed_after is not None:
    time.sleep(killed_after)
    process.kill()
  process.communicate()
  return time.monotonic() - start


@pytest.mark.skipif('BYOL_TEST_LONG' not in os.environ, reason='BYOL_TEST_LONG=1')
def test_a_kill_while_the_approximate_index_is_made(tmp_path):
  store, x = make(tmp_path / 'a'), unit(50_000)
  names = [str(k) for k in range(len(x))]
  store.put(rows(names, x, [0.0] * len(x)))
  shutil.copytree(tmp_path / 'a', tmp_path / 'b')
  seconds = approximated(tmp_path / 'b')
  queries = unit(50)
  true = [{names[k] for k in row} for row in np.argsort(-(queries @ x.T))[:, :10]]
  def found(store):
    return sum(len(of_query & {row['image'] for _, row in store.nearest(query, 10)})
               for query, of_query in zip(queries, true))
  for share in (0.1, 0.2, 0.3, 0.4, 0.5):
    approximated(tmp_path / 'a', share * seconds)
    store = store_lib.open_table(str(tmp_path / 'a'))
    print(share, store.is_approximate)
    assert store.size == len(x) and found(store) > (
        450 if store.is_approximate else 499)
  store.approximate()
  assert store.is_approximate and store.size == len(x) and found(store) > 450


def test_mistakes_end_in_one_line(tmp_path):
  store = make(tmp_path)
  store.put(rows(['a'], unit(1), [1.0]))
  for where in ('colour = 3', 'price = 1; DROP TABLE images', "'"):
    with pytest.raises(errors.UserError, match='no condition on the columns image, pr'):
      store.nearest(unit(1)[0], 1, where)
  with pytest.raises(errors.UserError, match='or their kinds differ'):
    store_lib.create(str(tmp_path), 16, 'float32', {'price': 'text'})
  with pytest.raises(errors.UserError, match='holds no index'):
    store_lib.open_table(str(tmp_path / 'nothing'))
  for file in (tmp_path / 'images.lance/data').iterdir():
    file.write_bytes(b'broken')
  for ask in (store.stamps, lambda: store.rows(['a']),
              lambda: store.nearest(unit(1)[0], 1)):
    with pytest.raises(errors.UserError, match='remove it, and make the index again'):
      ask()
