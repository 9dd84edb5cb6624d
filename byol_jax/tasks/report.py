"""report.html: written by a run as it goes, and by task=report for older ones.

A page is of one run or evaluation, or of a study with its runs side by side.
"""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import logging
import os
from typing import Any

from etils import epath
import jax
import ml_collections
import numpy as np

from byol_jax import errors
from byol_jax import wording
from byol_jax.config import keys as keys_lib
from byol_jax.config import names as task_names
from byol_jax.config import rules
from byol_jax.config import schedule
from byol_jax.data.sources import table
from byol_jax.devices import mapped
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.evaluation import encode
from byol_jax.evaluation import figures as figures_lib
from byol_jax.evaluation import knn
from byol_jax.evaluation import rows as rows_lib
from byol_jax.evaluation import scores
from byol_jax.evaluation import subject as subject_lib
from byol_jax.evaluation.features import Features
from byol_jax.pages import headline
from byol_jax.pages import pictures as pictures_lib
from byol_jax.pages import report
from byol_jax.run import journal as journal_lib
from byol_jax.storage import files as files_lib
from byol_jax.tasks import begin
from byol_jax.tasks import data as data_lib
from byol_jax.tasks import describe
from byol_jax.tasks import output
from byol_jax.tasks import showing
from byol_jax.tasks import side_by_side
from byol_jax.training import build
from byol_jax.weights import find
from byol_jax.weights import load as weights_lib

_console = logging.getLogger('byol_jax')

_WHILE_RUNNING = 512  # images whose features are shown before the run ends
_FILES = ('config.json', 'metrics.jsonl', 'results.json')


class Page:
  """The page of a run that goes on; every process makes the same calls."""

  def __init__(self, setup: begin.Setup, folder: str, inference: encode.Inference):
    """Makes nothing yet.

    Args:
      setup: the run.
      folder: where its small files lie.
      inference: runs networks over images.
    """
    self._setup, self._folder, self._inference = setup, folder, inference
    self._showing = showing.Showing(setup.train, setup.config.data.train_split,
                                    setup.config.data.threads)
    self._told = False

  def write(self, networks: Any, *, is_last: bool = False) -> None:
    """Writes the page; one that cannot be written is a warning.

    Args:
      networks: (params, state) of the online network, replicated.
      is_last: whether the run ends: then more images are looked at.
    """
    setup = self._setup
    most = setup.config.evaluation.examples
    rows = encode.subset(setup.train.size,
                         most if is_last else min(most, _WHILE_RUNNING),
                         setup.config.seed)
    features = self._inference(networks, setup.train, rows)
    if jax.process_index():
      return
    try:
      pictures = _pictures(self._showing, setup.program, setup.config, features)
      journal = journal_lib.read(self._folder, setup.workdir)
      page = _page(journal, setup.config, pictures, self._folder)
      files_lib.write_bytes(os.path.join(self._folder, output.REPORT), page.encode())
      if not (self._told or is_last):
        _console.info('report so far: %s', os.path.join(setup.workdir, output.REPORT))
    except Exception as error:  # a page is not worth a run, whatever is wrong with it
      if not self._told:
        _console.warning('cannot write %s in %s (%s); going on without it',
                         output.REPORT, setup.workdir, errors.one_line(error))
    self._told = True


def run(config: ml_collections.ConfigDict, workdir: str | None) -> None:
  """Writes the page of a run, an evaluation or a study that is there.

  Args:
    config: a valid config; `weights` names a WORKDIR or WORKDIR/checkpoints/STEP.
    workdir: the folder to write to; None: the run's own.

  Raises:
    UserError: there is nothing to tell, or the page cannot be written.
  """
  rules.check_untouched(config, keys_lib.of_the_weights(),
                        'task=report takes it from the run')
  root = _root(config.weights)
  if os.path.exists(os.path.join(root, 'study.json')):
    page = side_by_side.of_study(root, output.made())
  else:
    page = _of_run(config, journal_lib.read(root))
  output.write(workdir or root, page)


def _root(path: str) -> str:
  """Returns the workdir that a path names."""
  if find.form(path) != 'run':
    raise UserError(f'config key weights is {path!r}: a page is of a run; name the '
                    'WORKDIR that the encoder is of')
  root = os.path.dirname(find.parse(path)[0])
  try:
    names = {x.name for x in epath.Path(root).iterdir()}
  except (FileNotFoundError, NotADirectoryError) as error:
    raise UserError(f'config key weights is {path!r}: there is no such folder'
                    ) from error
  except OSError as error:
    raise UserError(f'config key weights is {path!r}: {error}') from error
  if not names & {*_FILES, 'study.json', 'checkpoints'}:
    raise UserError(f'config key weights is {path!r}: it is no workdir, as it has none '
                    f'of {", ".join(_FILES)}')
  return root


def _of_run(config: ml_collections.ConfigDict, journal: journal_lib.Journal) -> str:
  """Returns the page of a run or an evaluation, with what of it can be had."""
  is_evaluation = journal.config.get('task') in task_names.EVALUATING
  path = str(journal.config.get('weights')) if is_evaluation else config.weights
  weights, own, missing = None, None, []
  with _noting(missing):
    own = weights_lib.complete(journal.config, journal.workdir)
  unknown = [key for key in journal.config if key not in keys_lib.KEYS
             and not key.startswith(('data_found.', 'environment.'))]
  if unknown:
    missing.append('config.json has keys that this version does not know: '
                   + ', '.join(unknown))
  with _noting(missing):
    weights = weights_lib.load(path, config.evaluation.network)
  trained = weights.config if weights else None if is_evaluation else own
  pictures = pictures_lib.Pictures(missing=missing)
  if trained is not None:
    with _noting(missing):
      data = data_lib.of_weights(own if is_evaluation and own else config, trained)
      journal, pictures = _looked_at(config, data, trained, weights, journal, missing)
  shown_config = own
  if is_evaluation and own and weights:  # schedule and network are the weights'
    shown_config = weights.config
  return _page(journal, shown_config, pictures, journal.workdir,
               changed=describe.changed(own) if is_evaluation and own else None)


