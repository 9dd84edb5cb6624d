"""The tasks that say how good an encoder is, and the one that uses it.

knn, linear_eval, logistic and finetune measure; embed writes features; export writes
the encoder. Each names its encoder by `weights`, and finds in it the architecture,
how images are prepared and, if no other data is named, the data.
"""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import hashlib
import itertools
import json
import logging
import os
import re
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from byol_jax import __version__
from byol_jax.config import keys as keys_lib
from byol_jax.config import rules
from byol_jax.data import fingerprint
from byol_jax.data.sources import table
from byol_jax.data.sources.table import Data
from byol_jax.devices import hosts
from byol_jax.devices import mapped
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.evaluation import checks
from byol_jax.evaluation import crops
from byol_jax.evaluation import embed
from byol_jax.evaluation import encode
from byol_jax.evaluation import features as features_lib
from byol_jax.evaluation import figures as figures_lib
from byol_jax.evaluation import final
from byol_jax.evaluation import finetune
from byol_jax.evaluation import knn
from byol_jax.evaluation import linear
from byol_jax.evaluation import logistic
from byol_jax.evaluation import scores as scores_lib
from byol_jax.evaluation import splits
from byol_jax.evaluation import stages as stages_lib
from byol_jax.evaluation.features import Features
from byol_jax.evaluation.scores import Classifier
from byol_jax.run import workdir as workdir_lib
from byol_jax.storage import files as files_lib
from byol_jax.tasks import data as data_lib
from byol_jax.training import build
from byol_jax.weights import find
from byol_jax.weights import load as weights_lib

_console = logging.getLogger('byol_jax')

# by their data sets' own convention the accuracy is averaged over classes
_MEAN_PER_CLASS = ('fgvc_aircraft', 'oxford_iiit_pet', 'caltech101',
                   'oxford_flowers102')


