"""Which inputs a protocol takes, and that labels stay with their images."""

import numpy as np
import pytest

from byol_jax.data.sources import table
from byol_jax.evaluation import knn
from byol_jax.evaluation import linear
from byol_jax.evaluation import logistic
from byol_jax.evaluation import protocols
from byol_jax.evaluation import stages
from byol_jax.evaluation.features import Features
from byol_jax.evaluation.scores import Choice

BAD = (2, 3, 11, 30)


class Subject:
  """One-hot features of the classes; some images cannot be read."""
  kind = 'byol'

  def __init__(self):
    self.seen = []

  def features(self, data, rows, *, is_test):
    self.seen.append(is_test)
    rows = np.array([row for row in rows if row not in BAD])
    return Features(rows, np.eye(4, dtype=np.float32)[data.labels[rows]])


@pytest.fixture(name='train')
def _train(tmp_path):
  labels = np.random.default_rng(0).integers(0, 4, 60).astype(np.int32)
  data = table.Images(np.zeros((60, 2, 2, 3), np.uint8), labels, None, 'x')
  return protocols.Training(Subject(), data, np.arange(50), Choice(0.2),
                            stages.Stages(str(tmp_path), str(tmp_path)), '', 4)


@pytest.mark.parametrize('protocol', [
    protocols.Knn(knn.Voting(3, 0.07)), protocols.Logistic(logistic.Penalties([1e-3], False)),
    protocols.Linear('auto', linear.Schedule((.1, .01), 20)),
    protocols.Linear('cached', linear.Schedule((1.,), 20))],
    ids=['knn', 'logistic', 'linear, auto', 'linear, cached'])
def test_labels_stay_with_their_images(train, protocol):
  fitted = protocol.fit(train)
  assert train.subject.seen == [False]  # no test image
  assert fitted.rows.tolist() == [row for row in range(50) if row not in BAD]
  rows, x = fitted.features(train.data, np.arange(50, 60))
  assert train.subject.seen == [False, True]
  scores = fitted.classifier.scores(x)
  assert scores.argmax(1).tolist() == train.data.labels[rows].tolist()
  if isinstance(protocol, protocols.Linear):
    assert fitted.classifier.protocol['features'] == (
        'of centred images, computed once')
