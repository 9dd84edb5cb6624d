"""The contract between the train step and a method of self-supervised learning.

The step (`training/step.py`) knows no method's name. It makes the views, runs the
networks that the method asks for, differentiates the method's loss and lets the
target follow. Order, augmentation machinery, optimizer, accumulation, probe,
evaluation and checkpoints are the same for all methods.

A method is one file that ends in `make(settings) -> Method`, and a line in names.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from byol_jax.networks.model import Outputs

Carried = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


class Pass(NamedTuple):
  """The outputs of the networks for one sub-batch.

  Attributes:
    online: fields [V, n, .], float32 (or wider), in the order of
      `Method.online_views`. Gradients flow through it.
    target: likewise for `Method.target_views`; None where no target runs.
  """
  online: Outputs
  target: Outputs | None


class Settings(NamedTuple):
  """The values that a method is made with; each one reads what it needs.

  Attributes:
    examples: images of a sub-batch, of all devices together.
    projection_size: P, of a projection.
    target: what a prediction is compared with: 'ema', the target network's moving
      average; 'online', the same network; 'stopped', that without its gradient.
    beta: weight of the negatives.
    optimal_predictor: whether the predictor is the best linear map of the batch.
    temperature: of the similarities between images.
    queue: K, keys of earlier batches.
    symmetric: whether each view is a query once.
    jigsaw: weight of the jigsaw's loss.
    shuffle: whether the target network sees the examples in another order.
  """
  examples: int = 4096
  projection_size: int = 256
  target: str = 'ema'
  beta: float = 0.0
  optimal_predictor: bool = False
  temperature: float = 0.1
  queue: int = 65_536
  symmetric: bool = False
  jigsaw: float = 0.0
  shuffle: bool = False


DEFAULTS = Settings()


class Meaning(NamedTuple):
  """The range of the logged loss, for people.

  Attributes:
    low: the lowest possible value.
    high: the highest possible value; None without a bound.
    chance: the value for outputs that do not depend on the images; None where the
      range says enough.
  """
  low: float
  high: float | None = None
  chance: float | None = None

  def __str__(self) -> str:
    """Returns '0..8', or 'chance 6.24'."""
    if self.chance is not None:
      return f'chance {self.chance:.2f}'
    return f'{self.low:g}..' + ('' if self.high is None else f'{self.high:g}')


def moving_average(target: Mapping[str, Any], online: Mapping[str, Any],
                   rate: jax.Array) -> Any:
  """Returns tau target + (1 - tau) online, leaf by leaf (BYOL, equation 1)."""
  return jax.tree.map(
      lambda t, o: t + rate.astype(t.dtype) * (o - t), target, online)


class Method(NamedTuple):
  """A method of self-supervised learning, as pure functions.

  Views are counted from 0. View 0 is augmented by the config's `augment.view1`, view 1
  by `augment.view2`. The step runs once for each sub-batch: statistics over a batch are
  those of a sub-batch.

  Attributes:
    title: the method's name, for people.
    online_views: the views that the online network sees.
    target_views: the views that the target network sees; () for no target.
    joint_statistics: whether batch normalization takes its statistics over all
      views of a pass together; else over each view by itself.
    loss: (outputs, carried, axis_name) -> (loss, metrics): this device's mean, a
      scalar, and scalars to log by names of their own. What compares an image with
      others, negatives or statistics, gathers them with `jax.lax.all_gather` over
      `axis_name`, and not where that is None. The step averages gradients over the
      devices, which makes the gradient through the gathering right.
    follow: (target, online, rate) -> target: the target's parameters after the
      optimizer's step, from the new online ones of the same modules; `rate` is
      1 - tau. By default `moving_average`; without a target it does nothing.
    meaning: the logged loss's range.
    note: what people may not expect of the loss.
    tiles: whether the online network sees the tiles of a jigsaw, too.
    shuffled: whether the target network sees the examples of a sub-batch in a random
      order, so that an image's two views are normalized beside different images
      (MoCo, section 3.3). It only matters with `network.bn_groups` > 1.
    init: key -> the arrays carried from step to step beside the networks, equal on
      all devices. {} adds nothing to a checkpoint.
    advance: (outputs, carried, axis_name) -> carried, after each sub-batch.
  """
  title: str
  online_views: tuple[int, ...]
  target_views: tuple[int, ...]
  joint_statistics: bool
  loss: Callable[[Pass, Carried, str | None], tuple[jax.Array, Metrics]]
  meaning: Meaning
  follow: Callable[[Any, Any, jax.Array], Any] = moving_average
  note: str = ''
  tiles: bool = False
  shuffled: bool = False
  init: Callable[[jax.Array], Carried] = lambda key: {}
  advance: Callable[[Pass, Carried, str | None], Carried] = (
      lambda outputs, carried, axis_name: carried)
