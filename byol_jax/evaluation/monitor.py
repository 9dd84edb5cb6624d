"""What is measured every so often during a run: collapse, and k-NN."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from byol_jax import diagnostics
from byol_jax import hosts
from byol_jax import parallel
from byol_jax import step as step_lib
from byol_jax.evaluation import encode
from byol_jax.evaluation import report
from byol_jax.evaluation import splits
from byol_jax.networks.model import Model

Batches = Callable[[np.ndarray], Iterator[dict[str, np.ndarray]]]
MakeViews = Callable[[Any, jax.Array, dict[str, jax.Array]], jax.Array]


class Monitor:
  """Measures the state of a run, always on the same images and views."""

  def __init__(self, model: Model, encoder: encode.Encoder, shared: Any,
               make_views: MakeViews, batches: Batches,
               split: splits.Split | None, *, examples: int, k: int,
               temperature: float, seed: int):
    """Builds it.

    Args:
      model: networks built with axis_name=None.
      encoder: for the k-NN.
      shared: what lives on the devices.
      make_views: (shared, step, batch) -> views [2, n, S, S, 3].
      batches: (int32 [n], which of the examples) -> their images, in batches
        with leaves [b, ...].
      split: the images of the k-NN; None without labels.
      examples: how many there are for the collapse measures.
      k: its neighbours.
      temperature: of their votes.
      seed: of what is chosen at random.
    """
    self._shared = shared
    self._batches = batches
    self._examples = np.arange(examples, dtype=np.int32)
    self._encoder = encoder
    self._split = split
    self._knn = dict(k=k, temperature=temperature, seed=seed)

    def outputs(networks_and_shared, batch):
      (online, target), shared = networks_and_shared
      views = make_views(shared, jnp.int32(0), batch)
      one = step_lib.features(*online, views[0], model)
      two = step_lib.features(*online, views[1], model)
      (goal, _) = model.target.apply(*target, views[1], False)
      return one.features, one.projection, two.projection, one.prediction, (
          goal.projection)

    self._outputs = parallel.map_batches(outputs)

  def __call__(
      self, state: step_lib.TrainState,
  ) -> tuple[dict[str, float], str | None]:
    """Measures.

    Args:
      state: of the run.

    Returns:
      Figures by name (see `diagnostics.collapse_measures`; 'knn_top1' in
      percent where there are labels), and a warning if they say collapse.
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
    warning = diagnostics.collapse_warning(
        figures, num_examples=len(outputs[0]),
        feature_size=outputs[0].shape[-1], projection_size=outputs[1].shape[-1])
    finite = all(np.isfinite(x).all() for x in outputs)
    if self._split is not None and finite:
      near, _ = report.measure(
          lambda *images: self._encoder(online, *images), self._split,
          with_linear=False, **self._knn)
      figures |= near
    return figures, warning
