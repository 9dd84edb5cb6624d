"""Runs encoders over data sets: features for every evaluation."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from byol_jax.data.feed import stream
from byol_jax.data.sources import table
from byol_jax.data.sources.table import Encoded
from byol_jax.data.sources.table import Images
from byol_jax.devices import hosts
from byol_jax.devices import mapped
from byol_jax.networks.model import Model
from byol_jax.run import bad_images
from byol_jax.views import make as views_lib

_CALIBRATION_BATCH = 256


def subset(num_images: int, most: int, seed: int) -> np.ndarray:
  """At most `most` of the images, chosen by the seed, ascending: int64 [n]."""
  if num_images <= most:
    return np.arange(num_images)
  chosen = np.random.RandomState(seed).permutation(num_images)[:most]
  return np.sort(chosen)


def usable(data: table.Data, rows: np.ndarray) -> np.ndarray:
  """The rows without the images that are known to be bad."""
  if not data.bad:
    return rows
  return rows[[row not in data.bad for row in rows.tolist()]]


def features_of(model: Model, spec: views_lib.ViewSpec,
                share: float) -> Callable[[Any, jax.Array], jax.Array]:
  """The pure (networks, uint8 images) -> features, in inference mode.

  Args:
    model: networks built with axis_name=None.
    spec: size and normalization of the images.
    share: the central crop's share of the shorter side.
  """
  def encode(networks, images):
    images = views_lib.for_evaluation(images, spec, share)
    features, _ = model.encoder.apply(*networks, images, False)
    return features
  return encode


class Encoder:
  """An encoder in inference mode over data sets, on the devices of all processes.

  Each process takes a part of the images; every image counts once. A device
  always takes the same number of images at a time, which images share a call
  does not depend on the devices, and so features do not, to the bit.
  """

  def __init__(self, model: Model, spec: views_lib.ViewSpec, *,
               center_share: float, batch_size: int, threads: int = 0):
    """Builds it.

    Args:
      model: networks built with axis_name=None.
      spec: size and normalization of the images.
      center_share: the central crop's share of the shorter side.
      batch_size: images a device and call.
      threads: that decode; 0 for one a core.
    """
    self.feature_size = model.feature_size
    self._spec = spec
    self._center_share = center_share
    self._batch_size = batch_size
    self._threads = threads

    def statistics(share, networks, images):
      params, state = networks
      images = views_lib.for_evaluation(images, spec, share)
      _, new = model.encoder.apply(params, state, images, True)
      return dict(state) | dict(new)

    # The host crops encoded images itself, by the same rule.
    self._share = {Images: center_share, Encoded: 1.0}
    self._encode = {
        kind: mapped.map_batches(features_of(model, spec, share), batch_size)
        for kind, share in self._share.items()}
    self._statistics = jax.jit(statistics, static_argnums=0)

  def __call__(self, networks: Any, data: table.Data,
               rows: np.ndarray) -> np.ndarray:
    """Encodes images.

    Args:
      networks: (params, state) of the encoder, replicated; heads do not matter.
      data: where the images are.
      rows: int [n], which ones.

    Returns:
      Features float32 [n, D], without those of bad images: `usable` knows
      afterwards which those are.
    """
    encode = self._encode[type(data)]
    return self._map(lambda images: encode(networks, images), data, rows,
                     self.feature_size)

  def _map(self, encode: Callable[[np.ndarray], np.ndarray], data: table.Data,
           rows: np.ndarray, size: int) -> np.ndarray:
    """float32 [n, size] of the usable images, each encoded by one process."""
    bad_images.share_bad(data)
    features = [np.zeros((0, size), np.float32)]  # there may be nothing to do
    with hosts.together('evaluation'):
      mine = hosts.my_part(usable(data, rows), self._batch_size)
      features += [encode(images)[mask] for images, mask in self._images(
          data, mine, self._batch_size * jax.local_device_count())]
    bad_images.share_bad(data)
    return hosts.gather(np.concatenate(features))

  def look(self, data: table.Data, rows: np.ndarray) -> None:
    """Decodes images once, so that `usable` knows which of them are bad."""
    if isinstance(data, Encoded):
      self._map(lambda images: images[:, 0, 0, :1].astype(np.float32), data, rows, 1)

  def calibrate(self, networks: Any, data: table.Data, rows: np.ndarray) -> Any:
    """Gives an untrained network running statistics.

    The averages of batch normalization do not exist before the first training
    step; an untrained encoder gets them from forward passes alone.

    Returns:
      (params, state).
    """
    params, state = networks
    bad_images.share_bad(data)  # all processes make the same statistics
    for images, mask in self._images(data, usable(data, rows), _CALIBRATION_BATCH):
      state = self._statistics(self._share[type(data)], (params, state),
                               images[mask])
    return params, state

  def _images(self, data: table.Data, rows: np.ndarray,
              size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields uint8 [b, H, W, C], b <= size, and which could be read, bool [b].

    Images in memory come whole; encoded ones are cropped and resized already.
    """
    if isinstance(data, Images):
      for start in range(0, len(rows), size):
        images = data.images[rows[start:start + size]]
        yield images, np.ones(len(images), bool)
    else:
      for batch in stream.eval_batches(
          data, batch_size=size, image_size=self._spec.image_size,
          center_share=self._center_share, rows=rows, threads=self._threads):
        yield batch['images'], batch['mask']

  def pixels(self, data: table.Data, rows: np.ndarray, size: int) -> np.ndarray:
    """The images themselves as features: the baseline of every encoder.

    Returns:
      float32 [n, size * size * channels] in [0, 1], cropped and left out as
      the rest.
    """
    spec = self._spec._replace(image_size=size, mean=(0,) * 3, std=(1,) * 3)
    channels = data.images.shape[-1] if isinstance(data, Images) else 3
    shrink = jax.jit(lambda images: views_lib.for_evaluation(
        images, spec, self._share[type(data)])[..., :channels])
    return self._map(lambda images: np.asarray(shrink(images)).reshape(
        len(images), -1), data, rows, size * size * channels)
