"""Indexes from Python: what is found, and folders that are none."""

import json

import numpy as np
import pytest

from byol_jax.errors import UserError
from byol_jax.retrieval import Index
from byol_jax.retrieval import index as index_lib


class _Encoder:
  """Takes an image's first pixels as its features."""
  digest = 'one'

  def __call__(self, images):
    return np.asarray(images, np.float32)[:, 0, 0]


@pytest.fixture(name='folder')
def _folder(tmp_path):
  """Features as task=embed writes them."""
  np.savez(tmp_path / 'embeddings.npz', names=np.array(['x', 'y', 'z', 'xy']),
           features=np.array([[2, 0, 0], [0, 3, 0], [0, 0, 1], [1, 1, 0]], np.float32),
           labels=np.array([0, 1, 1, 0]), class_names=np.array(['shoe', 'hat']))
  (tmp_path / 'results.json').write_text(json.dumps({'protocol': {
      'weights': 'run', 'network': 'online', 'digest': 'one', 'image_size': 8,
      'center_share': 1.0}}))
  return tmp_path


def test_features_are_searched_exactly(folder, monkeypatch):
  index = Index.open(folder)
  asked = {}
  def load(path, **options):
    asked.update(options, path=path)
    return _Encoder()
  monkeypatch.setattr(index_lib.encoder_lib, 'load', load)
  images = np.zeros((2, 1, 1, 3), np.uint8)
  images[0, 0, 0], images[1, 0, 0] = (9, 3, 0), (0, 0, 7)
  first, second = index.search(images, k=3)
  assert [hit.name for hit in first] == ['x', 'xy', 'y'] and second[0].name == 'z'
  np.testing.assert_allclose(first[0].score, 3 / np.sqrt(10), rtol=1e-5)
  assert first[0].columns == {'label': 'shoe'} and first[0].thumbnail is None
  assert asked == {'path': 'run', 'network': 'online', 'image_size': 8,
                   'center_share': 1.0}
  assert len(index) == 4 and index.columns == ['label']


@pytest.mark.parametrize('names, told', [
    (np.array(['shoe', 'hat']), ['shoe', None, 'hat', None]), (None, [0, None, 1, None])])
def test_images_without_a_label(folder, names, told):
  with np.load(folder / 'embeddings.npz') as arrays:
    arrays = dict(arrays) | {'labels': np.array([0, -1, 1, -1])}
  del arrays['class_names']
  np.savez(folder / 'embeddings.npz', **arrays | (
      {} if names is None else {'class_names': names}))
  index = Index.open(folder)
  assert [index.search_name(name, 1)[0].columns['label']
          for name in ('x', 'y', 'z', 'xy')] == told
  assert index.exact_recall(2) == 1


def test_an_image_of_the_index_is_not_its_own_hit(folder):
  image, hits = Index.open(folder).search_name('xy', k=2)
  assert image.name == 'xy' and {hit.name for hit in hits} == {'x', 'y'}
  with pytest.raises(UserError, match="'w' is no image of"):
    Index.open(folder).search_name('w')


def test_another_encoder_is_refused(folder, monkeypatch):
  monkeypatch.setattr(_Encoder, 'digest', 'two')
  monkeypatch.setattr(index_lib.encoder_lib, 'load', lambda *_, **__: _Encoder())
  with pytest.raises(UserError, match='is another encoder'):
    Index.open(folder).search(np.zeros((1, 1, 1, 3), np.uint8))


def test_folders_that_are_no_index(folder, tmp_path_factory):
  with pytest.raises(UserError, match='needs an index'):
    Index.open(folder).search_name('x', where='label = 1')
  (folder / 'embeddings.npz').write_bytes(b'PK\3\4 broken')
  with pytest.raises(UserError, match='is damaged'):
    Index.open(folder)
  empty = tmp_path_factory.mktemp('empty')
  with pytest.raises(UserError, match='is no index'):
    Index.open(empty)
  for text, message in (
      ('{', 'is damaged'), ('{"digest": 5}', 'is damaged'),
      ('{"weights": "a", "network": "online", "digest": "1", "image_size": -3, '
       '"center_share": 1.0}', 'is damaged'),
      ('{"format": "x 2"}', "of the format 'x 2'")):
    (empty / 'index.json').write_text(text)
    with pytest.raises(UserError, match=message):
      Index.open(empty)
