"""The k-NN during a run: on training images alone."""

import numpy as np
import pytest

from byol_jax.data.sources import table
from byol_jax.evaluation import monitor
from byol_jax.evaluation.features import Features


class Encoder:
  """One that takes the first pixel for the features, and sees no bad images."""

  def __call__(self, networks, data, rows):
    self.rows = rows
    rows = rows[[row not in data.bad for row in rows]] if data.bad else rows
    angle = data.images[rows, 0, 0, 0].astype(np.float32)
    return Features(rows, np.stack([np.cos(angle), np.sin(angle)], axis=1))


def make_data(n):
  labels = np.arange(n) % 3
  images = np.zeros((n, 2, 2, 3), np.uint8) + labels[:, None, None, None].astype(
      np.uint8)
  return table.Images(images, labels.astype(np.int32), None, 'three shades')


def neighbours(encoder, train):
  return monitor.Neighbours(encoder, train, examples=20,
                            voting=monitor.knn.Voting(5, 0.07), seed=0)


def test_queries_are_training_images_and_no_neighbours(monkeypatch):
  encoder, train = Encoder(), make_data(90)
  knn = neighbours(encoder, train)
  assert knn.description == '20 training images against 20 others, k 5'
  fitted, asked = [], []
  fit = monitor.knn.fit
  def fit_and_note(features, labels, voting, **more):
    fitted.append(len(labels))
    classifier = fit(features, labels, voting, **more)
    def scores(queries):
      asked.append(len(queries))
      return classifier.scores(queries)
    return classifier._replace(scores=scores)
  monkeypatch.setattr(monitor.knn, 'fit', fit_and_note)
  assert knn.top1(None) == 100
  assert (fitted, asked) == ([20], [20])
  assert len(set(encoder.rows)) == 40
  first = encoder.rows
  assert knn.top1(None) == 100
  np.testing.assert_array_equal(first, encoder.rows)  # the same every time


@pytest.mark.parametrize('n, said', [
    (2, '1 training image against 1 other, k 1'),
    (6, '3 training images against 3 others, k 3'),
    (35, '17 training images against 18 others, k 5')])
def test_few_images(n, said):
  knn = neighbours(Encoder(), make_data(n))
  assert knn.description == said and 0 <= knn.top1(None) <= 100


def test_many_images(monkeypatch):
  monkeypatch.setattr(monitor, '_QUERIES', 8)
  assert neighbours(Encoder(), make_data(90)).description == (
      '8 training images against 20 others, k 5')


def test_a_label_that_is_wrong_counts():
  train = make_data(30)
  knn = neighbours(Encoder(), train)
  query = knn._rows[knn._is_query][0]
  train.labels[query] = (train.labels[query] + 1) % 3
  assert knn.top1(None) == pytest.approx(100 * 14 / 15)


def test_bad_images_are_neither_asked_nor_neighbours():
  train = make_data(30)
  knn = neighbours(Encoder(), train)
  queries, others = knn._rows[knn._is_query].tolist(), knn._rows[~knn._is_query].tolist()
  knn._train = train._replace(bad=set(queries[:9] + others[:5]))
  assert knn.top1(None) == 100
  knn._train = train._replace(bad=set(queries))
  assert knn.top1(None) is None
