"""task=knn, linear_eval, logistic or finetune: measures how good an encoder is.

`weights` names the encoder, and gives its architecture, the preparation of images and,
if the config names no other data, the data.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from byol_jax import wording
from byol_jax.config import names as task_names
from byol_jax.data.sources import table
from byol_jax.devices import hosts
from byol_jax.devices import mapped
from byol_jax.errors import UserError
from byol_jax.evaluation import checks
from byol_jax.evaluation import confusion
from byol_jax.evaluation import figures as figures_lib
from byol_jax.evaluation import finetune
from byol_jax.evaluation import knn
from byol_jax.evaluation import linear
from byol_jax.evaluation import logistic
from byol_jax.evaluation import protocols
from byol_jax.evaluation import scores as scores_lib
from byol_jax.evaluation import splits
from byol_jax.evaluation import stages as stages_lib
from byol_jax.evaluation.subject import Subject
from byol_jax.networks.model import Model
from byol_jax.tasks import data as data_lib
from byol_jax.tasks import named as named_lib
from byol_jax.training import build

_console = logging.getLogger('byol_jax')

# the data sets whose own convention averages the accuracy over classes
_MEAN_PER_CLASS = ('fgvc_aircraft', 'oxford_iiit_pet', 'caltech101',
                   'oxford_flowers102')


class Measured(NamedTuple):
  """The results of one encoder with one seed."""
  figures: dict[str, Any]
  how: dict[str, Any]
  num_train: int
  by_class: dict[str, Any]


def run(config: ml_collections.ConfigDict, workdir: str | None, name: str) -> str:
  """Measures an encoder, and writes results.json.

  Args:
    config: a valid config, whose task is one of `names.MEASURING`.
    workdir: the place of the results; None: see `named_lib.load`.
    name: the config file's name.

  Returns:
    The folder that holds results.json.

  Raises:
    UserError: a mistake that the user can mend.
    TransientError: the machine or its storage failed.
  """
  named = named_lib.load(config, workdir, name)
  with hosts.together('data'):
    train, test = data_lib.open_data(named.data)
    _check(train, test, config)
    found = named_lib.facts(data=train, test=test)
  with named.opened(**found) as place:
    results = place.results()
    if results is not None:
      _console.info('measured before: %s', place.named('results.json'))
      _console.info('\n%s', figures_lib.table(config.task, results))
      return place.workdir
    _console.info('%s: %s of %s; %s', train.name,
                  wording.count(train.size, 'image'),
                  table.described_classes(train), 'no test part'
                  if test is None else f'{test.size} to test')
    stages = stages_lib.Stages(place.workdir, place.folder)
    results = _measure(named, train, test, stages)
    place.write_results(results)
    stages.remove()
    data_lib.tell_bad(train, test)
    _console.info('\n%s\n(%s)', figures_lib.table(config.task, results),
                  results['protocol']['images'])
    _console.info('results: %s', place.named('results.json'))
  return place.workdir


def _check(train: table.Data, test: table.Data | None,
           config: ml_collections.ConfigDict) -> None:
  """Raises UserError if there is nothing to measure."""
  task = config.task
  if train.labels is None:
    raise UserError(f'{train.name} has no labels, which task={task} takes; '
                    'task=embed and task=export work without, and collapse '
                    'measures are in metrics.jsonl')
  if isinstance(train.labels, np.ndarray):  # else they come with the images
    checks.check_classes(train.labels)
  if (task not in task_names.CHOOSING and test is not None
      and config.evaluation.seeds > 1):
    raise UserError(f'config key evaluation.seeds is {config.evaluation.seeds}: '
                    f'task={task} has nothing random, all would be the same; leave it '
                    'out')


def _measure(named: named_lib.Named, train: table.Data, test: table.Data | None,
             stages: stages_lib.Stages) -> dict[str, Any]:
  """Returns the content of results.json: every kind of encoder, with every seed."""
  config, task = named.config, named.config.task
  seeds = range(config.seed, config.seed + config.evaluation.seeds)
  metric, protocol, store = _metric(named), _protocol(named), named.store()
  results, classifiers = {'method': named.weights.kind}, {}
  for kind in _kinds(named):
    each = []
    for seed in seeds:
      split = splits.Split(train, test, most=None, seed=seed,
                           pretrained_on=config.data.source == 'same')
      name = ''.join(f'{part}, ' for part, is_told in (
          (kind.replace('_', ' '), config.evaluation.baselines),
          (f'seed {seed}', len(seeds) > 1)) if is_told)
      each.append(_one(
          task, protocol, named.subject(kind, store, *split.train), split,
          scores_lib.Choice(config.evaluation.holdout, metric, seed), stages, name))
    if figures_lib.is_trained(kind):
      results['by_class'] = each[0].by_class
    num_test = each[0].how['test_images']
    results[kind] = figures_lib.over_seeds(
        task, [one.figures for one in each], num_test)
    classifiers[kind] = each[0].how if len(each) == 1 else [one.how for one in each]
  last = each[-1]
  count = str(last.num_train)
  if (labelled := each[0].how.get('labelled_images')) is not None:
    count = f'{labelled} of {count}'
  left_out = data_lib.left_out(train=train, test=test)
  return results | {'task': task, 'protocol': named.protocol() | {
      'data': train.name,
      'images': (f'{count} training images, '
                 f'{split.description(last.how["test_images"])}'),
      'seeds': list(seeds), 'metric': metric, 'classifiers': classifiers,
  } | ({'left_out': left_out} if left_out else {})}


def _one(task: str, protocol: Any, subject: Subject, split: splits.Split,
         choice: scores_lib.Choice, stages: stages_lib.Stages, name: str) -> Measured:
  """Measures one encoder with one seed."""
  data, rows = split.train
  fitted = protocol.fit(protocols.Training(
      subject, data, rows, choice, stages, name, table.num_classes(data)))
  # the test images are used here, and not before
  test, rows = split.test
  rows, inputs = fitted.features(test, rows)
  labels = test.labels[rows]
  unseen = sorted(set(np.unique(labels).tolist())
                  - set(np.unique(data.labels[fitted.rows]).tolist()))
  if unseen:
    _console.warning(
        'no training image for %s of the test images: %s; these images count as wrong',
        wording.count(len(unseen), 'class'), wording.some((
            str(data.class_names[c] if data.class_names else c) for c in unseen), 10))
  scores = fitted.classifier.scores(inputs)
  figures = scores_lib.measure(scores, labels)
  return Measured(
      figures | fitted.classifier.chosen, fitted.classifier.protocol | {
          'test_images': len(labels), 'test_classes_without_training_images': unseen},
      len(fitted.rows), confusion.by_class(
          scores.argmax(axis=1), labels, data.class_names, f'{task}_top1'))


# ------------------------------------------------------------- from the config
def _kinds(named: named_lib.Named) -> tuple[str, ...]:
  """Returns the kinds of encoders that are measured."""
  config = named.config
  kinds = tuple(figures_lib.kinds(named.weights.kind))
  if not config.evaluation.baselines:
    return kinds[:1]
  # raw pixels have no network to fine-tune
  return kinds[:-1] if config.task in task_names.TUNING else kinds


def _metric(named: named_lib.Named) -> str:
  """Returns the metric of choices; for 'auto' the data set's usual one."""
  metric = named.config.evaluation.metric
  if metric != 'auto':
    return metric
  name = named.data.data.tfds_name.split(':')[0].split('/')[0]
  return 'mean_per_class' if name in _MEAN_PER_CLASS else 'top1'


