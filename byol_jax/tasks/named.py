"""Loads the encoder that a config names, and finds the place of its results."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from byol_jax import __version__
from byol_jax.config import keys as keys_lib
from byol_jax.config import names as task_names
from byol_jax.config import rules
from byol_jax.data import fingerprint
from byol_jax.data.sources import table
from byol_jax.devices import hosts
from byol_jax.evaluation import encode
from byol_jax.evaluation import features as features_lib
from byol_jax.evaluation import place as place_lib
from byol_jax.evaluation import subject as subject_lib
from byol_jax.tasks import data as data_lib
from byol_jax.weights import load as weights_lib

_console = logging.getLogger('byol_jax')

_FILES = '_files'  # of a fact: it is of the files' sizes and bytes


class Named(NamedTuple):
  """The objects that the config of a task in `task_names.EVALUATING` names.

  Attributes:
    config: the evaluation's config.
    weights: the encoder.
    inference: runs it over images.
    data: the config of the images, the evaluation's or the pretraining's.
    workdir: the place of the results.
    is_named: whether the user has named the workdir.
  """
  config: ml_collections.ConfigDict
  weights: weights_lib.Weights
  inference: encode.Inference
  data: ml_collections.ConfigDict
  workdir: str
  is_named: bool

  def opened(self, folder: str = '', **found: str,
             ) -> contextlib.AbstractContextManager[place_lib.Place]:
    """Opens the workdir, or a folder in it; `found` holds facts about the data."""
    # an older version did not look at files
    looked = {f'data_found.{key}': digest for key, digest in found.items()
              if key.endswith(_FILES)}
    return place_lib.opened(
        folder or self.workdir, is_named=self.is_named or bool(folder),
        config=self.config.to_dict(), found=self._found(found),
        free_keys=self.free_keys, defaults=keys_lib.was() | looked)

  def settings(self, **found: str) -> dict[str, Any]:
    """Returns what config.json holds in a workdir that `opened` opened."""
    return self.config.to_dict() | {'data_found': self._found(found)}

  def _found(self, found: dict[str, str]) -> dict[str, Any]:
    return found | {'encoder': self.weights.digest, 'step': self.weights.step}

  @property
  def free_keys(self) -> tuple[str, ...]:
    """Returns the keys of config.json that may differ in the same evaluation."""
    return (*keys_lib.free(self.config.task), 'data_found.weights')

  def store(self, *, always: bool = False, own: str = '') -> features_lib.Store:
    """Returns the store of features, which all tasks on the same weights share.

    Args:
      always: whether features are kept whatever the config says.
      own: the folder of a store of its own, for some of the images.
    """
    c = self.config.evaluation
    folder = os.path.join(place_lib.root(self.weights), 'evaluations', 'features')
    return features_lib.Store(own or (folder if c.cache or always else None),
                              c.batch_size * jax.device_count(), of_some=bool(own))

  def subject(self, kind: str, store: features_lib.Store, data: table.Data,
              rows: np.ndarray) -> subject_lib.Subject:
    """Returns the encoder of one kind; see `subject.make`."""
    return subject_lib.make(kind, self.weights, self.inference, store, data, rows)

  def protocol(self) -> dict[str, Any]:
    """Returns what was evaluated, and how: the part of a protocol that tasks share."""
    task, spec = self.config.task, self.inference.spec
    protocol = self.weights.describe() | {
        'encoder': 'frozen: running statistics, features before the heads'
        if task not in task_names.TUNING else 'the beginning of the training',
    } | subject_lib.preparation(self.weights, self.inference) | {
        'splits': [self.data.data.train_split, self.data.data.test_split],
        'version': __version__, 'jax': jax.__version__}
    if task in task_names.ON_CROPS:
      protocol |= {'crop_area': list(spec.area), 'crop_aspect': list(spec.aspect)}
    return protocol


def facts(**parts: table.Data | None) -> dict[str, str]:
  """Returns the facts about parts of the images by which results are known again.

  Process 0 compares them, and looks at the files alone.
  """
  result = {}
  for part, data in parts.items():
    result[part] = '' if data is None else fingerprint.fingerprint(data)
    if data is None or jax.process_index():
      continue
    if files := fingerprint.files(data):
      result[part + _FILES] = files
  return result


def load(config: ml_collections.ConfigDict, workdir: str | None, name: str) -> Named:
  """Loads the encoder, and checks that all processes have the same.

  Args:
    config: a valid config.
    workdir: the place of the results; None: WORKDIR/evaluations/NAME-STEP of the
      weights' WORKDIR, which is runs/encoder-DIGEST for an exported file. The target
      network or other data are named behind NAME. Results that are there already with
      another config or other data stay, and NAME-STEP-2 is taken.
    name: the config file's name.

  Raises:
    UserError: the weights cannot be used, or a key is set that has no effect.
  """
  rules.check_untouched(config, keys_lib.of_the_weights(), (
      f'task={config.task} takes it from the weights; what it takes of its own is '
      'data.eval_image_size and evaluation.center_share'))
  for key, value in rules.touched(config, keys_lib.unused(config.task)).items():
    _console.warning('config key %s is %r, but task=%s does not look '
                     'at it', key, value, config.task)
  with hosts.together('weights'):
    weights = weights_lib.load(config.weights, config.evaluation.network)
  hosts.agree({'code': hosts.code_digest(), 'jax': jax.__version__,
               'config': config.to_dict(), 'weights': weights.digest})
  data = data_lib.of_weights(config, weights.config)
  inference = subject_lib.make_inference(
      weights, image_size=config.data.eval_image_size,
      center_share=config.evaluation.center_share,
      batch_size=config.evaluation.batch_size, threads=data.data.threads,
      crop_area=config.evaluation.crop_area,
      runtime=config.embed.runtime if config.task == 'embed' else 'jax')
  _console.info(
      '%s of step %d: the %s network, %s; images of %d pixels', config.weights,
      weights.step, weights.network, weights.describe()['architecture'],
      inference.spec.image_size)
  return Named(config, weights, inference, data,
               workdir or place_lib.beside(weights, name, _other_data(config)),
               workdir is not None)


def _other_data(config: ml_collections.ConfigDict) -> str:
  """Returns the data's name if they are not the pretraining's, else ''."""
  data = config.data
  if data.source == 'same' and not data.path and not data.tfds_name:
    return ''
  return data.tfds_name or os.path.basename(data.path.rstrip('/')) or data.source
