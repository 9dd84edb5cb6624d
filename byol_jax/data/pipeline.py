"""Batches from encoded images: read, decode and crop in parallel, in order.

Every batch is a pure function of (seed, step): which images it shows and where
their crops fall comes from `order`, and tf.data runs with `deterministic=True`,
so the number of threads, of hosts and the step to start from change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import os
from typing import Any, NoReturn

import numpy as np

from byol_jax.data import decode
from byol_jax.data import order
from byol_jax.data.sources import Encoded
from byol_jax.data.sources import Images
from byol_jax.data.tf_cpu import import_tf
from byol_jax.errors import UserError

_DRAWS = 8  # `crops.crop_box` takes four: 0-3 for view 0, 4-7 for view 1
_RESIDENT_BATCH = 256

Dataset = Any  # tf.data.Dataset; TensorFlow is imported only in functions


def train_batches(
    source: Encoded,
    *,
    seed: int,
    start_step: int,
    num_steps: int,
    batch_size: int,
    rows_of_host: np.ndarray,
    image_size: int,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
    threads: int = 0,
    prefetch: int = 2,
) -> Iterator[dict[str, np.ndarray]]:
  """Yields this host's share of the batches, two random crops an image.

  Example i of step s shows image `order.rows(seed, s, batch_size, N)[i]`, cut
  by the draws `order.uniforms(seed, s, [i], 8)`. Nothing is flipped here: the
  device does that.

  Args:
    source: the images.
    seed: the run's seed.
    start_step: the step of the first batch.
    num_steps: how many batches to yield.
    batch_size: B, the global batch size.
    rows_of_host: int [b], which of the examples 0 .. B - 1 to yield.
    image_size: S, the side of the views.
    area: range of a crop's share of the image's area.
    aspect: range of a crop's width / height.
    threads: decoding threads; 0 for one a core.
    prefetch: how many batches to keep ready.

  Yields:
    'views': uint8 [b, 2, S, S, 3] and, if there are labels, 'labels': int32
    [b].

  Raises:
    UserError: an image cannot be read or decoded; names it.
  """
  tf = import_tf()
  rows_of_host = np.asarray(rows_of_host, np.int64)

  def plan(step: int) -> tuple[np.ndarray, np.ndarray]:
    indices = order.rows(seed, int(step), batch_size, source.size)[rows_of_host]
    u = order.uniforms(seed, int(step), rows_of_host, _DRAWS)
    return indices, u.reshape(-1, 2, _DRAWS // 2)

  def plan_in_tf(step: Any) -> tuple[Any, Any]:
    indices, u = tf.numpy_function(plan, [step], [tf.int64, tf.float64])
    return (tf.ensure_shape(indices, rows_of_host.shape),
            tf.ensure_shape(u, (*rows_of_host.shape, 2, _DRAWS // 2)))

  def views(data: Any, u: Any) -> Any:
    return decode.decode_two_views(data, u, image_size, area, aspect)

  steps = range(start_step, start_step + num_steps)
  dataset = tf.data.Dataset.range(steps.start, steps.stop).map(plan_in_tf)
  dataset = dataset.unbatch().map(
      lambda index, u: (index, views(_read(source, index), u)),
      num_parallel_calls=threads or _cores(), deterministic=True)
  batches = _start(dataset, rows_of_host.size, threads, prefetch)

  def generate() -> Iterator[dict[str, np.ndarray]]:
    for step in steps:
      try:
        indices, batch = next(batches)
      except tf.errors.OpError as error:
        indices, u = plan(step)
        _blame(source, indices, lambda k, data: views(data, u[k]), error)
      yield {'views': batch} | _labels(source, indices)

  return generate()


def eval_batches(
    source: Encoded,
    *,
    batch_size: int,
    image_size: int,
    center_share: float = 0.875,
    rows: np.ndarray | None = None,
    threads: int = 0,
    prefetch: int = 2,
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
    prefetch: how many batches to keep ready.

  Yields:
    'images': uint8 [b, S, S, 3]; 'mask': bool [b], False where padded; if there
    are labels, 'labels': int32 [b]. Padding is zero in all three.

  Raises:
    UserError: an image cannot be read or decoded; names it.
  """
  tf = import_tf()
  rows = np.arange(source.size) if rows is None else np.asarray(rows)
  padding = -len(rows) % batch_size
  rows = np.pad(rows.astype(np.int64), (0, padding), constant_values=-1)

  def central(data: Any) -> Any:
    return decode.decode_eval(data, image_size, center_share)

  def image(index: Any) -> Any:
    return tf.cond(
        index < 0,
        lambda: tf.zeros([image_size, image_size, 3], tf.uint8),
        lambda: central(_read(source, index)))

  dataset = tf.data.Dataset.from_tensor_slices(rows).map(
      lambda index: (index, image(index)),
      num_parallel_calls=threads or _cores(), deterministic=True)
  batches = _start(dataset, batch_size, threads, prefetch)

  def generate() -> Iterator[dict[str, np.ndarray]]:
    for start in range(0, len(rows), batch_size):
      try:
        indices, batch = next(batches)
      except tf.errors.OpError as error:
        indices = rows[start:start + batch_size]
        _blame(source, indices[indices >= 0],
               lambda k, data: central(data), error)
      mask = indices >= 0
      labels = {key: np.where(mask, value, 0)
                for key, value in _labels(source, indices).items()}
      yield {'images': batch, 'mask': mask} | labels

  return generate()


