"""The tasks that say how good an encoder is, and the one that uses it.

knn, linear_eval, logistic and finetune measure; embed writes features; export writes
the encoder. Each names its encoder by `weights`, and finds in it the architecture,
how images are prepared and, if no other data is named, the data.
"""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import os
from typing import Any

import jax
import ml_collections
import numpy as np

from byol_jax import __version__
from byol_jax import config as config_lib
from byol_jax import dataset
from byol_jax import hosts
from byol_jax import logs
from byol_jax import parallel
from byol_jax import program as program_lib
from byol_jax import weights as weights_lib
from byol_jax import workdir as workdir_lib
from byol_jax.data import fingerprint
from byol_jax.data import sources
from byol_jax.data.sources import Encoded
from byol_jax.data.sources import Images
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.evaluation import checks
from byol_jax.evaluation import crops
from byol_jax.evaluation import embed
from byol_jax.evaluation import encode
from byol_jax.evaluation import features as features_lib
from byol_jax.evaluation import finetune
from byol_jax.evaluation import knn
from byol_jax.evaluation import linear
from byol_jax.evaluation import logistic
from byol_jax.evaluation import report
from byol_jax.evaluation import scores as scores_lib
from byol_jax.evaluation import splits
from byol_jax.evaluation import stages as stages_lib
from byol_jax.evaluation.scores import Classifier

Data = Images | Encoded

# by their data sets' own convention the accuracy is averaged over classes
_MEAN_PER_CLASS = ('fgvc_aircraft', 'oxford_iiit_pet', 'caltech101',
                   'oxford_flowers102')
# what may differ between two calls that measure the same
_FREE_KEYS = ('log.', 'checkpoint.', 'safety.', 'data.threads', 'data.prefetch',
              'data.path', 'data.test_path', 'evaluation.cache', 'prepare.',
              'preflight.', 'compare.', 'weights', 'data_found.weights')
_TASK_KEYS = ('linear_eval.', 'logistic.', 'finetune.', 'embed.')  # free elsewhere
_RAW_PIXELS = 'raw_pixels'


def run(config: ml_collections.ConfigDict, workdir: str | None,
        name: str) -> None:
  """Runs one of `config.EVALUATING`.

  Args:
    config: a valid config (`config.validate`).
    workdir: for what is written; None: beside the weights,
      WORKDIR/evaluations/NAME-STEP, or runs/NAME for an exported file.
    name: of the config file.

  Raises:
    UserError: whatever the user can mend.
    TransientError: the machine or its storage failed.
  """
  with contextlib.ExitStack() as stack:
    _Evaluation(config, workdir, name, stack).run()


