"""Fine-tuning: encoder and classifier learn from all or from a few labels.

The paper's semi-supervised protocol (appendix C.2): random crops and flips, SGD with
Nesterov momentum 0.9, no regularization, learning rate and epochs chosen from a
grid on training images that are held out. Weight decay is in the grid for transfer
(appendix D.3). Batch normalization uses the statistics of the global batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import itertools
import logging
import threading
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from byol_jax.data.feed import feed as feed_lib
from byol_jax.data.sources import table
from byol_jax.data.sources.table import Images
from byol_jax.devices import grid as grid_lib
from byol_jax.devices import mapped
from byol_jax.devices import prefetch as prefetch_lib
from byol_jax.errors import UserError
from byol_jax.evaluation import checks
from byol_jax.evaluation import crops
from byol_jax.evaluation import scores as scores_lib
from byol_jax.evaluation import splits
from byol_jax.evaluation import stages as stages_lib
from byol_jax.evaluation.features import Features
from byol_jax.evaluation.scores import Classifier
from byol_jax.methods import losses
from byol_jax.networks import norm
from byol_jax.run import console as console_lib
from byol_jax.training import build
from byol_jax.training import optim
from byol_jax.views import make as views_lib

_console = logging.getLogger('byol_jax')

PAPER_BATCH = 1024
PAPER_STEPS = 12  # an epoch, of 1 % of ImageNet: smaller data gets smaller batches,
SMALLEST_BATCH = 16  # but not so small that its statistics mean nothing


class _State(NamedTuple):
  """Of one training run."""
  step: jax.Array
  params: Any          # (encoder, head)
  statistics: hk.State
  momentum: optax.OptState


def fit(
    data: table.Data,
    networks: Any,
    network_config: ml_collections.ConfigDict,
    encode: Callable[[Any, table.Data, np.ndarray], Features],
    spec: views_lib.ViewSpec,
    *,
    num_classes: int,
    learning_rates: Sequence[float],
    epochs: Sequence[float],
    weight_decays: Sequence[float],
    encoder_rate: float,
    batch_size: int,
    holdout_fraction: float,
    metric: str,
    seed: int,
    stages: stages_lib.Stages,
    threads: int = 0,
    name: str = '',
) -> tuple[Classifier, Any]:
  """Trains for every point of the grid, and once more for the best one.

  Args:
    data: the labelled images.
    networks: (params, state) of the encoder to start from.
    network_config: the config of the run that it comes from, for its architecture.
    encode: (networks, data, rows) -> features, in inference mode: `Encoder`.
    spec: of the crops.
    num_classes: C.
    learning_rates: a cosine from each to 0; not scaled with the batch.
    epochs: passes over the images.
    weight_decays: of weights, not of biases and normalization.
    encoder_rate: the encoder's learning rate over that of the classifier.
    batch_size: global; 0: the paper's 1024, or for few images the power of 2 that
      makes at least 12 steps an epoch, as the paper's 1 % of ImageNet, and at least
      16. Of fewer images than that the largest power of 2.
    holdout_fraction: share of every class of the images that chooses.
    metric: one of `scores.METRICS`, that chooses.
    seed: of order, crops, held-out part and the classifier's initial weights.
    stages: what was done in an earlier session.
    threads: that decode.
    name: of this training among the stages.

  Returns:
    The classifier of features [M, D], chosen: 'learning_rate', 'epochs' and
    'weight_decay'; and (params, state) of the encoder that was trained with it.

  Raises:
    UserError: there is nothing to choose on, all points of the grid diverge, or the
      devices cannot share a batch.
  """
  labels = np.asarray(data.labels)
  checks.check_classes(labels)
  grid = [dict(learning_rate=rate, epochs=e, weight_decay=decay)
          for rate, e, decay in itertools.product(*(
              dict.fromkeys(map(float, x))  # each once, in the user's order
              for x in (learning_rates, epochs, weight_decays)))]
  train = _Trainer(data, networks, network_config, spec, num_classes=num_classes,
                   encoder_rate=encoder_rate, batch_size=batch_size, seed=seed,
                   stages=stages, threads=threads)

  def logits(head, x):
    return x @ np.asarray(head['w']) + np.asarray(head['b'])

  chosen, figures = grid[0], {}
  if len(grid) > 1:
    kept, held_out = splits.holdout_rows(labels, holdout_fraction, seed)
    if not len(held_out):
      raise UserError('config section finetune has several values to choose from, '
                      'but no class has two training images: list one of each')
    others = table.take(data, held_out)
    qualities = []
    for point in grid:
      label = ', '.join(f'{key} {value:g}' for key, value in point.items())
      def try_it(point=point, label=label):
        (encoder, head), statistics = train(kept, f'{name}{label}', **point)
        rows, x = encode((encoder, statistics), others, np.arange(len(held_out)))
        figure, likely = scores_lib.quality(
            metric, logits(head, x), others.labels[rows])
        return figure, likely if np.isfinite(likely) else None  # JSON has no inf
      figure, likely = stages.once(
          f'{name}{label}, {len(kept)} images', try_it)
      qualities.append(scores_lib.Quality(
          figure, -np.inf if likely is None else likely))
      figures[label] = figure
      _console.info('%s%s: %.2f %% of the held-out images', name, label, figure)
    chosen = grid[scores_lib.best(qualities, 'finetune.learning_rates')]
  (encoder, head), statistics = train(
      np.arange(len(labels)), f'{name}final', **chosen)

  return Classifier(lambda x: logits(head, x), chosen, {
      'method': 'fine-tuning of encoder and linear classifier, SGD with Nesterov '
                'momentum 0.9',
      'labelled_images': len(labels),
      'batch_size': train.batch_of(len(labels)),
      'grid': {'learning_rates': list(learning_rates), 'epochs': list(epochs),
               'weight_decays': list(weight_decays)},
      'learning_rate_is': 'of the first step; cosine to 0',
      'encoder_rate': encoder_rate,
      'chosen': chosen,
      'chosen_on': (
          f'{len(held_out)} held-out training images, stratified; between equals by '
          'their cross-entropy' if figures else 'nothing: one of each given'),
      f'held_out_{metric}': figures,
      'statistics': 'of the global batch; running averages for evaluation',
      'seed': seed,
      'num_classes': num_classes,
  }), (encoder, statistics)


class _Trainer:
  """Trains from the same beginning again and again."""

  def __init__(self, data: table.Data, networks: Any,
               network_config: ml_collections.ConfigDict, spec: views_lib.ViewSpec, *,
               num_classes: int, encoder_rate: float, batch_size: int, seed: int,
               stages: stages_lib.Stages, threads: int):
    self._data, self._networks, self._config = data, networks, network_config
    self._spec = spec._replace(recipes=(crops.CROPS_AND_FLIPS,))
    self._num_classes, self._encoder_rate = num_classes, encoder_rate
    self._batch_size, self._seed = batch_size, seed
    self._stages, self._threads = stages, threads
    self._momentum = optax.trace(0.9, nesterov=True)
    self._compiled = {}  # by batch: compiling takes longer than many a training

  def batch_of(self, num_images: int) -> int:
    """The global batch, whatever the devices: they change no figure."""
    def power_of_2(most: float) -> int:
      return 2 ** int(np.log2(max(most, 1)))
    batch = self._batch_size or min(
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

  def __call__(self, rows: np.ndarray, name: str, *, learning_rate: float,
               epochs: float, weight_decay: float) -> Any:
    """((encoder, head), statistics) after a run on some of the images."""
    data, num_images = self._data, len(rows)
    batch = self.batch_of(num_images)
    total = max(int(epochs * num_images // batch), 1)
    if batch not in self._compiled:
      self._compiled[batch] = mapped.pmap_update(self._update(batch))
    update = self._compiled[batch]

    encoder, statistics = self._networks
    width = jax.tree.leaves(encoder)[0].dtype
    size = build.make_model(self._config, 0, None).feature_size
    w = jax.random.truncated_normal(
        jax.random.PRNGKey(self._seed), -2, 2, (size, self._num_classes), width)
    params = (encoder, {'w': w / np.sqrt(size),
                        'b': jnp.zeros(self._num_classes, width)})
    state = _State(np.zeros((), np.int32), params, statistics,
                   self._momentum.init(params))
    state = jax.tree.map(np.asarray, state)

    shared = {'key': jax.random.PRNGKey(self._seed), 'total': np.float32(total),
              'rate': np.float32(learning_rate),
              'decay': np.float32(weight_decay)}
    if isinstance(data, Images):
      shared |= {'images': data.images, 'labels': data.labels}
    shared = mapped.replicate(shared)
    grid = grid_lib.local_example_grid(batch, 1)[:, 0]
    with self._stages.opened(f'{name}, {total} steps of {batch}') as stage:
      start, state = stage.restore(state)
      state = mapped.replicate(state)
      stop = threading.Event()
      feed = feed_lib.make(
          table.take(self._data, rows), self._spec.crop._replace(num_views=1),
          seed=self._seed, batch_size=batch, threads=self._threads)
      batches = prefetch_lib.prefetch(self._on_the_devices(
          rows, feed.batches(start, total - start, grid, stop)), stop=stop)
      bar = console_lib.Progress(name, (total - start) * batch)
      try:
        for step, fed in enumerate(batches, start + 1):
          state, _ = update(state, shared, fed)
          if step % 8 == 0:  # what runs ahead holds memory
            jax.block_until_ready(state.step)
          stage.save(step, state, last=step == total)
          bar.add(batch)
      finally:
        batches.close()
        bar.close()
    return jax.tree.map(np.asarray, (state.params, state.statistics))

  def _on_the_devices(self, rows: np.ndarray, batches):
    """Names resident images by their place among all, which the devices hold."""
    for batch in batches:
      if 'rows' in batch:
        batch['rows'] = rows[batch['rows']].astype(np.int32)
      yield batch

  def _update(self, batch_size: int):
    """update(state, shared, batch) -> (state, {}), to be mapped."""
    config = self._config.copy_and_resolve_references().unlock()
    # paper, appendix D.3: max(1 - 10 / s, 0.9) for s steps an epoch
    steps_per_epoch = max(table.size(self._data) / batch_size, 1.0)
    config.network.bn_decay_rate = max(1 - 10 / steps_per_epoch, 0.9)
    model = build.make_model(config, 0, mapped.AXIS)
    data, spec, encoder_rate = self._data, self._spec, self._encoder_rate
    decayed = lambda params: (optim.adapted(params[0]), {'w': True, 'b': False})

    def update(state, shared, batch):
      if isinstance(data, Images):
        images = views_lib.from_resident(shared['key'], state.step, shared['images'],
                                         batch, spec)[0]
        labels = shared['labels'][batch['rows']]
      else:
        images = views_lib.from_crops(shared['key'], state.step, batch, spec)[0]
        labels = batch['labels']

      def loss(params):
        encoder, head = params
        features, statistics = model.encoder.apply(
            encoder, state.statistics, images, True)
        logits = jnp.matmul(features, head['w'],
                            precision=jax.lax.Precision.HIGHEST) + head['b']
        return losses.cross_entropy(logits, labels), statistics

      grads, statistics = jax.grad(loss, has_aux=True)(state.params)
      grads = norm.average_over(grads, mapped.AXIS)
      grads = jax.tree.map(
          lambda g, p, is_decayed: g + shared['decay'] * p if is_decayed else g,
          grads, state.params, decayed(state.params))
      moves, momentum = self._momentum.update(grads, state.momentum)
      progress = state.step.astype(jnp.float32) / shared['total']
      rate = shared['rate'] * 0.5 * (1 + jnp.cos(jnp.pi * progress))
      rates = (rate * encoder_rate, rate)
      params = tuple(
          jax.tree.map(lambda p, m, r=r: p - r * m, p, m)
          for p, m, r in zip(state.params, moves, rates))
      return _State(state.step + 1, params, statistics, momentum), {}

    return update
