"""The k-NN during a run: on training images alone."""

import json

import numpy as np
import pytest

from byol_jax import main as main_lib
from byol_jax.data.sources import table
from byol_jax.evaluation import monitor
from byol_jax.evaluation.features import Features
from byol_jax.networks import architectures
from byol_jax.tasks import pretrain


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
  return monitor.Neighbours(encoder, train, examples=20, k=5, temperature=0.07, seed=0)


def test_queries_are_training_images_and_no_neighbours(monkeypatch):
  encoder, train = Encoder(), make_data(90)
  knn = neighbours(encoder, train)
  assert knn.description == '20 training images against 20 others, k 5'
  fitted, asked = [], []
  fit = monitor.knn.fit
  def fit_and_note(features, labels, **more):
    fitted.append(len(labels))
    classifier = fit(features, labels, **more)
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
    (2, '1 training images against 1 others, k 1'),
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


def test_a_run_looks_at_no_test_image_before_its_end(tmp_path, monkeypatch, capsys):
  monkeypatch.setitem(architectures.ARCHITECTURES, 'resnet8',
                      architectures.Architecture((1,), False, (8,), 8))
  images = np.random.RandomState(0).randint(0, 256, (64, 8, 8, 3)).astype(np.uint8)
  np.savez(tmp_path / 'data.npz', x_train=images, y_train=np.arange(64) % 4,
           x_test=images[:20], y_test=np.arange(20) % 4)
  encoded = []
  encode = pretrain.encode.Encoder.__call__
  def note(self, networks, data, rows):
    encoded.append((len(data.images), len(rows)))
    return encode(self, networks, data, rows)
  monkeypatch.setattr(pretrain.encode.Encoder, '__call__', note)
  monkeypatch.setattr(pretrain.final, 'final', lambda *_, **__: {
      'protocol': {'images': ''}})
  assert main_lib.main([
      'main', '--config=configs/fashion.py', '--distributed=off',
      f'--workdir={tmp_path}/run', '--config.data.source=npz',
      f'--config.data.path={tmp_path}/data.npz', '--config.train.epochs=1',
      '--config.train.batch_size=32', '--config.train.warmup_epochs=0.5',
      '--config.data.image_size=8', '--config.data.eval_image_size=8',
      '--config.evaluation.examples=32', '--config.evaluation.batch_size=8',
      '--config.network.projector_hidden_size=8', '--config.log.tensorboard=False',
      '--config.network.predictor_hidden_size=8',
      '--config.network.projection_size=8']) == 0
  assert encoded == [(64, 64)]  # training images
  told = '32 training images against 32 others, k 20'
  out = capsys.readouterr().out
  assert f'k-NN every 16 steps: {told}' in out
  results = json.loads((tmp_path / 'run' / 'results.json').read_text())
  assert told in results['protocol']['during_training']
  measuring = results['run']['measuring_seconds']
  assert 0 < measuring < results['run']['training_seconds_this_session']
  assert f', of which {measuring:.1f} s (' in out
