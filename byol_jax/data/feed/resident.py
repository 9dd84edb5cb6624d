"""A small data set that lives on the device: only indices travel."""

from __future__ import annotations

from collections.abc import Iterator
import threading
from typing import NamedTuple

import numpy as np

from byol_jax.data.feed import order
from byol_jax.data.feed import stream
from byol_jax.data.sources.table import Encoded
from byol_jax.data.sources.table import Images
from byol_jax.errors import UserError


def make_resident(data: Images | Encoded, mode: str, limit_bytes: int,
                  image_size: int, threads: int = 0) -> Images | Encoded:
  """Decides whether a data set lives on the device, and decodes it if so.

  Args:
    data: an opened source.
    mode: 'yes', 'no' or 'auto', which takes images that fit and have one size.
    limit_bytes: the most that fits.
    image_size: the size of the views; 'auto' streams images more than twice as large,
      which are cheaper to crop on the host.
    threads: decoding threads; 0 for one a core.

  Returns:
    `Images` to live on the device, or `Encoded` to be streamed.

  Raises:
    UserError: the mode is not possible.
  """
  if isinstance(data, Images):
    if mode == 'no':
      raise UserError(
          f"config key data.resident is 'no', but {data.name} is in memory "
          "already: use 'auto'")
    if data.images.nbytes > limit_bytes:
      raise UserError(
          f'{data.name} takes {data.images.nbytes >> 20} MiB: raise config key '
          'data.resident_limit_mib if every device has room for it')
    return data
  if mode == 'no':
    return data
  decoded = stream.load_resident(
      data, limit_bytes, threads,
      max_side=2 * image_size if mode == 'auto' else None)
  if decoded is not None:
    return decoded
  if mode == 'yes':
    raise UserError(
        f"config key data.resident is 'yes', but the images of {data.name} "
        'differ in size or exceed data.resident_limit_mib')
  return data


class Resident(NamedTuple):
  """Feeds images that live on the devices: only indices travel.

  Attributes:
    data: the images.
    seed: the seed of their order.
    batch_size: the global batch size.
    rows: int [n], the images that are fed; None for all.
  """
  data: Images
  seed: int
  batch_size: int
  rows: np.ndarray | None = None

  def shared(self) -> dict[str, np.ndarray]:
    """Returns the arrays for the devices: 'images', and 'labels' if there are any."""
    labels = {} if self.data.labels is None else {'labels': self.data.labels}
    return {'images': self.data.images} | labels

  def batches(self, start_step: int, num_steps: int, grid: np.ndarray,
              stop: threading.Event | None = None) -> Iterator[dict[str, np.ndarray]]:
    """Yields 'rows' and 'examples', int32, shaped like the grid: see `feed.Feed`."""
    del stop  # nothing here takes long
    num_images = self.data.size if self.rows is None else len(self.rows)
    for step in range(start_step, start_step + num_steps):
      rows = order.rows(self.seed, step, self.batch_size, num_images)
      if self.rows is not None:
        rows = self.rows[rows]
      yield {'rows': rows[grid].astype(np.int32), 'examples': grid}

  def bad(self) -> None:
    """Returns None: bad images were replaced before the first step."""