def load_resident(
    source: Encoded, max_bytes: int, threads: int = 0,
    max_side: int | None = None) -> Images | None:
  """Decodes a whole data set into memory, if it fits and has one size.

  Args:
    source: the images.
    max_bytes: the most that the pixels may take.
    threads: decoding threads; 0 for one a core.
    max_side: the largest height or width; None for any.

  Returns:
    Images [N, H, W, 3]; None as soon as it is clear that the images differ in
    size or exceed `max_bytes` or `max_side`.

  Raises:
    UserError: an image cannot be read or decoded; names it.
  """
  tf = import_tf()
  try:
    shape = tuple(decode.decode_image(source.read(0)).shape)
  except tf.errors.OpError as error:
    _blame(source, np.array([0]), lambda k, data: decode.decode_image(data),
           error)
  if source.size * int(np.prod(shape)) > max_bytes or (
      max_side is not None and max(shape[:2]) > max_side):
    return None

  def image(index: Any) -> tuple[Any, Any]:
    pixels = decode.decode_image(_read(source, index))
    fits = tf.reduce_all(tf.shape(pixels) == shape)
    pixels = tf.cond(fits, lambda: pixels, lambda: tf.zeros(shape, tf.uint8))
    return fits, tf.ensure_shape(pixels, shape)

  dataset = tf.data.Dataset.range(source.size).map(
      image, num_parallel_calls=threads or _cores(), deterministic=True)
  batches = _start(dataset, _RESIDENT_BATCH, threads, prefetch=2)
  images = np.empty((source.size, *shape), np.uint8)
  for start in range(0, source.size, _RESIDENT_BATCH):
    stop = min(start + _RESIDENT_BATCH, source.size)
    try:
      fits, batch = next(batches)
    except tf.errors.OpError as error:
      _blame(source, np.arange(start, stop),
             lambda k, data: decode.decode_image(data), error)
    if not fits.all():
      return None
    images[start:stop] = batch
  return Images(images, source.labels, source.class_names, source.name)


def _read(source: Encoded, index: Any) -> Any:
  """The bytes of one image as a string tensor."""
  tf = import_tf()
  data = tf.numpy_function(source.read, [index], tf.string)
  return tf.ensure_shape(data, ())


def _start(
    dataset: Dataset, batch_size: int, threads: int, prefetch: int,
) -> Iterator[Any]:
  """Batches a data set and starts to work on it."""
  tf = import_tf()
  options = tf.data.Options()
  options.deterministic = True
  options.threading.private_threadpool_size = threads or _cores()
  options.threading.max_intra_op_parallelism = 1
  options.experimental_warm_start = True
  dataset = dataset.batch(batch_size).prefetch(prefetch).with_options(options)
  return dataset.as_numpy_iterator()


def _labels(source: Encoded, indices: np.ndarray) -> dict[str, np.ndarray]:
  """{'labels': int32 [b]}, or nothing if the source has no labels."""
  return {} if source.labels is None else {'labels': source.labels[indices]}


def _blame(
    source: Encoded, indices: np.ndarray,
    decode_again: Callable[[int, bytes], Any], error: Exception,
) -> NoReturn:
  """Finds out which image of a failed batch is to blame.

  tf.data's errors say neither which element failed nor carry the exception of
  a Python function, so the batch is gone through again, one by one.

  Args:
    source: the images.
    indices: int [b], the images of the batch.
    decode_again: (k, bytes) -> decodes image k of the batch.
    error: what tf.data raised.

  Raises:
    UserError: names the first image that cannot be read or decoded.
  """
  tf = import_tf()
  for k, index in enumerate(indices):
    data = source.read(int(index))
    try:
      decode_again(k, data)
    except tf.errors.OpError as reason:
      raise UserError(
          f'cannot decode {source.names[index]!r} of {source.name}: it is '
          'damaged; remove or replace it') from reason
  raise error


def _cores() -> int:
  """The number of processor cores that this process may use."""
  if hasattr(os, 'sched_getaffinity'):  # Linux
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1