class _Training(NamedTuple):
  """All that a classifier is fitted to; the test images are not within reach."""
  data: Data
  rows: np.ndarray                         # int [n], of all of them
  features: Callable[[], Features]
  networks: Callable[[], Any]              # (params, state), on the devices
  is_pixels: bool                          # features of no network

  def features_and_labels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns rows, features and labels of the readable images, checked."""
    rows, x = self.features()
    labels = self.data.labels[rows]
    checks.check_classes(labels)
    return rows, *checks.check_labelled(x, labels, table.num_classes(self.data),
                                        'training')


class _Fitted(NamedTuple):
  """A classifier, and what goes into it."""
  classifier: Classifier
  rows: np.ndarray  # int [m]: the training images that could be read
  features: Callable[[Data, np.ndarray], Features]  # of the test images


def run(config: ml_collections.ConfigDict, workdir: str | None,
        name: str) -> None:
  """Runs one of `config.EVALUATING`.

  Args:
    config: a valid config (`config.validate`).
    workdir: for what is written; None: WORKDIR/evaluations/NAME-STEP of the weights'
      WORKDIR, which is runs/encoder-DIGEST for an exported file. The target network
      or other data are named behind NAME; what is there already with another config
      or other data stays, and NAME-STEP-2 is taken.
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
    rules.check_untouched(config, keys_lib.of_the_weights(), (
        f'task={config.task} takes it from the weights; what it takes of its own is '
        'data.eval_image_size and evaluation.center_share'))
    for key, value in rules.touched(
        config, keys_lib.unused(config.task)).items():
      _console.warning('config key %s is %r, but task=%s does not look '
                       'at it', key, value, config.task)
    with hosts.together('weights'):
      weights = weights_lib.load(config.weights, config.evaluation.network)
    hosts.agree({'code': hosts.code_digest(), 'jax': jax.__version__,
                 'config': config.to_dict(), 'weights': weights.digest})
    self._config = config
    self._weights = weights
    self._is_named = workdir is not None
    self._workdir = workdir or _workdir_beside(weights, name, config)
    self._stack = stack
    self._data = data = _data_config(config, weights.config)
    spec = build.view_spec(weights.config)
    self._spec = spec._replace(image_size=(
        config.data.eval_image_size or weights.config.data.eval_image_size
        or spec.image_size))
    self._center_share = (config.evaluation.center_share
                          or weights.config.data.center_share)
    self._model = build.make_model(weights.config, 0, None)
    self._untrained: dict[str, Any] = {}   # networks, by `_calibrating`
    self._looked_at = np.zeros(0, np.int64)  # training images: `_look`
    self._data_keys: dict[bool, dict[str, Any]] = {}
    self._encoder = encode.Encoder(
        self._model, self._spec, center_share=self._center_share,
        batch_size=config.evaluation.batch_size, threads=data.data.threads)
    _console.info(
        '%s of step %d: the %s network, %s; images of %d pixels', config.weights,
        weights.step, weights.network, weights.describe()['architecture'],
        self._spec.image_size)

  # ------------------------------------------------------------------ the tasks
  def run(self) -> None:
    """Does what config.task says."""
    if self._config.task == 'export':
      path = os.path.join(self._workdir, f'encoder{weights_lib.SUFFIX}')
      with hosts.together('export'):
        if jax.process_index() == 0:
          weights_lib.save(self._weights, path)
      _console.info('encoder: %s', path)
    elif self._config.task == 'embed':
      self._embed()
    else:
      self._measure()

  def _embed(self) -> None:
    with hosts.together('data'):
      split = self._config.embed.split
      data = data_lib.open_split(self._data.data, split, self._config.seed)
      if data is None:
        raise UserError(f'config key embed.split is {split!r}: the data set has no '
                        'such part')
    folder = self._open({'data': fingerprint.fingerprint(data)})
    rows = np.arange(table.size(data))
    networks = mapped.replicate((self._weights.params, self._weights.state))
    key = self._key(self._weights.digest, data, split == self._data.data.test_split)
    store = self._store(always=True)
    rows, features = store(
        lambda data, rows: self._encoder(networks, data, rows), key, data, rows,
        f'{data.name}, {split}')
    if not np.isfinite(features).all():
      raise UserError('features are not finite: the encoder has diverged; use an '
                      'earlier checkpoint')
    with hosts.together('embeddings'):
      self._write_embeddings(folder, features, data, rows)
    if data.bad:
      _console.warning('%s', data.bad.summary())
    _console.info('%d x %d features: %s', *features.shape, ', '.join(
        os.path.join(self._workdir, embed.FILES[x.strip()])
        for x in self._config.embed.formats.split(',')))

  def _write_embeddings(self, folder: str, features: np.ndarray, data: Data,
                        rows: np.ndarray) -> None:
    split = self._config.embed.split
    if jax.process_index() == 0:
      names = table.names_of(data, rows, split)
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

  def _measure(self) -> None:
    task = self._config.task
    with hosts.together('data'):
      train, test = data_lib.open_data(self._data)
      _check_labels(train, test, self._config)
    folder = self._open({
        'data': fingerprint.fingerprint(train),
        'test': '' if test is None else fingerprint.fingerprint(test)})
    results_path = os.path.join(folder, 'results.json')
    if hosts.from_first(os.path.exists(results_path)):
      results = hosts.gather_json(files_lib.read_json(results_path))[0]
      if isinstance(results, dict):
        _console.info('measured before: %s',
                      os.path.join(self._workdir, 'results.json'))
        _console.info('\n%s', figures_lib.table(task, results))
        return
      _console.warning('%s is damaged: measuring again', results_path)
    self._stages = stages_lib.Stages(self._workdir, folder)
    self._features = self._store()
    _console.info('%s: %d images of %s%s', train.name, table.size(train),
                  table.described_classes(train), '; no test part'
                  if test is None else f'; {table.size(test)} to test')

    results: dict[str, Any] = {}
    protocols = {}
    for kind in self._kinds():
      each = []
      for seed in self._seeds():
        split = splits.Split(train, test, most=None, seed=seed,
                             pretrained_on=self._config.data.source == 'same')
        figures, how, num_train = self._one(kind, split, seed)
        each.append((figures, how))
      results[kind] = figures_lib.over_seeds(
          task, [figures for figures, _ in each], each[0][1]['test_images'])
      protocols[kind] = each[0][1] if len(each) == 1 else [how for _, how in each]
    count = str(num_train)
    if task == 'finetune':
      count = f'{each[0][1]["labelled_images"]} of {count}'
    protocol = self._protocol() | {
        'data': train.name,
        'images': (f'{count} training images, '
                   f'{split.description(how["test_images"])}'),
        'seeds': list(self._seeds()), 'metric': self._metric(), 'classifiers': protocols}
    left_out = {part: data.bad.report() for part, data in (
        ('train', train), ('test', test)) if data is not None and data.bad}
    if left_out:
      protocol['left_out'] = left_out
      for data in (train, test):
        if data is not None and data.bad:
          _console.warning('%s', data.bad.summary())
    results |= {'task': task, 'protocol': protocol}
    with hosts.together('results'):
      if jax.process_index() == 0:
        self._write(folder, results)
        self._stages.remove()
    _console.info('\n%s\n(%s)', figures_lib.table(task, results), protocol['images'])
    _console.info('results: %s', os.path.join(self._workdir, 'results.json'))

  def _one(self, kind: str, split: splits.Split,
           seed: int) -> tuple[dict[str, Any], dict[str, Any], int]:
    """(figures, protocol, training images) of one encoder and seed."""
    config, task = self._config, self._config.task
    name = ''.join(f'{part}, ' for part, is_told in (
        (kind.replace('_', ' '), config.evaluation.baselines),
        (f'seed {seed}', config.evaluation.seeds > 1)) if is_told)
    fit = {'knn': self._fit_knn, 'logistic': self._fit_logistic,
           'linear_eval': self._fit_linear, 'finetune': self._fit_finetune}[task]
    features = self._features_of(kind, split.train)
    training = _Training(
        *split.train, features=lambda: features('training', *split.train),
        networks=lambda: self._networks(kind, split.train),
        is_pixels=kind == figures_lib.RAW_PIXELS)
    fitted: _Fitted = fit(training, seed, name)
    if task != 'finetune':
      fitted = fitted._replace(features=lambda *test: features('test', *test))
    # here, and not before, the test images are looked at
    data, _ = split.test
    rows, inputs = fitted.features(*split.test)
    labels = data.labels[rows]
    if task != 'finetune':
      inputs, labels = checks.check_labelled(
          inputs, labels, table.num_classes(split.train[0]), 'test')
    scores = fitted.classifier.scores(inputs)
    unseen = sorted(set(np.unique(labels).tolist())
                    - set(np.unique(split.train[0].labels[fitted.rows]).tolist()))
    if unseen:
      names = split.train[0].class_names
      _console.warning(
          '%d classes of the test images have no training image: %s; all '
          'images of theirs count as wrong', len(unseen), ', '.join(
              str(names[c] if names else c) for c in unseen[:10]))
    how = fitted.classifier.protocol | {
        'test_images': len(labels), 'test_classes_without_training_images': unseen}
    return (scores_lib.measure(scores, labels) | fitted.classifier.chosen, how,
            len(fitted.rows))

  # ------------------------------------------------------------- one protocol each
  def _fit_knn(self, train: _Training, seed: int, name: str) -> _Fitted:
    del seed, name
    rows, x, y = train.features_and_labels()
    return _Fitted(knn.fit(x, y, k=self._config.evaluation.knn_k,
                           temperature=self._config.evaluation.knn_temperature,
                           num_classes=table.num_classes(train.data)), rows, None)

  def _fit_logistic(self, train: _Training, seed: int, name: str) -> _Fitted:
    del name
    c = self._config.logistic
    grid = c.l2 or np.logspace(
        np.log10(c.l2_range[0]), np.log10(c.l2_range[1]), c.l2_values)
    rows, x, y = train.features_and_labels()
    return _Fitted(logistic.fit(
        x, y, l2_grid=grid,
        num_classes=table.num_classes(train.data),
        standardize=c.standardize, metric=self._metric(),
        holdout_fraction=self._config.evaluation.holdout, seed=seed,
        max_iterations=c.max_iterations), rows, None)

  def _fit_linear(self, train: _Training, seed: int, name: str) -> _Fitted:
    c = self._config.linear_eval
    classes = table.num_classes(train.data)
    is_small = c.features == 'auto' and len(train.rows) < linear.SMALL
    if c.features == 'cached' or is_small or train.is_pixels:
      usable, x, y = train.features_and_labels()
      source = linear.Cached(x, y, seed)
      held_out = lambda rows: (x[rows], y[rows])
    else:
      usable = self._readable(train)
      data = table.take(train.data, usable)
      checks.check_classes(np.asarray(data.labels))
      source = crops.Crops(
          self._model, train.networks(), self._spec, data,
          batch_size=self._config.evaluation.batch_size, seed=seed,
          threads=self._data.data.threads)
      def held_out(rows):
        rows, x = self._encoder(train.networks(), data, rows)
        return checks.check_labelled(x, data.labels[rows], classes, 'training')
    classifier = linear.fit(
        source, held_out, num_classes=classes, learning_rates=c.learning_rates,
        epochs=c.epochs, batch_size=c.batch_size, refit=c.refit,
        holdout_fraction=self._config.evaluation.holdout, metric=self._metric(),
        seed=seed, stages=self._stages, name=name)
    return _Fitted(classifier._replace(protocol=classifier.protocol | {
        'features': 'of random crops and flips' if isinstance(source, crops.Crops)
        else 'of centred images, computed once'}), usable, None)

  def _fit_finetune(self, train: _Training, seed: int, name: str) -> _Fitted:
    c = self._config.finetune
    data, rows = train.data, self._readable(train)
    labelled = rows[splits.labelled_rows(data.labels[rows], c.labels, seed)]
    classifier, networks = finetune.fit(
        table.take(data, labelled), train.networks(),
        self._weights.config, self._encoder,
        self._spec, num_classes=table.num_classes(data), learning_rates=c.learning_rates,
        epochs=c.epochs, weight_decays=c.weight_decays, encoder_rate=c.encoder_rate,
        batch_size=c.batch_size, holdout_fraction=self._config.evaluation.holdout,
        metric=self._metric(), seed=seed, stages=self._stages,
        threads=self._data.data.threads, name=name)
    return _Fitted(
        classifier._replace(protocol=classifier.protocol | {'labels': c.labels}),
        rows, lambda data, rows: self._encoder(networks, data, rows))

  def _readable(self, train: _Training) -> np.ndarray:
    """Finds the bad images before what trains on crops puts others in their place."""
    new = np.setdiff1d(train.rows, self._looked_at)
    self._encoder.readable(train.data, new)
    self._looked_at = np.union1d(self._looked_at, new)
    return features_lib.readable(train.data, train.rows)

  # --------------------------------------------------------------------- features
  def _features_of(self, kind: str, train: tuple[Data, np.ndarray],
                   ) -> Callable[[str, Data, np.ndarray], Features]:
    """(part, data, rows) -> features of one kind of encoder."""
    if kind == figures_lib.RAW_PIXELS:
      side = min(self._spec.image_size, final.RAW_PIXELS_SIZE)
      return lambda part, data, rows: self._encoder.pixels(data, rows, side)

    def features(part: str, data: Data, rows: np.ndarray) -> np.ndarray:
      networks = self._networks(kind, train)
      digest = self._weights.digest if kind == 'byol' else (
          f'untrained {self._weights.config.seed} {self._weights.digest} '
          f'{_calibrating(train[1])}')
      return self._features(
          lambda data, rows: self._encoder(networks, data, rows),
          self._key(digest, data, part == 'test'), data, rows,
          f'{kind.replace("_", " ")}, features of {len(rows)} {part} images')

    return features

  def _networks(self, kind: str, train: tuple[Data, np.ndarray]):
    """(params, state) of the encoder, on the devices."""
    if kind == 'byol':
      return mapped.replicate((self._weights.params, self._weights.state))
    data, rows = train
    key = _calibrating(rows)
    if key not in self._untrained:
      untrained = weights_lib.untrained(self._weights)
      networks = self._encoder.calibrate(
          (untrained.params, untrained.state), data,
          rows[:final.CALIBRATION_IMAGES])
      self._untrained[key] = mapped.replicate(jax.tree.map(np.asarray, networks))
    return self._untrained[key]

  def _key(self, digest: str, data: Data, is_test: bool) -> dict[str, Any]:
    """What features depend on, as process 0 sees it."""
    if is_test not in self._data_keys:  # takes a look at every file
      states = [] if jax.process_index() else fingerprint.file_states(
          data, range(table.size(data)))
      self._data_keys[is_test] = {
          'data': fingerprint.fingerprint(data), 'name': data.name,
          'files': hashlib.sha256(json.dumps(states).encode()).hexdigest()}
    return self._data_keys[is_test] | {
        'encoder': digest, 'image_size': self._spec.image_size,
        'mean': list(self._spec.mean), 'std': list(self._spec.std),
        'center_share': self._center_share, 'is_test': is_test,
        'precision': self._weights.config.network.precision}

  # ------------------------------------------------------------------- book-keeping
  def _open(self, found: dict[str, Any]) -> str:
    """The workdir's folder: a free one, or that of this very evaluation.

    Raises:
      UserError: --workdir holds another one.
    """
    is_first = jax.process_index() == 0
    found = found | {'encoder': self._weights.digest, 'step': self._weights.step}
    config = self._config.to_dict()
    free = (*keys_lib.free(self._config.task), 'data_found.weights')
    place = self._workdir
    for number in itertools.count(2):
      with contextlib.ExitStack() as stack:
        why = ''
        with hosts.together('workdir'):
          folder = stack.enter_context(workdir_lib.opened(place, is_first=is_first))
          if is_first:
            try:
              workdir_lib.compare(folder, place, config, found, free,
                                  keys_lib.was())
              workdir_lib.record(folder, config, found)
            except workdir_lib.AnotherRun as error:
              if self._is_named:
                raise
              why = str(error).splitlines()[0]
        if not hosts.from_first(bool(why)):
          self._workdir = place
          self._stack.push(stack.pop_all())
          return folder
      place = f'{self._workdir}-{number}'
      if is_first:
        _console.info('%s; looking at %s', why, place)
    raise AssertionError('not reached')

  def _store(self, always: bool = False) -> features_lib.Store:
    """Where features are kept: all tasks on the same weights share them."""
    folder = os.path.join(_root(self._weights), 'evaluations', 'features')
    return features_lib.Store(
        folder if self._config.evaluation.cache or always else None,
        self._config.evaluation.batch_size * jax.device_count())

  def _kinds(self) -> tuple[str, ...]:
    if not self._config.evaluation.baselines:
      return ('byol',)
    return ('byol', 'untrained') + (
        () if self._config.task == 'finetune' else (figures_lib.RAW_PIXELS,))

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
        'mean': list(self._spec.mean), 'std': list(self._spec.std),
        'precision': self._weights.config.network.precision,
        'splits': [self._data.data.train_split, self._data.data.test_split],
        'version': __version__, 'jax': jax.__version__} | (
            {} if self._config.task not in ('linear_eval', 'finetune') else
            {'crop_area': list(self._spec.area), 'crop_aspect': list(self._spec.aspect)})

  def _write(self, folder: str, results: dict[str, Any]) -> None:
    path = os.path.join(folder, 'results.json')
    try:
      files_lib.write_json(path, results)
    except OSError as error:
      raise TransientError(f'cannot write {path} ({error}): make room, and the '
                           'same command goes on') from error


