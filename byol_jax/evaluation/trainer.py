"""Trains an encoder and a head on random crops, and goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable
import functools
import threading
from typing import Any

import jax
import numpy as np

from byol_jax.data.sources import table
from byol_jax.devices import grid as grid_lib
from byol_jax.devices import mapped
from byol_jax.devices import prefetch as prefetch_lib
from byol_jax.evaluation import crops
from byol_jax.evaluation import encode
from byol_jax.evaluation import stages as stages_lib
from byol_jax.networks.model import Model
from byol_jax.run import console as console_lib
from byol_jax.training import supervised


class Trainer:
  """Trains repeatedly from the same initial networks.

  Attributes:
    labels: int32 [N], the images' labels.
  """

  def __init__(self, data: table.Data, networks: Any, head: Any,
               encoder: encode.Encoder, make_model: Callable[[float], Model],
               loss: supervised.Loss, *, encoder_rate: float, seed: int,
               stages: stages_lib.Stages):
    """Builds the trainer.

    Args:
      data: labelled images.
      networks: (params, state) of the encoder to start from.
      head: the parameters of the loss to start from.
      encoder: says how images are prepared.
      make_model: see `finetune.fit`.
      loss: is minimised.
      encoder_rate: the encoder's learning rate over that of the head.
      seed: the seed of order and crops.
      stages: keep the work of earlier sessions.
    """
    self._feed = crops.Feed(data, encoder.spec, seed=seed, threads=encoder.threads)
    self.labels = self._feed.labels
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
    steps_per_epoch = max(len(self.labels) / batch_size, 1.0)
    model = self._make_model(max(1 - 10 / steps_per_epoch, 0.9))
    feed, loss, encoder_rate = self._feed, self._loss, self._encoder_rate

    def update(state, shared, batch):
      images = feed.views(shared, shared['key'], state.step, batch)
      labels = feed.labels_of(shared.get('labels'), batch)
      return supervised.update(
          state, images, labels, shared['rates'], encode=model.encoder.apply,
          loss=loss, encoder_rate=encoder_rate, axis_name=mapped.AXIS), {}

    return update
