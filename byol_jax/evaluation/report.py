"""The figures at the end of a run, each beside its baselines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from byol_jax.data.sources import Encoded
from byol_jax.data.sources import Images
from byol_jax.evaluation import encode
from byol_jax.evaluation import knn
from byol_jax.evaluation import linear

L2_GRID = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # the probe chooses on held-out images
RAW_PIXELS_SIZE = 32                      # larger images are shrunk to it
CALIBRATION_IMAGES = 2048                 # for the untrained encoder's statistics
Data = Images | Encoded


def num_classes(data: Data) -> int:
  """Classes of a labelled data set; 0 without labels."""
  if data.labels is None:
    return 0
  named = len(data.class_names) if data.class_names else 0
  return max(named, int(data.labels.max()) + 1)


class Split:
  """The images that figures are measured with."""

  def __init__(self, train: Data, test: Data | None, *, most: int, seed: int):
    """Chooses them.

    Args:
      train: labelled training images.
      test: labelled test images; None holds a tenth of `train` out.
      most: at most so many training images.
      seed: of the choice.
    """
    size = encode.size(train)
    if test is not None:
      self.train = (train, encode.subset(size, most, seed))
      self.test = (test, encode.subset(encode.size(test), most, seed))
      self.description = f'{len(self.test[1])} test images'
    else:
      held_out = encode.subset(size, min(max(size // 10, 1), most), seed + 1)
      rest = np.setdiff1d(np.arange(size), held_out)
      chosen = rest[encode.subset(len(rest), most, seed)]
      self.train, self.test = (train, chosen), (train, held_out)
      self.description = (
          f'no test part: {len(held_out)} training images, held out from the '
          'classifiers but seen, without labels, in pretraining')

  def labels(self) -> tuple[np.ndarray, np.ndarray]:
    """Of the training and the test images, once these have been read."""
    return tuple(data.labels[encode.usable(data, rows)]
                 for data, rows in (self.train, self.test))


def measure(features: Callable[[Data, np.ndarray], np.ndarray], split: Split, *,
            k: int, temperature: float, with_linear: bool,
            seed: int) -> tuple[dict[str, float], dict[str, Any]]:
  """k-NN and linear accuracy of one way to turn images into features.

  Args:
    features: (data, rows) -> float32 [n, D].
    split: the images.
    k: neighbours.
    temperature: of their votes.
    with_linear: also the linear probe.
    seed: of the linear probe's held-out part.

  Returns:
    Figures in percent and their protocols.
  """
  train, test = features(*split.train), features(*split.test)
  train_labels, test_labels = split.labels()  # now the bad ones are known
  classes = num_classes(split.train[0])
  arrays = (train, train_labels, test, test_labels)
  near = knn.knn_accuracy(*arrays, k=min(k, len(train)), temperature=temperature,
                          num_classes=classes)
  figures = {'knn_top1': near['top1']}
  protocol = {'knn': near['protocol']}
  if with_linear:
    probe = linear.linear_probe(*arrays, num_classes=classes, l2_grid=L2_GRID,
                                seed=seed)
    figures['linear_top1'] = probe['top1']
    protocol['linear'] = probe['protocol']
  return figures, protocol


def final(encoder: encode.Encoder, trained: Any, untrained: Any, split: Split,
          *, k: int, temperature: float, image_size: int,
          seed: int) -> dict[str, Any]:
  """Figures for the trained encoder, the untrained one and raw pixels.

  Args:
    encoder: runs networks over images.
    trained: (params, state) of the online network.
    untrained: the same of step 0, with statistics yet to be made.
    split: the images.
    k: neighbours of the k-NN.
    temperature: of their votes.
    image_size: of the encoder's input.
    seed: of what is chosen at random.

  Returns:
    results.json: 'byol', 'untrained', 'raw_pixels', each with 'knn_top1' and
    'linear_top1' in percent, and 'protocol'.
  """
  side = min(image_size, RAW_PIXELS_SIZE)
  data, rows = split.train
  untrained = encoder.calibrate(untrained, data, rows[:CALIBRATION_IMAGES])
  kinds = {
      'byol': lambda *images: encoder(trained, *images),
      'untrained': lambda *images: encoder(untrained, *images),
      'raw_pixels': lambda *images: encoder.pixels(*images, side),
  }
  results, protocol = {}, {
      'encoder': 'online network, running statistics, features before the heads',
      'untrained': f'step 0; statistics from {min(len(rows), CALIBRATION_IMAGES)}'
                   ' training images',
      'raw_pixels': f'{side}x{side} pixels',
      'images': f'{len(rows)} training images, {split.description}',
  }
  for name, features in kinds.items():
    results[name], how = measure(features, split, k=k, temperature=temperature,
                                 with_linear=True, seed=seed)
    protocol[f'{name}_classifiers'] = how
  train_labels, test_labels = split.labels()
  left_out = (len(rows) - len(train_labels),
              len(split.test[1]) - len(test_labels))
  if any(left_out):
    protocol['left_out'] = (f'{left_out[0]} training and {left_out[1]} test '
                            'images that cannot be read')
  return results | {'protocol': protocol}