def _data_config(config: ml_collections.ConfigDict,
                 trained: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Of which images: those of this config, or else those of the pretraining."""
  result = config.copy_and_resolve_references().unlock()
  default = keys_lib.base().data
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


def _check_labels(train: Data, test: Data | None,
                  config: ml_collections.ConfigDict) -> None:
  task = config.task
  if train.labels is None:
    raise UserError(f'{train.name} has no labels, which task={task} takes; '
                    'task=embed and task=export work without, and collapse '
                    'measures are in metrics.jsonl')
  if isinstance(train.labels, np.ndarray):  # else they come with the images
    checks.check_classes(train.labels)
  if task == 'knn' and test is not None and config.evaluation.seeds > 1:
    raise UserError(f'config key evaluation.seeds is {config.evaluation.seeds}: k-NN '
                    'has nothing random, all would be the same; leave it out')


def _calibrating(rows: np.ndarray) -> str:
  """Tells the images apart that give an untrained encoder its statistics."""
  rows = np.ascontiguousarray(rows[:final.CALIBRATION_IMAGES], np.int64)
  return hashlib.sha256(rows.tobytes()).hexdigest()[:16]


def _root(weights: weights_lib.Weights) -> str:
  """The workdir that the weights lie in; of a file one of its own."""
  if weights.path.endswith(weights_lib.SUFFIX):
    return os.path.join('runs', f'encoder-{weights.digest[:8]}')
  return os.path.dirname(find.parse(weights.path)[0])


def _workdir_beside(weights: weights_lib.Weights, name: str,
                    config: ml_collections.ConfigDict) -> str:
  """A folder for each thing that people measure beside one another."""
  if config.evaluation.network != 'online':
    name += f'_{config.evaluation.network}'
  if config.data.source != 'same' or config.data.path or config.data.tfds_name:
    what = config.data.tfds_name or os.path.basename(
        config.data.path.rstrip('/')) or config.data.source
    name += '_' + re.sub(r'[^\w.]+', '_', what)[:60]
  return os.path.join(_root(weights), 'evaluations', f'{name}-{weights.step}')