def _looked_at(config: ml_collections.ConfigDict, data: ml_collections.ConfigDict,
               trained: ml_collections.ConfigDict, weights: weights_lib.Weights | None,
               journal: journal_lib.Journal, missing: list[str],
               ) -> tuple[journal_lib.Journal, pictures_lib.Pictures]:
  """Opens the images; returns the journal, with `by_class`, and the pictures."""
  train, _ = data_lib.open_data(data)
  had = journal.config.get('data_found.images')
  if had not in (None, train.size):
    missing.append(f'the run had {wording.count(had, "training image", ",")}, and now '
                   f'it is {train.size:,}: the pictures show those')
  resolved = schedule.resolve(trained, max(train.size, trained.train.batch_size))
  program = build.build(resolved, train.size, table.num_classes(train))
  shown = showing.Showing(train, data.data.train_split, data.data.threads)
  features = None
  if weights is not None:
    inference = subject_lib.make_inference(
        weights, image_size=config.data.eval_image_size,
        center_share=config.evaluation.center_share,
        batch_size=config.evaluation.batch_size, threads=data.data.threads)
    rows = encode.subset(train.size, config.report.images, config.seed)
    features = inference(mapped.replicate((weights.params, weights.state)), train, rows)
  pictures = _pictures(shown, program, resolved, features)
  if (features and len(features.rows) > 1 and train.labels is not None
      and 'by_class' not in journal.results):
    options = trained.evaluation
    journal = journal._replace(results=journal.results | {'by_class': shown.by_class(
        features, knn.Voting(options.knn_k, options.knn_temperature))})
  return journal, pictures._replace(missing=[*missing, *pictures.missing])


def _pictures(shown: showing.Showing, program: build.Program,
              config: ml_collections.ConfigDict,
              features: Features | None) -> pictures_lib.Pictures:
  """Returns the pictures of a run; without features its views alone."""
  only_views = pictures_lib.Pictures(
      shown.views(program, config.seed, config.train.batch_size))
  if features is None:
    return only_views
  why = ''
  if not np.isfinite(features.x).all():
    why = "the encoder's features are not finite: it has diverged"
  # a ReLU makes zeros of what is not finite
  elif len(features.rows) > 1 and (features.x == features.x[0]).all():
    why = 'all images have the same features: the encoder has diverged or collapsed'
  if why:
    return only_views._replace(missing=[
        f'{why}, and there are no nearest images and no map'])
  found = shown.map(features)
  missing = [] if found else [
      'there is no map: too few images can be read, or all have nearly the same '
      'features']
  return pictures_lib.Pictures(
      only_views.views, shown.queries(features), found,
      'The encoder as it is now, '
      f'{wording.count(len(features.rows), "training image", ",")}.', missing)


def _page(journal: journal_lib.Journal, config: ml_collections.ConfigDict | None,
          pictures: pictures_lib.Pictures, folder: str, changed: Any = None) -> str:
  """Returns a page.

  Args:
    journal: the files.
    config: that of the run; None where it is not known.
    pictures: the images.
    folder: where the results lie.
    changed: an evaluation's own keys, in place of the run's.
  """
  facts, missing = report.Facts(), list(pictures.missing)
  if config is not None:
    with _noting(missing):
      facts = describe.facts(config, journal)
  if changed is not None:
    facts = facts._replace(changed=changed)
  damaged: list[epath.Path] = []
  found = results(folder, damaged.append)
  noted = [problem.file for problem in journal.problems]
  for path in dict.fromkeys(damaged):
    rows_lib.leave_out(path)
    if path.parent != epath.Path(folder) or path.name not in noted:
      missing.append(f'{path} is damaged: left out')
  pictures = pictures._replace(missing=missing)
  return report.page(journal, facts, found, pictures, output.made())


def results(folder: str, tell: Callable[[epath.Path], None]) -> list[headline.Result]:
  """Returns the figures of a run and of the evaluations in its workdir.

  `tell` is called with each file that is damaged.
  """
  found = []
  for row in rows_lib.of_run(epath.Path(folder), tell):
    where = f'{row.name}-{row.step}{"-" * bool(row.number)}{row.number}/' * bool(
        row.name)
    found.append(headline.Result(
        figures_lib.kinds(row.encoder)[row.encoder] + (
            ' target' if row.network == 'target' else ''),
        {'knn': 'k-NN', 'linear': 'linear'}.get(row.task, row.task),
        scores.FIGURES[row.metric], row.value, row.std,
        scores.interval(row.value, row.n) if (
            row.n and row.metric == 'top1' and 0 <= row.value <= 100) else None,
        row.n, f'{where}results.json {row.encoder}.{row.task}_{row.metric}',
        figures_lib.is_trained(row.encoder)))
  return found


@contextlib.contextmanager
def _noting(missing: list[str]):
  """Notes why something cannot be had, in place of ending."""
  try:
    yield
  except (UserError, TransientError) as error:
    missing.append(' '.join(str(error).split()))
