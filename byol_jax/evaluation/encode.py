"""Runs encoders over data sets: features for every evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from byol_jax.data.feed import stream
from byol_jax.data.sources import table
from byol_jax.devices import hosts
from byol_jax.devices import mapped
from byol_jax.evaluation import features as features_lib
from byol_jax.evaluation.features import Features
from byol_jax.networks.model import Model
from byol_jax.run import bad_images
from byol_jax.views import make as views_lib

_CALIBRATION_BATCH = 256
_CROPPED = 1.0  # images that the host has cropped are used whole


class Runtime(NamedTuple):
  """Another program that computes features, of the weights that it was made for.

  Attributes:
    features: normalized float32 [n, 3, S, S] -> float32 [n, D].
    precision: its arithmetic and its name, for protocols and keys of features.
  """
  features: Callable[[np.ndarray], np.ndarray]
  precision: str


class Inference:
  """Runs networks over data sets in inference mode, on the devices of all processes.

  Each process takes a part of the images; every image counts once. A device always
  takes the same number of images at a time, and the same images share a call on any
  devices. So features do not depend on the devices, to the bit.

  Attributes:
    model: the networks.
    spec: size and normalization of the images.
    center_share: the central crop's share of the shorter side.
    batch_size: images that a device takes in one call.
    threads: decoding threads; 0 for one a core.
    runtime: what computes in place of the model; None: the model does.
  """

  def __init__(self, model: Model, spec: views_lib.ViewSpec, *,
               center_share: float, batch_size: int, threads: int = 0,
               runtime: Runtime | None = None):
    """Builds it; see the attributes. `model` is built with axis_name=None."""
    self.model, self.spec, self.center_share = model, spec, center_share
    self.batch_size, self.threads = batch_size, threads
    self.feature_size, self.runtime = model.feature_size, runtime
    self._looked_at: dict[int, tuple[table.Data, np.ndarray]] = {}

    def encode(share):
      if runtime is not None:
        prepare = jax.jit(lambda images: views_lib.for_evaluation(
            images, spec, share).transpose(0, 3, 1, 2))
        # one by one: it is compiled once, however many come
        return lambda _, images: runtime.features(np.concatenate(
            [prepare(image[None]) for image in images]))
      def features(networks, images):
        images = views_lib.for_evaluation(images, spec, share)
        return model.encoder.apply(*networks, images, False)[0]
      return mapped.map_batches(features, batch_size)

    def statistics(share, networks, images):
      params, state = networks
      images = views_lib.for_evaluation(images, spec, share)
      _, new = model.encoder.apply(params, state, images, True)
      return dict(state) | dict(new)

    # The host crops encoded images itself, by the same rule.
    self._encode = {share: encode(share) for share in {_CROPPED, center_share}}
    self._statistics = jax.jit(statistics, static_argnums=0)

  def __call__(self, networks: Any, data: table.Data, rows: np.ndarray) -> Features:
    """Encodes images.

    Args:
      networks: (params, state) of the encoder, replicated; heads do not matter.
      data: the data set.
      rows: int [n], the images.

    Returns:
      Features of the images that could be read.
    """
    share = self._share(data)
    return self._map(lambda images: self._encode[share](networks, images), data, rows,
                     self.feature_size)

  def of_pixels(self, networks: Any, images: np.ndarray, *,
                are_cropped: bool) -> np.ndarray:
    """Encodes pixels on the devices of this process alone.

    Args:
      networks: as for a call.
      images: uint8 [n, H, W, 1 or 3], n at most batch_size * local devices.
      are_cropped: whether the images are the central crops already.

    Returns:
      float32 [n, D].
    """
    share = _CROPPED if are_cropped else self.center_share
    return self._encode[share](networks, images)

  def pixels(self, data: table.Data, rows: np.ndarray, size: int) -> Features:
    """Returns the images themselves as features, the baseline of every encoder.

    Returns:
      Features with x in [0, 1] and D = size * size * channels. Images are cropped,
      and left out, as for a call.
    """
    spec = self.spec._replace(image_size=size, mean=(0,) * 3, std=(1,) * 3)
    channels = data.images.shape[-1] if isinstance(data, table.Images) else 3
    shrink = jax.jit(lambda images: views_lib.for_evaluation(
        images, spec, self._share(data))[..., :channels])
    return self._map(lambda images: np.asarray(shrink(images)).reshape(
        len(images), -1), data, rows, size * size * channels)

  def readable(self, data: table.Data, rows: np.ndarray) -> np.ndarray:
    """Decodes each image once; returns the rows int [m] that can be read."""
    if isinstance(data, table.Encoded):
      _, known = self._looked_at.get(id(data), (data, rows[:0]))
      self._map(lambda images: images[:, 0, 0, :1].astype(np.float32),
                data, np.setdiff1d(rows, known), 1)
      self._looked_at[id(data)] = data, np.union1d(rows, known)
    return features_lib.readable(data, rows)

  def calibrate(self, networks: Any, data: table.Data, rows: np.ndarray) -> Any:
    """Gives an untrained network running statistics.

    The averages of batch normalization do not exist before the first training
    step; an untrained encoder gets them from forward passes alone.

    Returns:
      (params, state).
    """
    params, state = networks
    bad_images.share_bad(data)  # all processes make the same statistics
    for images, mask in self._images(data, features_lib.readable(data, rows),
                                     _CALIBRATION_BATCH):
      state = self._statistics(self._share(data), (params, state), images[mask])
    return params, state

  def _map(self, encode: Callable[[np.ndarray], np.ndarray], data: table.Data,
           rows: np.ndarray, size: int) -> Features:
    """Encodes each readable image by one process; x is [m, size]."""
    bad_images.share_bad(data)
    read = [np.zeros(0, bool)]
    x = [np.zeros((0, size), np.float32)]  # there may be no images
    with hosts.together('evaluation'):
      mine = hosts.my_part(features_lib.readable(data, rows), self.batch_size)
      for images, mask in self._images(
          data, mine, self.batch_size * jax.local_device_count()):
        read.append(mask)
        x.append(encode(images)[mask])
    bad_images.share_bad(data)
    mine = mine[np.concatenate(read)[:len(mine)]]  # without the padding
    return Features(hosts.gather(mine.astype(np.int32)).astype(np.int64),
                    hosts.gather(np.concatenate(x)))

  def _share(self, data: table.Data) -> float:
    """Returns the share of an image that the device cuts out."""
    return self.center_share if isinstance(data, table.Images) else _CROPPED

  def _images(self, data: table.Data, rows: np.ndarray,
              size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields uint8 [b, H, W, C], b <= size, and a mask of the readable, bool [b].

    Images in memory come whole. Encoded ones are cropped and resized already, and the
    last batch is padded to b = size.
    """
    if isinstance(data, table.Images):
      for start in range(0, len(rows), size):
        images = data.images[rows[start:start + size]]
        yield images, np.ones(len(images), bool)
    else:
      for batch in stream.eval_batches(
          data, batch_size=size, image_size=self.spec.image_size,
          center_share=self.center_share, rows=rows, threads=self.threads):
        yield batch['images'], batch['mask']


def subset(num_images: int, most: int, seed: int) -> np.ndarray:
  """Chooses at most `most` images by the seed; returns rows int64 [n], ascending."""
  if num_images <= most:
    return np.arange(num_images)
  chosen = np.random.RandomState(seed).permutation(num_images)[:most]
  return np.sort(chosen)
