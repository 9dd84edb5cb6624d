"""Trains an encoder and a head on random crops, and goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import functools
import threading
from typing import Any, Protocol

import jax
import numpy as np

from byol_jax.devices import grid as grid_lib
from byol_jax.devices import mapped
from byol_jax.devices import prefetch as prefetch_lib
from byol_jax.evaluation import stages as stages_lib
from byol_jax.networks.model import Model
from byol_jax.run import console as console_lib
from byol_jax.training import supervised


class Feed(Protocol):
  """Images with what they are to be told apart by: `crops.Feed`, or pairs of them."""
  size: int  # examples of an epoch

  def shared(self) -> dict[str, np.ndarray]:
    """Returns the arrays for every device."""

  def batches(self, rows: np.ndarray, grid: np.ndarray, *, batch_size: int,
              start_step: int, num_steps: int, stop: threading.Event | None = None,
              ) -> Iterator[dict[str, Any]]:
    """Yields batches of the examples `rows`, int [n], as they travel."""

  def views(self, shared: dict[str, jax.Array], key: jax.Array, step: jax.Array,
            batch: dict[str, Any]) -> jax.Array:
    """Returns a device's normalized images float32 [n, S, S, 3]."""

  def targets(self, shared: dict[str, Any], batch: dict[str, Any]) -> Any:
    """Returns what the loss compares their features with."""


class Trainer:
  """Trains repeatedly from the same initial networks."""

  def __init__(self, feed: Feed, networks: Any, head: Any,
               make_model: Callable[[float], Model],
               loss: supervised.Loss, *, encoder_rate: float, seed: int,
               stages: stages_lib.Stages, freeze_statistics: bool = False):
    """Builds the trainer.

    Args:
      feed: the images.
      networks: (params, state) of the encoder to start from.
      head: the parameters of the loss to start from.
      make_model: see `finetune.fit`.
      loss: is minimised.
      encoder_rate: the encoder's learning rate over that of the head.
      seed: the seed of order and crops.
      stages: keep the work of earlier sessions.
      freeze_statistics: whether batch normalization uses the running averages that it
        has, which stay as they are; else it uses the batch's.
    """
    self._feed, self._is_training = feed, not freeze_statistics
    self._networks, self._head = networks, head
    self._make_model, self._loss, self._encoder_rate = make_model, loss, encoder_rate
    self._key, self._stages = jax.random.PRNGKey(seed), stages
    # by batch size: compiling may take longer than training
    self._compiled = functools.cache(
        lambda batch_size: mapped.pmap_update(self._update(batch_size)))

  def __call__(self, rows: np.ndarray, name: str, *, batch_size: int,
               learning_rate: float, epochs: float, weight_decay: float) -> Any:
    """Trains on some of the images.

    Args:
      rows: int [n], the images.
      name: this training's name among the stages.
      batch_size: the global batch size.
      learning_rate: the head's at the first step; a cosine takes it to 0.
      epochs: passes over the images.
      weight_decay: for weights, not for biases and normalization.

    Returns:
      ((encoder, head), statistics), host arrays.
    """
    total = max(int(epochs * len(rows) // batch_size), 1)
    update = self._compiled(batch_size)
    state = supervised.init(*self._networks, self._head)
    shared = mapped.replicate(self._feed.shared() | {
        'key': self._key, 'rates': supervised.Rates(
            *map(np.float32, (learning_rate, total, weight_decay)))})
    grid = grid_lib.local_example_grid(batch_size, 1)[:, 0]
    with self._stages.opened(f'{name}, {total} steps of {batch_size}') as stage:
      start, state = stage.restore(state)
      state = mapped.replicate(state)
      stop = threading.Event()
      batches = prefetch_lib.prefetch(self._feed.batches(
          rows, grid, batch_size=batch_size, start_step=start,
          num_steps=total - start, stop=stop), stop=stop)
      bar = console_lib.Progress(name, (total - start) * batch_size)
      try:
        for step, fed in enumerate(batches, start + 1):
          state, _ = update(state, shared, fed)
          if step % 8 == 0:  # steps that run ahead hold memory
            jax.block_until_ready(state.step)
          stage.save(step, state, last=step == total)
          bar.add(batch_size)
      finally:
        batches.close()
        bar.close()
    return jax.tree.map(np.asarray, (state.params, state.statistics))

  def _update(self, batch_size: int) -> Callable[..., Any]:
    """Makes update(state, shared, batch) -> (state, {}), to be mapped."""
    # paper, appendix D.3: max(1 - 10 / s, 0.9) for s steps an epoch
    steps_per_epoch = max(self._feed.size / batch_size, 1.0)
    model = self._make_model(max(1 - 10 / steps_per_epoch, 0.9))
    feed, loss, encoder_rate = self._feed, self._loss, self._encoder_rate
    is_training = self._is_training

    def encode(params, statistics, images, _):
      return model.encoder.apply(params, statistics, images, is_training)

    def update(state, shared, batch):
      images = feed.views(shared, shared['key'], state.step, batch)
      return supervised.update(
          state, images, feed.targets(shared, batch), shared['rates'], encode=encode,
          loss=loss, encoder_rate=encoder_rate, axis_name=mapped.AXIS), {}

    return update
