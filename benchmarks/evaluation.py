"""How long k-NN and the linear probe take on features that are computed already.

  python benchmarks/evaluation.py [--train=50000] [--test=10000] [--size=512]

Random features of ten classes, the protocols' defaults: only the time means
anything. Its last line is one JSON object with the seconds of each.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time

import jax
import numpy as np

from byol_jax.config import keys as keys_lib
from byol_jax.evaluation import knn
from byol_jax.evaluation import linear
from byol_jax.evaluation import scores
from byol_jax.evaluation import stages

_CLASSES = 10


def _features(rng: np.random.Generator, images: int, size: int):
  labels = rng.integers(_CLASSES, size=images).astype(np.int32)
  features = rng.standard_normal((images, size), np.float32)
  features[:, :_CLASSES] += 2 * np.eye(_CLASSES, dtype=np.float32)[labels]
  return features, labels


def main():
  """Times both."""
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--train', type=int, default=50_000)
  parser.add_argument('--test', type=int, default=10_000)
  parser.add_argument('--size', type=int, default=512)
  args = parser.parse_args()
  config = keys_lib.base()
  rng = np.random.default_rng(0)
  x, y = _features(rng, args.train, args.size)
  queries, _ = _features(rng, args.test, args.size)

  start = time.perf_counter()
  voting = knn.Voting(config.evaluation.knn_k, config.evaluation.knn_temperature)
  knn.fit(x, y, voting, num_classes=_CLASSES).scores(queries)
  knn_s = time.perf_counter() - start

  start = time.perf_counter()
  with tempfile.TemporaryDirectory() as folder:
    linear.fit(
        linear.Cached(x, y, seed=0), lambda rows: (x[rows], y[rows]),
        linear.Schedule(config.linear_eval.learning_rates, config.linear_eval.epochs,
                        config.linear_eval.batch_size, config.linear_eval.refit),
        scores.Choice(config.evaluation.holdout), num_classes=_CLASSES,
        stages=stages.Stages(folder, folder)).scores(queries)
  linear_s = time.perf_counter() - start
  print(json.dumps({
      'knn_seconds': round(knn_s, 1), 'linear_eval_seconds': round(linear_s, 1),
      'train': args.train, 'test': args.test, 'size': args.size,
      'epochs': config.linear_eval.epochs, 'cores': os.cpu_count(),
      'devices': jax.device_count(), 'jax': jax.__version__}))


if __name__ == '__main__':
  main()
