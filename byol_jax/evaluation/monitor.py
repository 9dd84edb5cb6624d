"""Measures collapse and k-NN accuracy now and then during a run.

It uses training images alone: if people choose a checkpoint by these figures, they must
not have chosen it on the test images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from byol_jax import wording
from byol_jax.data.sources import table
from byol_jax.devices import hosts
from byol_jax.devices import mapped
from byol_jax.evaluation import encode
from byol_jax.evaluation import knn
from byol_jax.evaluation import scores
from byol_jax.methods.method import Method
from byol_jax.networks.model import Model
from byol_jax.training import diagnostics
from byol_jax.training import step as step_lib
from byol_jax.views.make import Views

Batches = Callable[[np.ndarray], Iterator[dict[str, np.ndarray]]]
MakeViews = Callable[[Any, jax.Array, dict[str, jax.Array]], Views]


_QUERIES = 512  # at most; enough for accuracies within about two points


class Neighbours:
  """k-NN accuracy on some training images, against others."""

  def __init__(self, inference: encode.Inference, train: table.Data, *, examples: int,
               voting: knn.Voting, seed: int):
    """Chooses the images.

    Args:
      inference: runs networks over images.
      train: labelled training images, two or more.
      examples: how many neighbours to choose from; no more are queries.
      voting: how neighbours vote.
      seed: the seed of the choice.
    """
    self._inference, self._train = inference, train
    num_queries = min(_QUERIES, examples, train.size // 2)
    self._rows = encode.subset(train.size, examples + num_queries, seed)
    self._is_query = np.isin(np.arange(len(self._rows)), encode.subset(
        len(self._rows), num_queries, seed + 1))
    self._voting = voting
    self.description = (
        f'{wording.count(num_queries, "training image")} against '
        f'{wording.count(len(self._rows) - num_queries, "other")}, '
        f'k {min(voting.k, len(self._rows) - num_queries)}')

  def top1(self, networks: Any) -> float | None:
    """Returns the accuracy in percent; None if too many images cannot be read."""
    rows, x = self._inference(networks, self._train, self._rows)
    labels = np.asarray(self._train.labels[rows])
    asked = self._is_query[np.isin(self._rows, rows)]
    if asked.all() or not asked.any():
      return None
    classifier = knn.fit(
        x[~asked], labels[~asked], self._voting,
        num_classes=table.num_classes(self._train))
    return scores.top_k_accuracy(
        classifier.scores(x[asked]), labels[asked], 1)


class Monitor:
  """Measures the state of a run, always on the same images and views."""

  def __init__(self, model: Model, method: Method, shared: Any,
               make_views: MakeViews, batches: Batches,
               neighbours: Neighbours | None, *, examples: int):
    """Builds the monitor.

    Args:
      model: networks built with axis_name=None.
      method: says whether there is a target network.
      shared: the arrays that live on the devices.
      make_views: (shared, step, batch) -> `Views`.
      batches: (int32 [n], the examples) -> their images, in batches with leaves
        [b, ...].
      neighbours: the k-NN; None without labels.
      examples: the number of examples for the collapse measures.
    """
    self._shared = shared
    self._batches = batches
    self._examples = np.arange(examples, dtype=np.int32)
    self._neighbours = neighbours

    def outputs(networks_and_shared, batch):
      (online, target), shared = networks_and_shared
      views = make_views(shared, jnp.int32(0), batch).images
      n = views.shape[1]
      # one pass: with running statistics the views do not meet
      both = views[:2].reshape(-1, *views.shape[2:])
      features, projection, prediction, _ = step_lib.evaluated(*online, both, model)
      goal = projection[n:]
      if method.target_views:
        goal = model.target.apply(*target, views[1], False)[0].projection
      return features[:n], projection[:n], projection[n:], prediction[:n], goal

    self._outputs = mapped.map_batches(outputs)

  def __call__(
      self, state: step_lib.TrainState,
  ) -> tuple[dict[str, float], str | None]:
    """Measures a state.

    Args:
      state: the run's state.

    Returns:
      Figures by name (see `diagnostics.collapse_measures`; with labels 'knn_top1' in
      percent, of training images), and a warning if they show collapse.
    """
    online = (state.online_params, state.online_state)
    target = (state.target_params, state.target_state)
    mine = hosts.my_part(self._examples)
    with hosts.together('evaluation'):
      parts = [self._outputs(((online, target), self._shared), batch)
               # a process without a part computes one for its shape
               for batch in self._batches(mine if len(mine) else self._examples)]
    outputs = [hosts.gather(np.concatenate(arrays)[:len(mine)])
               for arrays in zip(*parts)]
    figures = diagnostics.collapse_measures(*outputs)
    if not any(name.startswith('predictor/') for name in state.online_params):
      del figures['predictor_explained']
    warning = diagnostics.collapse_warning(
        figures, num_examples=len(outputs[0]),
        feature_size=outputs[0].shape[-1], projection_size=outputs[1].shape[-1])
    finite = all(np.isfinite(x).all() for x in outputs)
    top1 = self._neighbours.top1(online) if self._neighbours and finite else None
    return figures | ({} if top1 is None else {'knn_top1': top1}), warning
