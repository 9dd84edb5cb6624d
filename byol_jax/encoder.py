"""A pretrained encoder for use in other programs.

  from byol_jax import encoder

  encode = encoder.load('encoder.safetensors')   # or a WORKDIR, or a folder of timm
  features = encode(['a.jpg', 'b.png'])          # float32 [N, D]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent import futures
import logging
import os
from typing import Any

import jax
import numpy as np

from byol_jax.data import workers
from byol_jax.data.images import decode
from byol_jax.data.images import given
from byol_jax.data.sources import folder
from byol_jax.devices import backend
from byol_jax.devices import mapped
from byol_jax.evaluation import subject
from byol_jax.storage import bucket
from byol_jax.weights import load as weights_lib

_console = logging.getLogger('byol_jax')


class Encoder:
  """Turns images into features, on all local devices.

  Attributes:
    params: {module: {name: float32 array}}, for fine-tuning in Haiku and optax.
    state: running averages of batch normalization, likewise.
    apply: (params, state, images, is_training) -> (features [n, D], state), pure, for
      normalized images [n, S, S, 3] float32 (`views.for_evaluation`).
    image_size: S, pixels.
    feature_size: D, before the heads.
    digest: identifies the arrays; features of one digest can be compared.
  """

  def __init__(self, weights: weights_lib.Weights, image_size: int,
               center_share: float, batch_size: int, runtime: str = 'jax'):
    """Makes an encoder; programs call `load`."""
    self._inference = inference = subject.make_inference(
        weights, image_size=image_size, center_share=center_share,
        batch_size=batch_size, runtime=runtime)
    data = weights.config.data
    self._how = decode.Reading(data.max_pixels, tuple(data.gray_range), data.background)
    self.params, self.state = weights.params, weights.state
    self.digest = weights.digest
    self.apply = inference.model.encoder.apply
    self.feature_size = inference.feature_size
    self.image_size = inference.spec.image_size
    self._networks = mapped.replicate((self.params, self.state))

  def __call__(self, images: Any, *, skip_bad: bool = False,
               ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Computes the features of images, as task=embed does.

    Args:
      images: a list of paths, of the bytes of files, of images of Pillow or of arrays
        [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] of any size; or an array of N such
        images; or a single one. Files have the formats of docs/input.md. Arrays are
        uint8, or floats from 0 to 1; transparency is treated as in pretraining.
      skip_bad: whether to leave out files that cannot be used.

    Returns:
      float32 [N, D]. The centre crop of a file, or of one of a list, is rounded to
      whole numbers after it was resized; that of an array of N images is not. With
      skip_bad the features [M, D] of the images that could be used, and which they
      are, int64 [M].

    Raises:
      decode.BadImage: a file cannot be used as a picture; names its place in the list.
      UserError: there is not enough memory.
      ValueError: something is no image; says what to give.
    """
    images = given.items(images)
    is_array = isinstance(images, np.ndarray)
    if is_array and images.ndim != 4:
      images, is_array = list(images), False
    features, kept = [np.zeros((0, self.feature_size), np.float32)], []
    at_a_time = self._inference.batch_size * jax.local_device_count()
    for start in range(0, len(images), at_a_time):
      rows = range(len(images))[start:start + at_a_time]
      if is_array:
        pixels = given.of_array(images[rows.start:rows.stop], self._how)
      else:  # the host crops and resizes: sizes differ
        pixels, rows = self._read(images, rows, skip_bad)
      kept += rows
      if len(rows):
        with backend.explained('load it with a smaller batch_size or image_size',
                               lambda: len(features) > 1):
          features.append(self._inference.of_pixels(
              self._networks, pixels, are_cropped=not is_array))
    found = np.concatenate(features)
    return (found, np.array(kept, np.int64)) if skip_bad else found

  def _read(self, images: Sequence[Any], rows: range,
            skip_bad: bool) -> tuple[np.ndarray, list[int]]:
    """Returns some of the images as uint8 [n, S, S, 3], and which could be read."""
    pixels = np.empty((len(rows), self.image_size, self.image_size, 3), np.uint8)
    def put(row: int) -> bool:
      item = images[row]
      name = f' ({os.fspath(item)!r})' if isinstance(item, (str, os.PathLike)) else ''
      try:
        decode.center(given.pixels(item, self._how, folder.read_file),
                      pixels[row - rows.start], self._inference.center_share)
      except decode.BadImage as error:
        if not skip_bad:
          raise decode.BadImage(f'images[{row}]{name} is {error}') from error
        return False
      except ValueError as error:
        raise ValueError(f'images[{row}] is {error}') from error
      return True
    with futures.ThreadPoolExecutor(workers.cores()) as pool:
      good = np.fromiter(pool.map(put, rows), bool)
    return pixels[good], np.asarray(rows)[good].tolist()


class Batches:
  """An encoder as engines for much data call it: a batch in, a batch out.

  A process makes one, and calls it for each batch. Ray Data's `map_batches` takes the
  class, Spark's `predict_batch_udf` a function that makes one (docs/clusters.md).
  """

  def __init__(self, path: str, column: str = 'bytes', feature: str = 'feature',
               **options: Any):
    """Loads the encoder.

    Args:
      path: as for `load`.
      column: the column with images, of any kind that `Encoder` takes.
      feature: the column to add.
      **options: as for `load`.
    """
    self._encode = load(path, **options)
    self._column, self._feature = column, feature

  def __call__(self, batch: Any) -> Any:
    """Computes features, row by row.

    Args:
      batch: {column: values [n]}, or the images alone.

    Returns:
      The same columns and the features, float32 [n, D]; or the features alone. A row
      without an image, or with one that cannot be used, has features of NaN.

    Raises:
      ValueError: something is no image, or there is no such column; says what to give.
    """
    is_table = isinstance(batch, Mapping)
    if is_table and self._column not in batch:
      raise ValueError(f'the batch has no column {self._column!r}, but '
                       f'{", ".join(batch)}: give column=')
    images = given.items(batch[self._column] if is_table else batch)
    features = np.full((len(images), self._encode.feature_size), np.nan, np.float32)
    rows = np.array([k for k, image in enumerate(images) if image is not None], int)
    if len(rows) < len(images):
      images = [images[k] for k in rows]
    found, kept = self._encode(images, skip_bad=True)
    features[rows[kept]] = found
    if len(kept) < len(features):
      _console.warning('%d of %d images are missing or cannot be used: their features '
                       'are NaN', len(features) - len(kept), len(features))
    return {**batch, self._feature: features} if is_table else features


def load(path: str, *, network: str = 'online', image_size: int = 0,
         center_share: float = 0.0, batch_size: int = 128,
         runtime: str = 'jax') -> Encoder:
  """Reads an encoder, with its architecture and the preparation of its images.

  Args:
    path: as for `weights.load`: a WORKDIR or WORKDIR/checkpoints/STEP, a file or
      folder of task=export, or what others wrote (docs/weights.md).
    network: 'online' or 'target'; a file has only one of them.
    image_size: S, pixels; 0: as its evaluations.
    center_share: the centre crop's share of the shorter side; 0: as in pretraining.
    batch_size: images a device and call; fewer are padded.
    runtime: 'jax', or 'onnx' for onnxruntime, faster on a CPU.

  Raises:
    UserError: see `weights.load`; onnxruntime is not installed.
  """
  bucket.choose_library()  # main does so, too: requests end, TensorFlow stays out
  return Encoder(weights_lib.load(path, network), image_size, center_share, batch_size,
                 runtime)
