"""A host's batches for its devices, whatever the images come from."""

from __future__ import annotations

from collections.abc import Iterator
import threading

import numpy as np

from byol_jax.data.feed import resident
from byol_jax.data.feed import stream
from byol_jax.data.sources.table import Encoded
from byol_jax.data.sources.table import Images


def host_batches(
    data: Images | Encoded,
    grid: np.ndarray,
    *,
    seed: int,
    start_step: int,
    num_steps: int,
    batch_size: int,
    image_size: int,
    num_views: int = 2,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
    threads: int = 0,
    prefetch: int = 2,
    stop: threading.Event | None = None,
) -> Iterator[dict[str, np.ndarray]]:
  """Yields the batches of some steps.

  Args:
    data: the images.
    grid: int32, which of the global examples 0 .. batch_size - 1 this host takes,
      in the layout of its devices (`parallel.local_example_grid`).
    seed: of their order and crops, as are the others: `pipeline.train_batches`.
    start_step: the first step.
    num_steps: how many.
    batch_size: global.
    image_size: S, of the views.
    num_views: V, of encoded images.
    area: range of a crop's share of the image.
    aspect: range of its width / height.
    threads: that decode.
    prefetch: batches to work on at a time.
    stop: ends the batches early once it is set, from any thread.

  Yields:
    'examples', the grid, and, shaped like it: of images in memory 'rows', which
    ones; of encoded ones 'views', uint8 [..., V, S, S, 3], and 'labels' where
    there are any.
  """
  if isinstance(data, Images):
    yield from resident.train_batches(
        seed, start_step, num_steps, len(data.images), batch_size, grid)
    return
  for batch in stream.train_batches(
      data, seed=seed, start_step=start_step, num_steps=num_steps,
      batch_size=batch_size, rows_of_host=grid.reshape(-1),
      image_size=image_size, num_views=num_views, area=area, aspect=aspect,
      threads=threads, prefetch=prefetch, stop=stop):
    batch = {name: x.reshape(*grid.shape, *x.shape[1:])
             for name, x in batch.items()}
    yield batch | {'examples': grid}