class _Evaluation:
  """One call: what all tasks share."""

  def __init__(self, config: ml_collections.ConfigDict, workdir: str | None,
               name: str, stack: contextlib.ExitStack):
    config_lib.check_untouched(config, ('network', 'augment', 'train'), (
        f'task={config.task} takes it from the weights'))
    with hosts.together('weights'):
      weights = weights_lib.load(config.weights, config.evaluation.network)
    hosts.agree({'code': hosts.code_digest(), 'jax': jax.__version__,
                 'config': config.to_dict(), 'weights': weights.digest})
    self._config = config
    self._weights = weights
    self._workdir = workdir or _workdir_beside(weights, name)
    self._stack = stack
    self._data = data = _data_config(config, weights.config)
    spec = program_lib.view_spec(weights.config)
    self._crop_spec = spec
    self._spec = spec._replace(image_size=(
        config.data.eval_image_size or weights.config.data.eval_image_size
        or spec.image_size))
    self._center_share = (config.evaluation.center_share
                          or weights.config.data.center_share)
    self._model = program_lib.make_model(weights.config, 0, None)
    self._encoder = encode.Encoder(
        self._model, self._spec, center_share=self._center_share,
        batch_size=config.evaluation.batch_size, threads=data.data.threads)
    logs.console.info(
        '%s of step %d: the %s network, %s; images of %d pixels', config.weights,
        weights.step, weights.network, weights.describe()['architecture'],
        self._spec.image_size)

  # ------------------------------------------------------------------ the tasks
  def run(self) -> None:
    """Does what config.task says."""
    if self._config.task == 'export':
      path = os.path.join(self._workdir, f'encoder{weights_lib.SUFFIX}')
      if jax.process_index() == 0:
        weights_lib.save(self._weights, path)
      logs.console.info('encoder: %s', path)
    elif self._config.task == 'embed':
      self._embed()
    else:
      self._measure()

  def _embed(self) -> None:
    with hosts.together('data'):
      split = self._config.embed.split
      data = dataset.open_split(self._data.data, split, self._config.seed,
                                may_be_resident=False)
      if data is None:
        raise UserError(f'config key embed.split is {split!r}: the data set has no '
                        'such part')
    folder = self._open({'data': fingerprint.fingerprint(data)})
    rows = np.arange(sources.size(data))
    networks = parallel.replicate((self._weights.params, self._weights.state))
    key = self._key(self._weights.digest, data, split)
    store = features_lib.Store(self._cache(always=True))
    features = store(lambda data, rows: self._encoder(networks, data, rows), key,
                     data, rows, f'{data.name}, {split}')
    rows = encode.usable(data, rows)
    if not np.isfinite(features).all():
      raise UserError('features are not finite: the encoder has diverged; use an '
                      'earlier checkpoint')
    if jax.process_index() == 0:
      names = [f'{split}[{row}]' if isinstance(data, Images) else data.names[row]
               for row in rows]
      labels = None if data.labels is None else np.asarray(data.labels[rows])
      formats = [x.strip() for x in self._config.embed.formats.split(',')]
      written = embed.write(folder, formats, features, names, labels,
                            data.class_names)
      self._write(folder, {
          'embeddings': {'images': len(rows), 'feature_size': features.shape[1],
                         'files': [os.path.basename(path) for path in written]},
          'protocol': self._protocol() | {
              'data': data.name, 'split': split,
              'left_out': data.bad.report() if data.bad else {}}})
    if data.bad:
      logs.console.warning('WARNING: %s', data.bad.summary())
    logs.console.info('%d x %d features: %s', *features.shape, ', '.join(
        os.path.join(self._workdir, embed.FILES[x.strip()])
        for x in self._config.embed.formats.split(',')))

  def _measure(self) -> None:
    task = self._config.task
    with hosts.together('data'):
      train, test = dataset.open_data(self._data)
      _check_labels(train, task)
    folder = self._open({
        'data': fingerprint.fingerprint(train),
        'test': '' if test is None else fingerprint.fingerprint(test)})
    results_path = os.path.join(folder, 'results.json')
    if hosts.from_first(os.path.exists(results_path)):
      results = hosts.gather_json(logs.read_json(results_path))[0]
      logs.console.info('measured before: %s',
                        os.path.join(self._workdir, 'results.json'))
      logs.console.info('\n%s', _table(task, results))
      return
    self._stages = stages_lib.Stages(self._workdir, folder)
    self._store = features_lib.Store(self._cache())
    logs.console.info('%s: %d images of %d classes%s', train.name,
                      sources.size(train), sources.num_classes(train),
                      '' if test is None else f'; {sources.size(test)} to test')

    results: dict[str, Any] = {}
    protocols = {}
    for kind in self._kinds():
      each = []
      for seed in self._seeds():
        split = splits.Split(train, test, most=None, seed=seed)
        each.append(self._one(kind, split, seed))
      results[kind] = _summary(task, [figures for figures, _ in each])
      protocols[kind] = each[0][1] if len(each) == 1 else [how for _, how in each]
    protocol = self._protocol() | {
        'data': train.name, 'images': f'{len(split.train[1])} training images, '
        f'{split.description}', 'seeds': list(self._seeds()),
        'metric': self._metric(), 'classifiers': protocols}
    left_out = {part: data.bad.report() for part, data in (
        ('train', train), ('test', test)) if data is not None and data.bad}
    if left_out:
      protocol['left_out'] = left_out
      for data in (train, test):
        if data is not None and data.bad:
          logs.console.warning('WARNING: %s', data.bad.summary())
    results |= {'task': task, 'protocol': protocol}
    if jax.process_index() == 0:
      self._write(folder, results)
    logs.console.info('\n%s\n(%s)', _table(task, results), protocol['images'])
    logs.console.info('results: %s', os.path.join(self._workdir, 'results.json'))

  def _one(self, kind: str, split: splits.Split,
           seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """(figures, protocol) of one encoder and seed."""
    config, task = self._config, self._config.task
    name = ''.join(f'{part}, ' for part, is_told in (
        (kind.replace('_', ' '), config.evaluation.baselines),
        (f'seed {seed}', config.evaluation.seeds > 1)) if is_told)
    fit = {'knn': self._fit_knn, 'logistic': self._fit_logistic,
           'linear_eval': self._fit_linear, 'finetune': self._fit_finetune}[task]
    features = self._features_of(kind, split)
    classifier: Classifier = fit(kind, features, split, seed, name)
    # here, and not before, the test images are looked at
    if task == 'finetune':
      scores = classifier.scores(*split.test)
      labels = split.test_labels()
    else:
      inputs = features('test', *split.test)
      inputs, labels = checks.check_labelled(
          inputs, split.test_labels(), sources.num_classes(split.train[0]), 'test')
      scores = classifier.scores(inputs)
    unseen = sorted(set(np.unique(labels).tolist())
                    - set(np.unique(split.train_labels()).tolist()))
    if unseen:
      names = split.train[0].class_names
      logs.console.warning(
          'WARNING: %d classes of the test images have no training image: %s; all '
          'images of theirs count as wrong', len(unseen), ', '.join(
              str(names[c] if names else c) for c in unseen[:10]))
    how = classifier.protocol | {
        'test_images': len(labels), 'test_classes_without_training_images': unseen}
    return scores_lib.measure(scores, labels) | classifier.chosen, how

  # ------------------------------------------------------------- one protocol each
  def _fit_knn(self, kind, features, split, seed, name) -> Classifier:
    del kind, seed, name
    return knn.fit(*self._train_features(features, split),
                   k=self._config.evaluation.knn_k,
                   temperature=self._config.evaluation.knn_temperature,
                   num_classes=sources.num_classes(split.train[0]))

  def _fit_logistic(self, kind, features, split, seed, name) -> Classifier:
    del kind, name
    c = self._config.logistic
    grid = c.l2 or np.logspace(
        np.log10(c.l2_range[0]), np.log10(c.l2_range[1]), c.l2_values)
    return logistic.fit(
        *self._train_features(features, split), l2_grid=grid,
        num_classes=sources.num_classes(split.train[0]),
        standardize=c.standardize, metric=self._metric(),
        holdout_fraction=self._config.evaluation.holdout, seed=seed,
        max_iterations=c.max_iterations)

  def _fit_linear(self, kind, features, split, seed, name) -> Classifier:
    c = self._config.linear_eval
    classes = sources.num_classes(split.train[0])
    is_small = c.features == 'auto' and len(split.train[1]) < linear.SMALL
    if c.features == 'cached' or is_small or kind == _RAW_PIXELS:
      x, y = checks.check_labelled(
          *self._train_features(features, split), classes, 'training')
      source = linear.Cached(x, y, seed)
      held_out = lambda rows: (x[rows], y[rows])
    else:
      data, rows = split.train
      data = sources.take(data, encode.usable(data, rows))
      source = crops.Crops(
          self._model, self._networks(kind, split), self._crop_spec._replace(
              image_size=self._spec.image_size),
          data, batch_size=self._config.evaluation.batch_size, seed=seed,
          threads=self._data.data.threads)
      def held_out(rows):
        x = self._encoder(self._networks(kind, split), data, rows)
        return checks.check_labelled(
            x, data.labels[encode.usable(data, rows)], classes, 'training')
    classifier = linear.fit(
        source, held_out, num_classes=classes, learning_rates=c.learning_rates,
        epochs=c.epochs, batch_size=c.batch_size, refit=c.refit,
        holdout_fraction=self._config.evaluation.holdout, metric=self._metric(),
        seed=seed, stages=self._stages, name=name)
    return classifier._replace(protocol=classifier.protocol | {
        'features': 'of random crops and flips' if isinstance(source, crops.Crops)
        else 'of centred images, computed once'})

  def _fit_finetune(self, kind, features, split, seed, name) -> Classifier:
    del features
    c = self._config.finetune
    data, rows = split.train
    rows = encode.usable(data, rows)
    labelled = rows[splits.labelled_rows(np.asarray(data.labels[rows]), c.labels,
                                         seed)]
    return finetune.fit(
        sources.take(data, labelled), self._networks(kind, split),
        self._weights.config, self._encoder,
        self._crop_spec._replace(image_size=self._spec.image_size),
        num_classes=sources.num_classes(data), learning_rates=c.learning_rates,
        epochs=c.epochs, weight_decays=c.weight_decays, encoder_rate=c.encoder_rate,
        batch_size=c.batch_size, holdout_fraction=self._config.evaluation.holdout,
        metric=self._metric(), seed=seed, stages=self._stages,
        threads=self._data.data.threads, name=name)

  # --------------------------------------------------------------------- features
  def _train_features(self, features, split) -> tuple[np.ndarray, np.ndarray]:
    train = features('training', *split.train)
    return train, split.train_labels()

  def _features_of(self, kind: str, split: splits.Split,
                   ) -> Callable[[str, Data, np.ndarray], np.ndarray]:
    """(part, data, rows) -> features of one kind of encoder."""
    if kind == _RAW_PIXELS:
      side = min(self._spec.image_size, report.RAW_PIXELS_SIZE)
      return lambda part, data, rows: self._encoder.pixels(data, rows, side)

    def features(part: str, data: Data, rows: np.ndarray) -> np.ndarray:
      networks = self._networks(kind, split)
      digest = self._weights.digest if kind == 'byol' else (
          f'untrained {self._weights.config.seed} {self._weights.digest}')
      return self._store(
          lambda data, rows: self._encoder(networks, data, rows),
          self._key(digest, data, part), data, rows,
          f'{kind.replace("_", " ")}, features of {len(rows)} {part} images')

    return features

  def _networks(self, kind: str, split: splits.Split):
    """(params, state) of the encoder, on the devices."""
    if kind == 'byol':
      return parallel.replicate((self._weights.params, self._weights.state))
    if not hasattr(self, '_untrained'):
      untrained = weights_lib.untrained(self._weights)
      data, rows = split.train
      networks = self._encoder.calibrate(
          (untrained.params, untrained.state), data,
          rows[:report.CALIBRATION_IMAGES])
      self._untrained = parallel.replicate(jax.tree.map(np.asarray, networks))
    return self._untrained

  def _key(self, digest: str, data: Data, part: str) -> dict[str, Any]:
    """What features depend on."""
    return {'encoder': digest, 'image_size': self._spec.image_size,
            'mean': list(self._spec.mean), 'std': list(self._spec.std),
            'center_share': self._center_share, 'part': part,
            'precision': self._weights.config.network.precision,
            'data': fingerprint.fingerprint(data), 'name': data.name}

  # ------------------------------------------------------------------- book-keeping
  def _open(self, found: dict[str, Any]) -> str:
    """The workdir's folder; refuses that of another evaluation."""
    is_first = jax.process_index() == 0
    found = found | {'encoder': self._weights.digest, 'step': self._weights.step}
    free = _FREE_KEYS + tuple(
        keys for keys in _TASK_KEYS if keys != f'{self._config.task}.')
    with hosts.together('workdir'):
      folder = self._stack.enter_context(
          workdir_lib.opened(self._workdir, is_first=is_first))
      if is_first:
        workdir_lib.compare(folder, self._config.to_dict(), found, free)
        workdir_lib.record(folder, self._config.to_dict(), found)
    return folder

  def _cache(self, always: bool = False) -> str | None:
    """Where features are kept."""
    if not (self._config.evaluation.cache or always):
      return None
    root = _root(self._weights)
    return (os.path.join(root, 'evaluations', 'features') if root else
            os.path.join(self._workdir, 'features'))

  def _kinds(self) -> tuple[str, ...]:
    if not self._config.evaluation.baselines:
      return ('byol',)
    return ('byol', 'untrained') + (
        () if self._config.task == 'finetune' else (_RAW_PIXELS,))

  def _seeds(self) -> range:
    return range(self._config.seed, self._config.seed + self._config.evaluation.seeds)

  def _metric(self) -> str:
    metric = self._config.evaluation.metric
    if metric != 'auto':
      return metric
    name = self._data.data.tfds_name.split(':')[0].split('/')[0]
    return 'mean_per_class' if name in _MEAN_PER_CLASS else 'top1'

  def _protocol(self) -> dict[str, Any]:
    return self._weights.describe() | {
        'encoder': 'frozen: running statistics, features before the heads'
        if self._config.task != 'finetune' else 'the beginning of the training',
        'image_size': self._spec.image_size, 'center_share': self._center_share,
        'version': __version__, 'jax': jax.__version__}

  def _write(self, folder: str, results: dict[str, Any]) -> None:
    path = os.path.join(folder, 'results.json')
    try:
      logs.write_json(path, results)
    except OSError as error:
      raise TransientError(f'cannot write {path} ({error}): make room, and the '
                           'same command goes on') from error


def _data_config(config: ml_collections.ConfigDict,
                 trained: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Of which images: those of this config, or else those of the pretraining."""
  result = config.copy_and_resolve_references().unlock()
  default = config_lib.base().data
  if config.data.source == 'same':
    for key in ('source', 'path', 'test_path', 'tfds_name', 'train_split',
                'test_split', 'fake_images', 'fake_classes', 'resident',
                'max_bad_images'):
      if key == 'source' or config.data[key] == default[key]:
        result.data[key] = trained.data[key]
    result.seed = trained.seed if trained.data.source == 'fake' else config.seed
  result.data.image_size = trained.data.image_size
  if result.data.resident == 'yes':  # it is how they are fed that matters here
    result.data.resident = 'auto'
  return result.lock()


def _check_labels(train: Data, task: str) -> None:
  if train.labels is None:
    raise UserError(f'{train.name} has no labels, which task={task} takes; '
                    'task=embed and task=export work without, and collapse '
                    'measures are in metrics.jsonl')
  if sources.num_classes(train) < 2:
    raise UserError(f'{train.name} has one class only: every encoder would be right; '
                    'name data with at least two (one sub-folder each)')


def _root(weights: weights_lib.Weights) -> str | None:
  """The workdir that the weights lie in; None for a file."""
  if weights.path.endswith(weights_lib.SUFFIX):
    return None
  path = weights.path.rstrip('/')
  folder, last = os.path.split(path)
  if last.isdecimal() and os.path.basename(folder) == 'checkpoints':
    path = folder
  return os.path.dirname(path) if os.path.basename(path) == 'checkpoints' else path


def _workdir_beside(weights: weights_lib.Weights, name: str) -> str:
  root = _root(weights)
  return os.path.join(root, 'evaluations', f'{name}-{weights.step}') if root else (
      os.path.join('runs', name))


def _summary(task: str, each: list[dict[str, Any]]) -> dict[str, Any]:
  """The figures of one seed, or mean and deviation over several."""
  if len(each) == 1:
    return {f'{task}_{name}': value for name, value in each[0].items()}
  result: dict[str, Any] = {f'{task}_seeds': each}
  for name, value in each[0].items():
    if isinstance(value, float) and all(name in one for one in each):
      values = [one[name] for one in each]
      result[f'{task}_{name}'] = float(np.mean(values))
      result[f'{task}_{name}_std'] = float(np.std(values, ddof=1))
  return result


def _table(task: str, results: dict[str, Any]) -> str:
  """A row for each encoder."""
  titles = {'byol': 'BYOL', 'untrained': 'untrained encoder',
            _RAW_PIXELS: 'raw pixels'}
  lines = [f'{task:<20}{"top-1":>16}{"top-5":>9}{"per class":>11}  95 % interval']
  for kind, title in titles.items():
    if kind not in results:
      continue
    row = results[kind]
    def cell(name):
      value, spread = row.get(f'{task}_{name}'), row.get(f'{task}_{name}_std')
      return '-' if value is None else f'{value:.2f}%' + (
          '' if spread is None else f' +-{spread:.2f}')
    interval = row.get(f'{task}_top1_interval')
    lines.append(f'{title:<20}{cell("top1"):>16}{cell("top5").split(" ")[0]:>9}'
                 f'{cell("mean_per_class").split(" ")[0]:>11}  '
                 + ('-' if interval is None else
                    f'{interval[0]:.2f} to {interval[1]:.2f}'))
  return '\n'.join(lines)
