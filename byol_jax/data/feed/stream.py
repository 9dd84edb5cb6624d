"""Batches from encoded images: read, decode and crop in parallel, in order.

Every batch is a pure function of (seed, step): which images it shows and where
their crops fall comes from `order`, and every image is written to its own place
in the batch, so the number of threads, of hosts and the step to start from
change nothing. A bad image is replaced by `order.substitute`, whose choice
depends on nothing else either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import threading
from typing import Any

import numpy as np

from byol_jax.data import workers
from byol_jax.data.feed import order
from byol_jax.data.images import crops
from byol_jax.data.images import decode
from byol_jax.data.images.decode import BadImage
from byol_jax.data.sources.table import Encoded
from byol_jax.data.sources.table import Images
from byol_jax.errors import UserError

_RESIDENT_BATCH = 256
_ATTEMPTS = 100  # substitutes in a row that may be bad as well


def train_batches(
    source: Encoded,
    crop: crops.CropSpec,
    *,
    seed: int,
    start_step: int,
    num_steps: int,
    batch_size: int,
    examples_of_host: np.ndarray,
    threads: int = 0,
    prefetch: int = 2,
    stop: threading.Event | None = None,
) -> Iterator[dict[str, np.ndarray]]:
  """Yields this host's share of the batches, V random crops an image.

  Example i of step s shows image `order.rows(seed, s, batch_size, N)[i]`, cut
  by the draws `order.uniforms(seed, s, [i], crop.draws V)`. Nothing is flipped here:
  the device does that.

  Args:
    source: the images.
    crop: size, number V, area, aspect and sampler of the crops, and whether there is
      one more for a jigsaw, whose draws come behind those of the views.
    seed: the run's seed.
    start_step: the step of the first batch.
    num_steps: how many batches to yield.
    batch_size: B, the global batch size.
    examples_of_host: int [b], which of the examples 0 .. B - 1 to yield.
    threads: decoding threads; 0 for one a core.
    prefetch: how many batches to work on at a time, and so hold in memory
      beside the consumer's: 3 V b S^2 bytes each.
    stop: once it is set, by any thread, no more images are read and the batches
      end. Slow storage makes a batch take long.

  Yields:
    'views': uint8 [b, V, S, S, 3]; with a jigsaw 'jigsaw': uint8 [b, size, size, 3];
    if there are labels, 'labels': int32 [b].

  Raises:
    UserError: too many images are bad (`bad.BadImages`), or the data set
      itself is damaged.
  """
  examples_of_host = np.asarray(examples_of_host, np.int64)
  num_views, size = crop.num_views, crop.image_size

  def start(step: int) -> tuple[dict[str, np.ndarray], Any]:
    wanted = order.rows(seed, step, batch_size, source.size)[examples_of_host]
    num_crops = num_views + (crop.jigsaw is not None)
    u = order.uniforms(seed, step, examples_of_host, crop.draws * num_crops)
    u = u.reshape(-1, num_crops, crop.draws)
    made = {'views': np.empty((len(wanted), num_views, size, size, 3), np.uint8)}
    if crop.jigsaw:
      side = crop.jigsaw.size
      made['jigsaw'] = np.empty((len(wanted), side, side, 3), np.uint8)
    shown = np.empty_like(wanted)

    def make(k: int) -> None:
      shown[k] = _use(source, int(wanted[k]), lambda data:
                      decode.decode_views(
                          data, u[k], made['views'][k], crop,
                          made['jigsaw'][k] if crop.jigsaw else None, source.how))

    def finish() -> dict[str, np.ndarray]:
      return made | _labels(source, shown)

    return len(wanted), make, finish

  steps = range(start_step, start_step + num_steps)
  return workers.in_order(map(start, steps), threads, prefetch, stop)


def eval_batches(
    source: Encoded,
    *,
    batch_size: int,
    image_size: int,
    center_share: float = crops.CENTER_SHARE,
    rows: np.ndarray | None = None,
    threads: int = 0,
) -> Iterator[dict[str, np.ndarray]]:
  """Yields the central crops of the images `rows`, in that order.

  Args:
    source: the images.
    batch_size: b, of this host. The last batch is padded to it.
    image_size: S, the side of the crops.
    center_share: the crop's share of an image's shorter side.
    rows: int [n], the images to yield; -1 stands for padding, so that hosts
      with fewer images can yield as many batches. None for all images.
    threads: decoding threads; 0 for one a core.

  Yields:
    'images': uint8 [b, S, S, 3]; 'mask': bool [b], False where padded and for
    bad images, which no other replaces here; if there are labels, 'labels':
    int32 [b]. Values that the mask leaves out are zero.

  Raises:
    UserError: as `train_batches`.
  """
  rows = np.arange(source.size) if rows is None else np.asarray(rows)
  padding = -len(rows) % batch_size
  rows = np.pad(rows.astype(np.int64), (0, padding), constant_values=-1)

  def start(indices: np.ndarray) -> tuple[int, Callable, Callable]:
    images = np.zeros((batch_size, image_size, image_size, 3), np.uint8)
    mask = indices >= 0

    def make(k: int) -> None:
      if mask[k]:
        mask[k] = _try(source, int(indices[k]), lambda data:
                       decode.decode_eval(data, images[k], center_share,
                                          source.how))

    def finish() -> dict[str, np.ndarray]:
      labels = {key: np.where(mask, value, 0)
                for key, value in _labels(source, indices).items()}
      return {'images': images, 'mask': mask} | labels

    return batch_size, make, finish

  return workers.in_order(
      map(start, rows.reshape(-1, batch_size)), threads, ahead=2)


def load_resident(
    source: Encoded, max_bytes: int, threads: int = 0,
    max_side: int | None = None) -> Images | None:
  """Decodes a whole data set into memory, if it fits and has one size.

  A bad image is replaced as in `train_batches`, so both show the same.

  Args:
    source: the images.
    max_bytes: the most that the pixels may take.
    threads: decoding threads; 0 for one a core.
    max_side: the largest height or width; None for any.

  Returns:
    Images [N, H, W, 3]; None as soon as it is clear that the images differ in
    size or exceed `max_bytes` or `max_side`.

  Raises:
    UserError: as `train_batches`.
  """
  first = []
  _use(source, 0, lambda data: first.append(
      decode.decode(data, how=source.how)))
  shape = first[0].shape
  if source.size * first[0].size > max_bytes or (
      max_side is not None and max(shape[:2]) > max_side):
    return None
  images = np.empty((source.size, *shape), np.uint8)
  shown = np.arange(source.size)
  fits = np.ones(source.size, bool)

  def start(first_row: int) -> tuple[int, Callable, Callable]:
    rows = range(first_row, min(first_row + _RESIDENT_BATCH, source.size))

    def make(k: int) -> None:
      def put(data: bytes) -> None:
        pixels = decode.decode(data, how=source.how)
        fits[rows[k]] = pixels.shape == shape
        if fits[rows[k]]:
          images[rows[k]] = pixels
      shown[rows[k]] = _use(source, rows[k], put)

    return len(rows), make, lambda: fits[rows.start:rows.stop].all()

  for all_fit in workers.in_order(
      map(start, range(0, source.size, _RESIDENT_BATCH)), threads, ahead=2):
    if not all_fit:
      return None
  return Images(images, _labels(source, shown).get('labels'),
                source.class_names, source.name, source.bad, source.names)


def _use(source: Encoded, index: int, use: Callable[[bytes], None]) -> int:
  """Calls use() with the bytes of an image, or of a substitute if it is bad.

  Returns:
    The index of the image that was used.
  """
  shown = index
  for attempt in range(_ATTEMPTS):
    if _try(source, shown, use):
      return shown
    shown = order.substitute(index, attempt, source.size)
  raise UserError(f'{_ATTEMPTS} images in a row cannot be used: '
                  f'{source.bad.summary()}')


def _try(source: Encoded, index: int, use: Callable[[bytes], None]) -> bool:
  """Calls use() with the bytes of an image; returns False if it is bad."""
  if index in source.bad:
    return False
  try:
    use(source.read(index))
  except BadImage as error:
    source.bad.add(index, str(error))
    return False
  return True


def _labels(source: Encoded, indices: np.ndarray) -> dict[str, np.ndarray]:
  """Returns {'labels': int32 [b]}, or {} if the source has no labels."""
  return {} if source.labels is None else {'labels': source.labels[indices]}
