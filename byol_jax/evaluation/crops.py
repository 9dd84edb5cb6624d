"""Features of random crops and flips of the training images: linear evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from byol_jax.data.feed import feed as feed_lib
from byol_jax.data.sources import table
from byol_jax.data.sources.table import Images
from byol_jax.devices import hosts
from byol_jax.devices import mapped
from byol_jax.evaluation import checks
from byol_jax.networks.model import Model
from byol_jax.views import make as views_lib
from byol_jax.views import recipes

# crops and flips, and nothing else (paper, appendices C.1 and C.2)
CROPS_AND_FLIPS = recipes.Recipe(
    flip=0.5, jitter=0.0, grayscale=0.0, blur=0.0, solarize=0.0)

_STEPS_AT_A_TIME = 8  # of all processes, at least


class Crops:
  """A frozen encoder's features of batches that are never the same twice.

  Which image comes when, and how it is cut, is a pure function of (seed, step).
  The encoder does not learn, so the batches of several steps are encoded at a
  time, each by one process.
  """

  def __init__(self, model: Model, networks: Any, spec: views_lib.ViewSpec,
               data: table.Data, *, batch_size: int, seed: int,
               threads: int = 0):
    """Builds it.

    Args:
      model: networks built with axis_name=None.
      networks: (params, state) of the encoder, replicated.
      spec: of the crops: size, area, aspect and normalization.
      data: labelled images.
      batch_size: images a device and call.
      seed: of order and crops.
      threads: that decode; 0 for one a core.
    """
    self._data, self._seed, self._threads = data, seed, threads
    self._spec = spec = spec._replace(recipes=(CROPS_AND_FLIPS,))
    self.labels = np.asarray(data.labels)
    self.feature_size = model.feature_size
    self._each = batch_size * jax.local_device_count()
    key = jax.random.PRNGKey(seed)
    shared = {'networks': networks}
    if isinstance(data, Images):
      shared['images'] = mapped.replicate(data.images)
    self._shared = shared

    def encode(shared, batch):
      # `examples` are positions in the whole run: no other step has them
      if isinstance(data, Images):
        crops = views_lib.from_resident(key, 0, shared['images'], batch, spec)
      else:
        crops = views_lib.from_crops(key, 0, batch, spec)
      return model.encoder.apply(*shared['networks'], crops[0], False)[0]

    self._encode = mapped.map_batches(encode, batch_size)

  def batches(self, rows: np.ndarray, start_step: int, num_steps: int,
              batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the batches of several steps at a time, the same on all processes.

    Args:
      rows: int [n], the images to learn from.
      start_step: the first step.
      num_steps: how many.
      batch_size: B.

    Yields:
      Features float32 [m, B, D] and labels int32 [m, B]; m differs.
    """
    data = table.take(self._data, rows)
    at_a_time = max(_STEPS_AT_A_TIME, jax.process_count() * -(
        -self._each // batch_size))
    grid = np.arange(batch_size, dtype=np.int32)
    for start in range(start_step, start_step + num_steps, at_a_time):
      steps = np.arange(start, min(start + at_a_time, start_step + num_steps))
      mine = hosts.my_part(steps)
      features = [np.zeros((0, batch_size, self.feature_size), np.float32)]
      labels = [np.zeros((0, batch_size), np.int32)]
      with hosts.together('evaluation'):
        feed = feed_lib.make(data, self._spec.crop._replace(num_views=1),
                             seed=self._seed, batch_size=batch_size,
                             threads=self._threads)
        for step, batch in zip(mine, feed.batches(
            int(mine[0]) if len(mine) else 0, len(mine), grid)):
          labels.append(self._labels(data, batch)[None])
          batch['examples'] = (step * batch_size + grid).astype(np.int32)
          if isinstance(data, Images):  # all of them are on the device
            batch['rows'] = rows[batch['rows']].astype(np.int32)
          batch.pop('labels', None)
          features.append(np.concatenate([
              self._encode(self._shared, {k: x[i:i + self._each]
                                          for k, x in batch.items()})
              for i in range(0, batch_size, self._each)])[None])
        checks.check_finite(features[-1])  # 80 epochs come to nothing otherwise
      yield hosts.gather(np.concatenate(features)), hosts.gather(
          np.concatenate(labels))

  def _labels(self, data, batch) -> np.ndarray:
    """int32 [B]; of encoded images those of the ones that stand in for bad ones."""
    return (data.labels[batch['rows']] if isinstance(data, Images) else
            batch['labels']).astype(np.int32)
