"""The protocols by name: each fits a classifier to training images alone."""

from __future__ import annotations

from collections.abc import Callable
import logging
from typing import Any, NamedTuple

import numpy as np

from byol_jax.data.sources import table
from byol_jax.evaluation import checks
from byol_jax.evaluation import crops
from byol_jax.evaluation import figures
from byol_jax.evaluation import finetune
from byol_jax.evaluation import knn
from byol_jax.evaluation import linear
from byol_jax.evaluation import logistic
from byol_jax.evaluation import splits
from byol_jax.evaluation.features import Features
from byol_jax.evaluation.scores import Choice
from byol_jax.evaluation.scores import Classifier
from byol_jax.evaluation.stages import Stages
from byol_jax.evaluation.subject import Subject
from byol_jax.networks.model import Model

_console = logging.getLogger('byol_jax')


class Training(NamedTuple):
  """The input of a classifier's fit; test images are not part of it.

  Attributes:
    subject: the encoder.
    data: labelled images.
    rows: int [n], the images to fit to.
    choice: the rule of choices.
    stages: keep the work of earlier sessions.
    name: this training's name among the stages, and on the console.
    num_classes: C of the whole data set.
  """
  subject: Subject
  data: table.Data
  rows: np.ndarray
  choice: Choice
  stages: Stages
  name: str
  num_classes: int

  def features(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns rows, features and labels of the readable images, checked."""
    rows, x = self.subject.features(self.data, self.rows, is_test=False)
    labels = self.data.labels[rows]
    checks.check_classes(labels)
    return rows, *checks.check_labelled(x, labels, self.num_classes, 'training')

  def readable(self) -> np.ndarray:
    """Returns the rows of the images that can be read.

    Training on crops would replace bad images by others.
    """
    return self.subject.inference.readable(self.data, self.rows)

  def test_features(self, data: table.Data, rows: np.ndarray) -> Features:
    """Returns the frozen encoder's features of test images, checked."""
    found = self.subject.features(data, rows, is_test=True)
    checks.check_labelled(found.x, data.labels[found.rows], self.num_classes, 'test')
    return found


class Fitted(NamedTuple):
  """A classifier, and the function that makes its inputs.

  Attributes:
    classifier: the classifier of features.
    rows: int [m], the training images that could be read.
    features: (data, rows) -> the features of test images.
  """
  classifier: Classifier
  rows: np.ndarray
  features: Callable[[table.Data, np.ndarray], Features]


class Knn(NamedTuple):
  """k-NN, which learns nothing."""
  voting: knn.Voting

  def fit(self, train: Training) -> Fitted:
    """Takes the training images as neighbours."""
    rows, x, y = train.features()
    if len(x) < self.voting.k:
      _console.warning('config key evaluation.knn_k is %d, more than the %d training '
                       'images: all of them vote', self.voting.k, len(x))
    return Fitted(knn.fit(x, y, self.voting, num_classes=train.num_classes), rows,
                  train.test_features)


class Logistic(NamedTuple):
  """Logistic regression with a penalty chosen from some."""
  penalties: logistic.Penalties

  def fit(self, train: Training) -> Fitted:
    """Fits a classifier to the features of centred images."""
    rows, x, y = train.features()
    return Fitted(logistic.fit(x, y, self.penalties, train.choice,
                               num_classes=train.num_classes),
                  rows, train.test_features)


class Linear(NamedTuple):
  """Linear evaluation on 'crops', on 'cached' features or, by size, on 'auto'."""
  features: str
  schedule: linear.Schedule

  def fit(self, train: Training) -> Fitted:
    """Fits a classifier to the features of crops, or of centred images."""
    is_small = self.features == 'auto' and len(train.rows) < linear.SMALL
    if (self.features == 'cached' or is_small
        or train.subject.kind == figures.RAW_PIXELS):
      how = 'of centred images, computed once'
      rows, x, y = train.features()
      source = linear.Cached(x, y, train.choice.seed)
      held_out = lambda rows: (x[rows], y[rows])
    else:
      how = 'of random crops and flips'
      rows = train.readable()
      source, held_out = _crops(train, rows)
    classifier = linear.fit(
        source, held_out, self.schedule, train.choice, num_classes=train.num_classes,
        stages=train.stages, name=train.name)
    return Fitted(_with(classifier, features=how), rows, train.test_features)


def _crops(train: Training, rows: np.ndarray):
  """Returns the source of a linear evaluation's batches, and its held-out features."""
  data, inference, networks = (
      table.take(train.data, rows), train.subject.inference, train.subject.networks)
  source = crops.Crops(inference, networks, data, seed=train.choice.seed)
  checks.check_classes(source.labels)

  def held_out(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows, x = inference(networks, data, rows)
    return checks.check_labelled(x, data.labels[rows], train.num_classes, 'training')

  return source, held_out


class Finetune(NamedTuple):
  """Fine-tuning with a share of the labels. For `make_model` see `finetune.fit`."""
  labels: float
  grid: finetune.Grid
  make_model: Callable[[float], Model]

  def fit(self, train: Training) -> Fitted:
    """Trains the encoder and a classifier."""
    rows = train.readable()
    labelled = rows[splits.labelled_rows(
        train.data.labels[rows], self.labels, train.choice.seed)]
    inference = train.subject.inference
    classifier, networks = finetune.fit(
        table.take(train.data, labelled), train.subject.networks, inference,
        self.make_model, self.grid, train.choice, num_classes=train.num_classes,
        stages=train.stages, name=train.name)
    return Fitted(_with(classifier, labels=self.labels), rows,
                  lambda data, rows: inference(networks, data, rows))


def _with(classifier: Classifier, **more: Any) -> Classifier:
  """Returns the classifier with more entries in its protocol."""
  return classifier._replace(protocol=classifier.protocol | more)
