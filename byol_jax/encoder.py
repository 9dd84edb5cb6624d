"""A pretrained encoder for use in other programs.

  from byol_jax import encoder

  encode = encoder.load('encoder.safetensors')   # or a WORKDIR
  features = encode([open(path, 'rb').read() for path in paths])   # float32 [N, D]
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent import futures

import jax
import numpy as np

from byol_jax.data.images import decode
from byol_jax.devices import mapped
from byol_jax.evaluation import subject
from byol_jax.storage import bucket
from byol_jax.weights import load as weights_lib


class Encoder:
  """Turns images into features, on all local devices.

  Attributes:
    params: {module: {name: float32 array}}, for fine-tuning in Haiku and optax.
    state: running averages of batch normalization, likewise.
    apply: (params, state, images, is_training) -> (features [n, D], state), pure, for
      normalized images [n, S, S, 3] float32 (`views.for_evaluation`).
    image_size: S, pixels.
    feature_size: D, before BYOL's heads.
  """

  def __init__(self, weights: weights_lib.Weights, image_size: int,
               center_share: float, batch_size: int):
    """Makes an encoder; programs call `load`."""
    self._encoder = encoder = subject.make_encoder(
        weights, image_size=image_size, center_share=center_share,
        batch_size=batch_size)
    self.params, self.state = weights.params, weights.state
    self.apply = encoder.model.encoder.apply
    self.feature_size, self.image_size = encoder.feature_size, encoder.spec.image_size
    self._networks = mapped.replicate((self.params, self.state))

  def __call__(self, images: Sequence[bytes] | np.ndarray) -> np.ndarray:
    """Computes the features of images, as task=embed does.

    Args:
      images: the bytes of image files, of any size and each of the formats of
        docs/input.md; or pixels, uint8 [N, H, W, 3] or [N, H, W, 1].

    Returns:
      float32 [N, D]. A file's centre crop is rounded to whole numbers after it was
      resized; a crop of pixels is not.

    Raises:
      decode.BadImage: a file cannot be used as a picture; names the file's number.
      ValueError: pixels are of another type or shape.
    """
    if isinstance(images, np.ndarray):
      if (images.dtype != np.uint8 or images.ndim != 4
          or images.shape[-1] not in (1, 3)):
        raise ValueError(f'images are {images.dtype} {images.shape}: give uint8 '
                         '[N, H, W, 3 or 1], or the bytes of files')
      are_cropped, pixels = False, lambda images, rows: images[rows.start:rows.stop]
    else:  # the host crops and resizes: sizes differ
      are_cropped, pixels = True, self._decoded
    features = [np.zeros((0, self.feature_size), np.float32)]
    at_a_time = self._encoder.batch_size * jax.local_device_count()
    for start in range(0, len(images), at_a_time):
      rows = range(len(images))[start:start + at_a_time]
      features.append(self._encoder.of_pixels(
          self._networks, pixels(images, rows), are_cropped=are_cropped))
    return np.concatenate(features)

  def _decoded(self, files: Sequence[bytes], rows: range) -> np.ndarray:
    """Returns some of the files as uint8 [n, S, S, 3]."""
    pixels = np.empty((len(rows), self.image_size, self.image_size, 3), np.uint8)
    def put(row: int) -> None:
      try:
        decode.decode_eval(files[row], pixels[row - rows.start],
                           self._encoder.center_share)
      except decode.BadImage as error:
        raise decode.BadImage(f'images[{row}] is {error}') from error
    with futures.ThreadPoolExecutor() as pool:
      list(pool.map(put, rows))
    return pixels


def load(path: str, *, network: str = 'online', image_size: int = 0,
         center_share: float = 0.0, batch_size: int = 128) -> Encoder:
  """Reads an encoder, with its architecture and the preparation of its images.

  Args:
    path: as for `weights.load`: a file of task=export, a WORKDIR, or
      WORKDIR/checkpoints/STEP.
    network: 'online' or 'target'; a file has only one of them.
    image_size: S, pixels; 0: as its evaluations.
    center_share: the centre crop's share of the shorter side; 0: as in pretraining.
    batch_size: images a device and call; fewer are padded.

  Raises:
    UserError: see `weights.load`.
  """
  bucket.choose_library()  # main does so, too: requests end, TensorFlow stays out
  return Encoder(weights_lib.load(path, network), image_size, center_share, batch_size)
