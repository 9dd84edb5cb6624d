"""Measures the figures at the end of a run, each beside its baselines."""

from __future__ import annotations

from typing import Any

import numpy as np

from byol_jax import wording
from byol_jax.data.sources import table
from byol_jax.evaluation import checks
from byol_jax.evaluation import confusion
from byol_jax.evaluation import encode
from byol_jax.evaluation import features as features_lib
from byol_jax.evaluation import figures as figures_lib
from byol_jax.evaluation import knn
from byol_jax.evaluation import logistic
from byol_jax.evaluation import scores
from byol_jax.evaluation import splits

L2_GRID = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # the probe chooses on held-out images
RAW_PIXELS_SIZE = 32                      # larger images are shrunk to it
CALIBRATION_IMAGES = 2048                 # for the untrained encoder's statistics


def measure(
    features: features_lib.Encode, split: splits.Split, *, voting: knn.Voting,
    seed: int,
) -> tuple[dict[str, float], dict[str, Any], dict[str, Any]]:
  """Measures the k-NN and linear accuracy of one encoder's features.

  Args:
    features: (data, rows) -> Features.
    split: the images.
    voting: how neighbours vote.
    seed: the seed of the linear probe's held-out part.

  Returns:
    Figures in percent, their protocols, and `confusion.by_class` of the k-NN.
  """
  train, test = features(*split.train), features(*split.test)
  train_labels = split.train[0].labels[train.rows]
  test_labels = split.test[0].labels[test.rows]
  classes = table.num_classes(split.train[0])
  queries, test_labels = checks.check_labelled(test.x, test_labels, classes, 'test')
  # with one image of each class there is nothing to choose on
  can_choose = np.bincount(train_labels).max(initial=0) > 1
  classifiers = {
      'knn': knn.fit(train.x, train_labels, voting, num_classes=classes),
      'linear': logistic.fit(
          train.x, train_labels, logistic.Penalties(
              L2_GRID if can_choose else L2_GRID[len(L2_GRID) // 2:][:1],
              standardize=True),
          scores.Choice(seed=seed), num_classes=classes)}
  figures, protocol = {}, {}
  for name, classifier in classifiers.items():
    votes = classifier.scores(queries)
    figures[f'{name}_top1'] = scores.top_k_accuracy(votes, test_labels, 1)
    protocol[name] = classifier.protocol | {'test_images': len(test_labels)}
    if name == 'knn':  # equal votes go to the first class, as in `top_k_accuracy`
      by_class = confusion.by_class(votes.argmax(axis=1), test_labels,
                                    split.train[0].class_names, 'knn_top1')
  return figures, protocol, by_class


def final(inference: encode.Inference, trained: Any, untrained: Any,
          split: splits.Split, *, method: str, voting: knn.Voting, image_size: int,
          seed: int) -> dict[str, Any]:
  """Measures the trained encoder, the untrained one and raw pixels.

  Args:
    inference: runs networks over images.
    trained: (params, state) of the online network.
    untrained: likewise at step 0; its statistics are made here.
    split: the images.
    method: the name of the method that trained it.
    voting: how neighbours vote.
    image_size: the size of the encoder's input.
    seed: the seed of all random choices.

  Returns:
    results.json: 'method'; 'by_class' of its k-NN; under its name, 'untrained' and
    'raw_pixels' each 'knn_top1' and 'linear_top1' in percent; and 'protocol'.
  """
  side = min(image_size, RAW_PIXELS_SIZE)
  data, rows = split.train
  untrained = inference.calibrate(untrained, data, rows[:CALIBRATION_IMAGES])
  kinds = {
      method: lambda *images: inference(trained, *images),
      figures_lib.UNTRAINED: lambda *images: inference(untrained, *images),
      figures_lib.RAW_PIXELS: lambda *images: inference.pixels(*images, side),
  }
  results, protocol = {'method': method}, {
      'encoder': 'online network, running statistics, features before the heads',
      'untrained': f'step 0; statistics from {min(len(rows), CALIBRATION_IMAGES)}'
                   ' training images',
      'raw_pixels': f'{side}x{side} pixels',
      'data': data.name,
  }
  for name, features in kinds.items():
    results[name], how, by_class = measure(features, split, voting=voting, seed=seed)
    if name == method:
      results['by_class'] = by_class
    protocol[f'{name}_classifiers'] = how
  num_train, num_test = how['knn']['train_images'], how['knn']['test_images']
  protocol['images'] = (f'{wording.count(num_train, "training image")}, '
                        f'{split.description(num_test)}')
  left_out = (len(rows) - num_train, len(split.test[1]) - num_test)
  if any(left_out):
    protocol['left_out'] = (f'{left_out[0]} training and {left_out[1]} test '
                            'images that cannot be read')
  return results | {'protocol': protocol}
