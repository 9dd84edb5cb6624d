"""Fine-tuning: encoder and classifier learn from all or from a few labels.

The paper's semi-supervised protocol (appendix C.2): random crops and flips, SGD with
Nesterov momentum 0.9, no regularization. Learning rate and epochs are chosen from a
grid on held-out training images. Weight decay is in the grid for transfer
(appendix D.3). Batch normalization uses the statistics of the global batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import functools
import itertools
import logging
from typing import Any, NamedTuple

import jax
import numpy as np

from byol_jax.data.sources import table
from byol_jax.errors import UserError
from byol_jax.evaluation import checks
from byol_jax.evaluation import crops
from byol_jax.evaluation import encode
from byol_jax.evaluation import scores as scores_lib
from byol_jax.evaluation import splits
from byol_jax.evaluation import stages as stages_lib
from byol_jax.evaluation import trainer
from byol_jax.evaluation.scores import Classifier
from byol_jax.networks.model import Model
from byol_jax.training import supervised

_console = logging.getLogger('byol_jax')

PAPER_BATCH = 1024
PAPER_STEPS = 12  # an epoch, of 1 % of ImageNet: smaller data gets smaller batches,
SMALLEST_BATCH = 16  # but not so small that its statistics mean nothing


class Grid(NamedTuple):
  """The values that are tried, and the values that all trials share.

  Attributes:
    learning_rates: a cosine from each to 0; not scaled with the batch.
    epochs: passes over the images.
    weight_decays: for weights, not for biases and normalization.
    encoder_rate: the encoder's learning rate over that of the classifier.
    batch_size: the global batch size. 0: the paper's 1024; for few images the power
      of 2 that makes at least 12 steps an epoch, as with the paper's 1 % of ImageNet,
      but at least 16; for fewer images than 16 the largest power of 2.
  """
  learning_rates: Sequence[float]
  epochs: Sequence[float]
  weight_decays: Sequence[float]
  encoder_rate: float = 1.0
  batch_size: int = 0

  def points(self) -> list[dict[str, float]]:
    """Returns each combination of the values once, in the user's order."""
    return [dict(learning_rate=rate, epochs=epochs, weight_decay=decay)
            for rate, epochs, decay in itertools.product(*(
                dict.fromkeys(map(float, x))
                for x in (self.learning_rates, self.epochs, self.weight_decays)))]

  def batch_of(self, num_images: int) -> int:
    """Returns the global batch size, which does not depend on the devices."""
    def power_of_2(most: float) -> int:
      return 2 ** int(np.log2(max(most, 1)))
    batch = self.batch_size or min(
        PAPER_BATCH, max(power_of_2(num_images / PAPER_STEPS), SMALLEST_BATCH))
    if batch > num_images:
      batch = power_of_2(num_images)
    devices = jax.device_count()
    if batch % devices:
      raise UserError(
          f'config key finetune.batch_size: {devices} devices cannot share the '
          f'batches of {batch} that {num_images} labelled images make: set a multiple '
          'of them, raise finetune.labels, or use fewer devices')
    return batch


def fit(
    data: table.Data,
    networks: Any,
    inference: encode.Inference,
    make_model: Callable[[float], Model],
    grid: Grid,
    choice: scores_lib.Choice,
    *,
    num_classes: int,
    stages: stages_lib.Stages,
    name: str = '',
) -> tuple[Classifier, Any]:
  """Trains for every point of the grid, and once more for the best one.

  Args:
    data: the labelled images.
    networks: (params, state) of the encoder to start from.
    inference: prepares images, and runs an encoder over held-out ones.
    make_model: decay rate of the running averages -> the networks, for use in a
      mapped function.
    grid: the values to try.
    choice: chooses the point.
    num_classes: C.
    stages: keep the work of earlier sessions.
    name: this training's name among the stages.

  Returns:
    The classifier of features [M, D], chosen: 'learning_rate', 'epochs' and
    'weight_decay'; and (params, state) of the encoder that was trained with it.

  Raises:
    UserError: there is nothing to choose on, all points of the grid diverge, or the
      devices cannot share a batch.
  """
  head = supervised.linear_head(
      inference.feature_size, num_classes, jax.tree.leaves(networks[0])[0].dtype,
      choice.seed)
  feed = crops.Feed(data, inference.spec, seed=choice.seed, threads=inference.threads)
  trained = trainer.Trainer(
      feed, networks, head, make_model, supervised.classification,
      encoder_rate=grid.encoder_rate, seed=choice.seed, stages=stages)
  labels = feed.labels

  def train(rows: np.ndarray, label: str, point: dict[str, float]) -> Any:
    return trained(rows, f'{name}{label}', batch_size=grid.batch_of(len(rows)), **point)

  checks.check_classes(labels)
  points, figures, chosen_on = grid.points(), {}, 'nothing: one of each given'
  chosen = points[0]
  if len(points) > 1:
    kept, held_out = splits.holdout_rows(
        labels, choice.holdout, choice.seed,
        'finetune.learning_rates, epochs or weight_decays')
    others = table.take(data, held_out)

    def quality(label: str, point: dict[str, float]) -> scores_lib.Quality:
      (params, head), statistics = train(kept, label, point)
      rows, x = inference((params, statistics), others, np.arange(len(held_out)))
      return scores_lib.quality(choice.metric, _logits(head, x), others.labels[rows])

    chosen, figures = _choose(points, quality, len(kept), stages, name)
    chosen_on = (f'{len(held_out)} held-out training images, stratified; between '
                 'equals by their cross-entropy')
  (params, head), statistics = train(np.arange(len(labels)), 'final', chosen)

  return Classifier(functools.partial(_logits, head), chosen, {
      'method': 'fine-tuning of encoder and linear classifier, SGD with Nesterov '
                'momentum 0.9',
      'labelled_images': len(labels),
      'batch_size': grid.batch_of(len(labels)),
      'grid': {'learning_rates': list(grid.learning_rates),
               'epochs': list(grid.epochs),
               'weight_decays': list(grid.weight_decays)},
      'learning_rate_is': 'of the first step; cosine to 0',
      'encoder_rate': grid.encoder_rate,
      'chosen': chosen,
      'chosen_on': chosen_on,
      f'held_out_{choice.metric}': figures,
      'statistics': 'of the global batch; running averages for evaluation',
      'seed': choice.seed,
      'num_classes': num_classes,
  }), (params, statistics)


def _logits(head: Any, x: np.ndarray) -> np.ndarray:
  """Returns logits [n, C] for features [n, D]."""
  return x @ np.asarray(head['w']) + np.asarray(head['b'])


def _choose(points: Sequence[dict[str, float]],
            quality: Callable[[str, dict[str, float]], scores_lib.Quality],
            num_kept: int, stages: stages_lib.Stages, name: str,
            ) -> tuple[dict[str, float], dict[str, float]]:
  """Returns the best point on held-out images, and the figure of each point."""
  def try_it(label: str, point: dict[str, float]) -> tuple[float, float | None]:
    figure, likely = quality(label, point)
    return figure, likely if np.isfinite(likely) else None  # JSON has no inf

  qualities, figures = [], {}
  for point in points:
    label = ', '.join(f'{key} {value:g}' for key, value in point.items())
    figure, likely = stages.once(f'{name}{label}, {num_kept} images',
                                 functools.partial(try_it, label, point))
    qualities.append(scores_lib.Quality(figure, -np.inf if likely is None else likely))
    figures[label] = figure
    _console.info('%s%s: %.2f %% of the held-out images', name, label, figure)
  return points[scores_lib.best(qualities, 'finetune.learning_rates')], figures
