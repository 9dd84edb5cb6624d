"""A host's batches for its devices, from any source of images."""

from __future__ import annotations

from collections.abc import Iterator
import threading
from typing import Protocol

import numpy as np

from byol_jax.data.bad import BadImages
from byol_jax.data.feed.resident import Resident
from byol_jax.data.feed.streamed import Streamed
from byol_jax.data.images.crops import CropSpec
from byol_jax.data.sources import table
from byol_jax.data.sources.table import Data
from byol_jax.data.sources.table import Images


class Feed(Protocol):
  """The batches of a run: `Resident` or `Streamed`.

  A batch is a pure function of (seed, step). The numbers of hosts and threads, and the
  step that a session starts from, do not change it.
  """
  data: Data
  seed: int
  batch_size: int

  def shared(self) -> dict[str, np.ndarray]:
    """Returns the arrays for the devices (`training.batch.shared`, without the key)."""

  def batches(self, start_step: int, num_steps: int, grid: np.ndarray,
              stop: threading.Event | None = None) -> Iterator[dict[str, np.ndarray]]:
    """Yields the batches of some steps.

    Args:
      start_step: the first step.
      num_steps: how many.
      grid: int32, which of the global examples 0 .. batch_size - 1 this host takes,
        in the layout of its devices (`devices.grid.local_example_grid`).
      stop: ends the batches early once it is set, from any thread.

    Yields:
      Arrays that are shaped like the grid (`training.batch`).
    """

  def bad(self) -> BadImages | None:
    """Returns the bad images met so far; None if there can be none."""


def make(data: Data, crop: CropSpec, *, seed: int, batch_size: int,
         rows: np.ndarray | None = None, threads: int = 0, prefetch: int = 2) -> Feed:
  """Chooses the feed: images in memory live on the devices, others are streamed.

  Args:
    data: the images.
    crop: how views of streamed images are cut.
    seed: the seed of the order and the crops.
    batch_size: the global batch size.
    rows: int [n], the images that are fed; None for all.
    threads: decoding threads; 0 for one a core.
    prefetch: batches to work on at a time.
  """
  if isinstance(data, Images):
    return Resident(data, seed, batch_size, rows)
  if rows is not None:
    data = table.take(data, rows)
  return Streamed(data, crop, seed, batch_size, threads, prefetch)