def _protocol(named: named_lib.Named) -> Any:
  """Returns the protocol of `protocols` that the task names, with its values."""
  config = named.config
  if config.task == 'knn':
    c = config.evaluation
    return protocols.Knn(knn.Voting(c.knn_k, c.knn_temperature))
  if config.task == 'logistic':
    c = config.logistic
    return protocols.Logistic(logistic.Penalties(
        c.l2 or np.logspace(np.log10(c.l2_range[0]), np.log10(c.l2_range[1]),
                            c.l2_values), c.standardize, c.max_iterations))
  if config.task == 'linear_eval':
    c = config.linear_eval
    return protocols.Linear(c.features, linear.Schedule(
        c.learning_rates, c.epochs, c.batch_size, c.refit))
  if config.task == 'finetune':
    c = config.finetune
    return protocols.Finetune(
        c.labels, finetune.Grid(c.learning_rates, c.epochs, c.weight_decays,
                                c.encoder_rate, c.batch_size),
        lambda decay: trainable(named.weights.config, decay))
  raise ValueError(f'task={config.task} has no protocol')


def trainable(config: ml_collections.ConfigDict, bn_decay_rate: float) -> Model:
  """Builds the networks of a run for training, with another decay of the averages."""
  config = config.copy_and_resolve_references().unlock()
  config.network.bn_decay_rate = bn_decay_rate
  return build.make_model(config, 0, mapped.AXIS)
