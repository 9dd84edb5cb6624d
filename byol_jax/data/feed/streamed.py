"""Images that are decoded and cropped on the host, batch for batch."""

from __future__ import annotations

from collections.abc import Iterator
import threading
from typing import NamedTuple

import numpy as np

from byol_jax.data.bad import BadImages
from byol_jax.data.feed import stream
from byol_jax.data.images.crops import CropSpec
from byol_jax.data.sources.table import Encoded


class Streamed(NamedTuple):
  """Feeds encoded images: the random crops of each view travel, and of a jigsaw.

  Attributes:
    data: the images.
    crop: how views are cut.
    seed: the seed of the order and the crops.
    batch_size: the global batch size.
    threads: decoding threads; 0 for one a core.
    prefetch: batches to work on at a time.
  """
  data: Encoded
  crop: CropSpec
  seed: int
  batch_size: int
  threads: int = 0
  prefetch: int = 2

  def shared(self) -> dict[str, np.ndarray]:
    """Returns {}: nothing of the data lives on the devices."""
    return {}

  def batches(self, start_step: int, num_steps: int, grid: np.ndarray,
              stop: threading.Event | None = None) -> Iterator[dict[str, np.ndarray]]:
    """Yields what `training.batch.streamed` describes: see `feed.Feed`.

    Raises:
      UserError: too many images are bad, or the data set itself is damaged.
    """
    for batch in stream.train_batches(
        self.data, self.crop, seed=self.seed, start_step=start_step,
        num_steps=num_steps, batch_size=self.batch_size,
        examples_of_host=grid.reshape(-1), threads=self.threads,
        prefetch=self.prefetch, stop=stop):
      yield {name: x.reshape(*grid.shape, *x.shape[1:])
             for name, x in batch.items()} | {'examples': grid}

  def bad(self) -> BadImages:
    """Returns the bad images that were met so far; they go into checkpoints."""
    return self.data.bad
