"""Pictures of images that are whole, few, or gone."""

import numpy as np
import photos
import pytest

from byol_jax.config import base
from byol_jax.config import schedule
from byol_jax.data.sources import open as open_lib
from byol_jax.evaluation import knn
from byol_jax.evaluation.features import Features
from byol_jax.tasks import showing
from byol_jax.training import build


@pytest.fixture(name='data')
def _data(tmp_path):
  return open_lib.open_part(
      'folder', 'train', path=photos.photos_in(tmp_path / 'photos', count=17))


def test_views_are_those_of_the_device(data):
  config = base()
  config.data.image_size, config.network.name = 16, 'resnet8'
  config.train.batch_size = 8
  # nothing is changed: a view is a crop
  for view in (config.augment.view1, config.augment.view2):
    for key in ('flip', 'jitter', 'grayscale', 'blur', 'solarize'):
      view[key] = 0.0
  config = schedule.resolve(config, 12)
  found = showing.Showing(data, 'train').views(build.build(config, 12, 2), 0, 8)
  assert len(found) == 8 and all(len(views) == 2 for _, views in found)
  assert len({image.name for image, _ in found}) == 8


def test_images_that_are_gone_leave_a_place(data):
  rows = np.arange(12)
  gone = data._replace(read=lambda row: data.read(row) if row % 2 else b'')
  found = showing.Showing(gone, 'train')
  shown = found.shown(rows)
  assert [image.jpeg is None for image in shown] == [row % 2 == 0 for row in rows]
  features = Features(rows, np.random.default_rng(0).normal(size=(12, 4)))
  assert found.map(features).num_images == 12 and len(found.queries(features)) == 8


def test_one_image(data):
  found = showing.Showing(data, 'train')
  features = Features(np.array([3]), np.ones((1, 4)))
  assert found.map(features) is None and found.queries(features) == []


def test_by_class_leaves_the_image_itself_out(data):
  labels = np.asarray(data.labels)
  x = np.eye(2)[labels] + np.random.default_rng(0).normal(size=(12, 2)) / 100
  found = showing.Showing(data, 'train').by_class(
      Features(np.arange(12), x), knn.Voting(3, 0.07))
  assert found['of'] == 12 and found['confused'] == []
  alone = showing.Showing(data, 'train').by_class(
      Features(np.array([0, 11]), x[[0, 11]]), knn.Voting(3, 0.07))
  assert sum(right for *_, right in alone['classes']) == 0


def test_an_image_without_a_label_has_no_class(data):
  shown = showing.Showing(data._replace(class_names=('a', 'b', 'c', 'd')), 'train')
  assert [shown.label(k) for k in (0, 3, -1)] == ['a', 'd', '']
