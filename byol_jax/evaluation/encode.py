"""Runs networks over data sets: features for every evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from byol_jax import parallel
from byol_jax import step as step_lib
from byol_jax import views
from byol_jax.data import pipeline
from byol_jax.data.sources import Encoded
from byol_jax.data.sources import Images
from byol_jax.networks.model import Model

Data = Images | Encoded


def size(data: Data) -> int:
  """Number of images."""
  return len(data.images) if isinstance(data, Images) else data.size


def subset(num_images: int, most: int, seed: int) -> np.ndarray:
  """At most `most` of the images, chosen by the seed, ascending: int64 [n]."""
  if num_images <= most:
    return np.arange(num_images)
  chosen = np.random.RandomState(seed).permutation(num_images)[:most]
  return np.sort(chosen)


def image_batches(data: Data, rows: np.ndarray, batch_size: int,
                  image_size: int, center_share: float,
                  threads: int) -> Iterator[np.ndarray]:
  """Yields uint8 [b, H, W, C], the images `rows` in order.

  Images in memory come whole; encoded ones are cropped and resized already.
  """
  if isinstance(data, Images):
    for start in range(0, len(rows), batch_size):
      yield data.images[rows[start:start + batch_size]]
  else:
    for batch in pipeline.eval_batches(
        data, batch_size=batch_size, image_size=image_size,
        center_share=center_share, rows=rows, threads=threads):
      yield batch['images'][batch['mask']]


class Encoder:
  """The online network in inference mode, over this process's devices."""

  def __init__(self, model: Model, spec: views.ViewSpec, center_share: float,
               batch_size: int, threads: int = 0):
    """Builds it.

    Args:
      model: networks built with axis_name=None.
      spec: size and normalization of the images.
      center_share: of the central crop.
      batch_size: images a call.
      threads: that decode.
    """
    self._spec = spec
    self._center_share = center_share
    self._batch_size = batch_size
    self._threads = threads

    def prepare(images):
      # what the host has cropped (encoded sources) has its final size
      final = images.shape[1:3] == (spec.image_size, spec.image_size)
      return views.for_evaluation(
          images, spec, 1.0 if final and not self._in_memory else center_share)

    def encode(networks, images):
      outputs = step_lib.features(*networks, prepare(images), model)
      return outputs.features

    def statistics(networks, images):
      params, state = networks
      _, state = model.online.apply(params, state, prepare(images), True)
      return state

    self._in_memory = True
    self._encode = {
        in_memory: parallel.map_batches(encode) for in_memory in (True, False)}
    self._statistics = jax.jit(statistics)

  def __call__(self, networks: Any, data: Data,
               rows: np.ndarray) -> np.ndarray:
    """Encodes images.

    Args:
      networks: (params, state) of the online network.
      data: where the images are.
      rows: int [n], which ones.

    Returns:
      Features float32 [n, D].
    """
    self._in_memory = isinstance(data, Images)
    encode = self._encode[self._in_memory]
    return np.concatenate([
        encode(networks, images) for images in self._images(data, rows)])

  def calibrate(self, networks: Any, data: Data, rows: np.ndarray) -> Any:
    """Gives an untrained network running statistics.

    The averages of batch normalization do not exist before the first training
    step; an untrained encoder gets them from forward passes alone.

    Returns:
      (params, state).
    """
    self._in_memory = isinstance(data, Images)
    params, state = networks
    for images in self._images(data, rows):
      state = self._statistics((params, state), jnp.asarray(images))
    return params, state

  def _images(self, data: Data, rows: np.ndarray) -> Iterator[np.ndarray]:
    return image_batches(data, rows, self._batch_size, self._spec.image_size,
                         self._center_share, self._threads)


Outputs = Callable[[Any, dict[str, np.ndarray]], Any]
