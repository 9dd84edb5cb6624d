"""What an index costs: made, searched, changed; exact, approximate, numpy and faiss.

  python benchmarks/retrieval.py [--rows=200000] [--size=512] [--queries=200]

Vectors are of a mixture of 1,000 Gaussians in 64 dimensions, mapped to --size: real
features lie in clusters, too. An index is made of them in batches as task=index does,
but nothing is encoded. Seconds are those of the processor, of all threads together, and
queries are timed in turns, since other jobs change the speed of a machine meanwhile.
faiss is left out where it is not installed.
"""

import argparse
import json
import resource
import shutil
import tempfile
import time

import numpy as np

from byol_jax.retrieval import store as store_lib

_CHUNK, _TURNS, _K = 2048, 5, 10


def vectors(rows, size, seed):
  """Returns float32 [rows, size] of length 1."""
  law, rng = np.random.default_rng(0), np.random.default_rng([1, seed])
  centres, to_size = law.standard_normal((1000, 64)), law.standard_normal((64, size))
  x = np.empty((rows, size), np.float32)
  for start in range(0, rows, 8192):
    n = min(8192, rows - start)
    latent = centres[rng.integers(1000, size=n)] + 0.5 * rng.standard_normal((n, 64))
    x[start:start + n] = latent @ to_size / 8 + 0.1 * rng.standard_normal((n, size))
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def put(store, x, names, stamp):
  """Puts vectors into the table, as task=index does; returns CPU seconds."""
  start = time.process_time()
  for k in range(0, len(names), _CHUNK):
    part = names[k:k + _CHUNK]
    store.put({
        store_lib.NAME: part, store_lib.IMAGE: [stamp] * len(part),
        store_lib.ABOUT: [''] * len(part), store_lib.VECTOR: x[k:k + _CHUNK],
        store_lib.THUMBNAIL: [b''] * len(part)})
  return time.process_time() - start


def ways(store, x, queries):
  """Returns {way: (function of some queries, how many)}; it returns sets of rows."""
  def table(exact):
    return lambda part: [{int(row[store_lib.NAME]) for _, row in store.nearest(
        query, _K, exact=exact)} for query in part]
  def numpys(part):
    return [set(row) for row in np.argpartition(-(part @ x.T), _K, axis=1)[:, :_K]]
  few = max(len(queries) // 20, 1)  # a query takes about a second
  found = {'index, approximate': (table(False), len(queries)),
           'index, exact': (table(True), few)}
  exact = {'numpy': numpys}
  try:
    import faiss
    flat = faiss.IndexFlatIP(x.shape[1])
    flat.add(x)
    exact['faiss flat'] = lambda part: [set(row) for row in flat.search(part, _K)[1]]
  except ImportError:
    pass
  for name, search in exact.items():
    found[f'{name}, in one batch'] = search, len(queries)
    found[f'{name}, one by one'] = (
        lambda part, search=search: [search(q[None])[0] for q in part], few)
  return found


def searched(store, x, queries):
  """Times all ways in turns; returns {way: its figures}, and prints them."""
  seconds, hits, figures = {}, {}, {}
  asked = ways(store, x, queries)
  for _ in range(_TURNS):
    for way, (search, n) in asked.items():
      start = time.process_time()
      hits[way] = search(queries[:n])
      seconds.setdefault(way, []).append((time.process_time() - start) / n)
  true = hits['numpy, in one batch']
  for way, of_way in seconds.items():
    rate = 1 / np.median(of_way)
    recall = np.mean([len(a & b) / _K for a, b in zip(hits[way], true)])
    figures[way] = {'queries_per_cpu_second': rate, 'recall': recall}
    print(f'{way:<26}{rate:>10.1f} queries a CPU second   recall@10 {recall:.3f}')
  return figures


def main():
  parser = argparse.ArgumentParser()
  parser.add_argument('--rows', type=int, default=200_000)
  parser.add_argument('--size', type=int, default=512)
  parser.add_argument('--queries', type=int, default=200)
  parser.add_argument('--folder', help='where to make it; a temporary one')
  arguments = parser.parse_args()
  folder = tempfile.mkdtemp(dir=arguments.folder)
  try:
    x = vectors(arguments.rows, arguments.size, 0)
    queries = vectors(arguments.queries, arguments.size, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    store = store_lib.create(folder, arguments.size, 'float32', {})
    names = [str(k) for k in range(len(x))]
    figures = {'rows': len(x), 'size': x.shape[1], 'put_cpu_seconds': put(
        store, x, names, '1')}
    start = time.process_time()
    store.approximate()
    figures['approximate_cpu_seconds'] = time.process_time() - start
    few = len(x) // 200
    start = time.process_time()
    store.delete(names[:few])
    put(store, x[:few], names[:few], '2')
    store.approximate()
    figures |= {'changed': few, 'changed_cpu_seconds': time.process_time() - start}
    figures['peak_mb'] = (resource.getrusage(
        resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    figures |= searched(store, x, queries)
    print(json.dumps(figures))
  finally:
    shutil.rmtree(folder)


if __name__ == '__main__':
  main()
