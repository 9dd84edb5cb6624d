"""Random crops and flips of training images: linear evaluation and fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator
import functools
import threading
from typing import Any

import jax
import numpy as np

from byol_jax.data.feed import feed as feed_lib
from byol_jax.data.sources import table
from byol_jax.devices import hosts
from byol_jax.devices import mapped
from byol_jax.evaluation import checks
from byol_jax.evaluation import encode
from byol_jax.views import make as views_lib
from byol_jax.views import recipes

# crops and flips, and nothing else (paper, appendices C.1 and C.2)
CROPS_AND_FLIPS = recipes.Recipe(
    flip=0.5, jitter=0.0, grayscale=0.0, blur=0.0, solarize=0.0)

_STEPS_AT_A_TIME = 8  # all processes together, at least


class Feed:
  """A feed of crops of labelled images, cut on the devices or by the host.

  The images of a step and their cuts are pure functions of (seed, step).
  """

  def __init__(self, data: table.Data, spec: views_lib.ViewSpec, *, seed: int,
               threads: int):
    """Takes the images, and size, area, aspect and normalization of the crops."""
    # the same sampler for the encoders of all methods
    self._spec = spec._replace(recipes=(CROPS_AND_FLIPS,), sampler='byol', jigsaw=None)
    self._make = functools.partial(
        feed_lib.make, data, self._spec.crop, seed=seed, threads=threads)
    self.labels = np.asarray(data.labels)
    self.size = len(self.labels)

  def shared(self) -> dict[str, np.ndarray]:
    """Returns the arrays for every device: the images, if they live there."""
    return self._make(batch_size=1).shared()

  def batches(self, rows: np.ndarray, grid: np.ndarray, *, batch_size: int,
              start_step: int, num_steps: int, stop: threading.Event | None = None,
              ) -> Iterator[dict[str, np.ndarray]]:
    """Yields batches of the images `rows`, int [n], as they travel to the devices.

    For the other arguments see `feed.Feed`; `batch_size` is global.
    """
    return self._make(batch_size=batch_size, rows=rows).batches(
        start_step, num_steps, grid, stop)

  def views(self, shared: dict[str, jax.Array], key: jax.Array, step: jax.Array,
            batch: dict[str, jax.Array]) -> jax.Array:
    """Returns a device's normalized crops float32 [n, S, S, 3]."""
    return views_lib.make({**shared, 'key': key}, step, batch, self._spec).images[0]

  def labels_of(self, labels: Any, batch: dict[str, Any]) -> Any:
    """Returns the labels int32 [n] of a batch's images, on the host or a device.

    An image that cannot be read is replaced by another one, and so is its label;
    `labels` are the labels of all images, int32 [N].
    """
    return labels[batch['rows']] if 'rows' in batch else batch['labels']

  def targets(self, shared: dict[str, Any], batch: dict[str, Any]) -> Any:
    """Returns the labels of a device's images, as `trainer.Feed` has targets."""
    return self.labels_of(shared.get('labels'), batch)


class Crops:
  """A frozen encoder's features of random crops, new ones at every step.

  The encoder does not learn, so the batches of several steps are encoded at a
  time, each by one process.
  """

  def __init__(self, inference: encode.Inference, networks: Any, data: table.Data, *,
               seed: int):
    """Builds the source.

    Args:
      inference: says how images are prepared; its model is run.
      networks: (params, state) of the encoder, replicated.
      data: labelled images.
      seed: the seed of order and crops.
    """
    self._feed = feed = Feed(data, inference.spec, seed=seed, threads=inference.threads)
    self.labels = feed.labels
    self.feature_size = inference.feature_size
    self._each = inference.batch_size * jax.local_device_count()
    self._shared = {'networks': networks}
    if 'images' in (shared := feed.shared()):
      self._shared['images'] = mapped.replicate(shared['images'])
    key = jax.random.PRNGKey(seed)

    def encoded(shared, batch):
      # `examples` are positions in the whole run, so each step has others
      crops = feed.views(shared, key, 0, batch)
      return inference.model.encoder.apply(*shared['networks'], crops, False)[0]

    self._encode = mapped.map_batches(encoded, inference.batch_size)

  def batches(self, rows: np.ndarray, start_step: int, num_steps: int,
              batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields features and labels as `linear.Source`, the same on all processes."""
    at_a_time = max(_STEPS_AT_A_TIME, jax.process_count() * -(
        -self._each // batch_size))
    for start in range(start_step, start_step + num_steps, at_a_time):
      steps = np.arange(start, min(start + at_a_time, start_step + num_steps))
      mine = hosts.my_part(steps)
      features = [np.zeros((0, batch_size, self.feature_size), np.float32)]
      labels = [np.zeros((0, batch_size), np.int32)]
      with hosts.together('evaluation'):
        for x, y in self._of_steps(rows, mine, batch_size):
          features.append(x[None])
          labels.append(y[None])
        checks.check_finite(features[-1])  # else 80 epochs would be lost
      yield hosts.gather(np.concatenate(features)), hosts.gather(
          np.concatenate(labels))

  def _of_steps(self, rows: np.ndarray, steps: np.ndarray, batch_size: int,
                ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields features [B, D] and labels int32 [B] of consecutive steps."""
    grid = np.arange(batch_size, dtype=np.int32)
    for step, batch in zip(steps, self._feed.batches(
        rows, grid, batch_size=batch_size, num_steps=len(steps),
        start_step=int(steps[0]) if len(steps) else 0)):
      labels = self._feed.labels_of(self.labels, batch).astype(np.int32)
      batch['examples'] = (step * batch_size + grid).astype(np.int32)
      batch.pop('labels', None)
      yield np.concatenate([
          self._encode(self._shared, {k: x[i:i + self._each] for k, x in batch.items()})
          for i in range(0, batch_size, self._each)]), labels
