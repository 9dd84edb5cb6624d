"""The images that a config names: its parts, their labels, and where they live."""

import numpy as np
from PIL import Image
import pytest

from byol_jax.config import command
from byol_jax.config import keys as keys_lib
from byol_jax.data.sources import table
from byol_jax.errors import UserError
from byol_jax.tasks import data as data_lib


def _config(**data):
  config = keys_lib.base().unlock()
  config.data.update(data)
  return config


def _npz(tmp_path, **arrays):
  path = str(tmp_path / 'data.npz')
  np.savez(path, **arrays)
  return _config(source='npz', path=path)


def _pixels(count):
  return np.zeros((count, 4, 4, 3), np.uint8)


# --------------------------------------------------------------------------- one part
def test_the_keys_become_the_request(tmp_path):
  config = _config(source='fake', image_size=6, fake_images=12, fake_classes=3)
  train = data_lib.open_part(config.data, 'train')
  assert train.images.shape == (12, 6, 6, 3) and set(train.labels) == {0, 1, 2}
  other = data_lib.open_part(config.data, 'train', image_size=5, seed=1)
  assert other.images.shape == (12, 5, 5, 3)
  folder = tmp_path / 'photos'
  folder.mkdir()
  for k in range(30):
    Image.new('RGB', (8, 8)).save(folder / f'{k}.png')
  config = _config(source='folder', path=str(folder), max_bad_images=2)
  assert data_lib.open_part(config.data, 'train').bad.limit == 2


@pytest.mark.parametrize('resident, limit, kind', [
    ('auto', 1024, table.Images), ('no', 1024, table.Encoded),
    ('auto', 1, table.Encoded)])
def test_small_images_are_decoded(tmp_path, resident, limit, kind):
  for k in range(6):  # 6 * 256 * 256 * 3 bytes are more than one MiB
    Image.new('RGB', (256, 256), (k, k, k)).save(tmp_path / f'{k}.png')
  config = _config(source='folder', path=str(tmp_path), resident=resident,
                   resident_limit_mib=limit, image_size=128)
  opened = data_lib.load_part(config.data, 'train', seed=0)
  assert isinstance(opened, kind) and opened.size == 6


def test_what_no_device_has_room_for_is_not_read(tmp_path):
  config = _npz(tmp_path, images=np.zeros((180, 64, 64, 3), np.uint8))
  config.data.resident_limit_mib = 1
  with pytest.raises(UserError, match='images in .* takes 2 MiB: raise'):
    data_lib.load_part(config.data, 'train')


# ----------------------------------------------------------------------------- both
def test_two_parts_of_fake_images_differ():
  config = _config(source='fake', image_size=6, fake_images=12, fake_classes=3)
  train, test = data_lib.open_data(config)
  assert train.images.shape == test.images.shape
  assert (train.images != test.images).any()
  config.seed = 1
  again, _ = data_lib.open_data(config)
  assert (train.images != again.images).any()


@pytest.mark.parametrize('without', ['y_test', 'x_test', 'test_split', 'y_train'])
def test_there_may_be_no_test_part(tmp_path, without):
  arrays = dict(x_train=_pixels(8), y_train=np.arange(8) % 2, x_test=_pixels(4),
                y_test=np.arange(4) % 2)
  for name in {'x_test': ('x_test', 'y_test'), 'test_split': ()}.get(
      without, (without,)):
    del arrays[name]
  config = _npz(tmp_path, **arrays)
  if without == 'test_split':
    config.data.test_split = ''
  train, test = data_lib.open_data(config)
  assert train.size == 8 and test is None
  assert (train.labels is None) == (without == 'y_train')


def test_a_part_that_is_not_there(tmp_path):
  config = _npz(tmp_path, images=_pixels(8))
  config.data.train_split = 'test'
  with pytest.raises(UserError, match="train_split is 'test': .* has no such part"):
    data_lib.open_data(config)


@pytest.mark.parametrize('largest, fits', [(1, True), (2, False)])
def test_labels_that_training_does_not_know(tmp_path, largest, fits):
  config = _npz(tmp_path, x_train=_pixels(8), y_train=np.arange(8) % 2,
                x_test=_pixels(3), y_test=np.array([0, 1, largest]))
  if fits:
    assert data_lib.open_data(config)[1].labels.tolist() == [0, 1, 1]
  else:
    with pytest.raises(UserError, match='has a label 2, the training part has 0 to 1'):
      data_lib.open_data(config)


def test_classes_of_the_test_part_are_those_of_the_training_part(tmp_path):
  """A list names them; the test part lacks the first."""
  for k in range(4):
    Image.new('RGB', (8, 8)).save(tmp_path / f'{k}.png')
  (tmp_path / 'train.csv').write_text('0.png,ape\n1.png,bee\n2.png,cow\n')
  (tmp_path / 'test.csv').write_text('3.png,cow\n')
  train, test = data_lib.open_data(_config(
      source='list', path=str(tmp_path / 'train.csv'),
      test_path=str(tmp_path / 'test.csv')))
  assert train.class_names == test.class_names == ('ape', 'bee', 'cow')
  assert test.labels.tolist() == [2]


def test_partly_labelled(tmp_path, caplog):
  config = _npz(tmp_path, x_train=_pixels(8), y_train=np.array([0, 1, -1, 1, 0, -1, 1, 0]),
                x_test=_pixels(3), y_test=np.array([0, 1, 1]))
  train, test = data_lib.open_data(config)  # to pretrain: all images, no label
  assert train.size == 8 and train.labels is None and test is None
  assert '2 of 8 images have no label' in caplog.text
  config.task = 'knn'
  train, test = data_lib.open_data(config)
  assert train.labels.tolist() == [0, 1, 1, 0, 1, 0] and test.size == 3


@pytest.mark.parametrize('labels, warns', [
    (np.arange(20), True), (np.arange(20) % 10, False), (np.arange(6), False)])
def test_classes_of_one_image_are_told(tmp_path, caplog, labels, warns):
  data_lib.open_data(_npz(tmp_path, images=_pixels(len(labels)), labels=labels))
  assert ('classes have one image' in caplog.text) == warns


# ------------------------------------------------------------------- of an evaluation
def _trained(source='npz', **data):
  config = _config(source=source, path='/pretrained.npz', image_size=24,
                   resident='yes', max_bad_images=3, test_split='',
                   resident_limit_mib=5, **data)
  config.seed = 5
  return config


def test_the_same_images_as_the_pretraining():
  asked = _config(source='same')
  asked.seed = 9
  found = data_lib.of_weights(asked, _trained())
  assert (found.data.source, found.data.path) == ('npz', '/pretrained.npz')
  assert found.data.test_split == '' and found.data.max_bad_images == 3
  assert found.data.image_size == 24 and found.data.resident_limit_mib == 5
  assert found.data.resident == 'auto'  # it was 'yes'
  assert found.seed == 9 and asked.data.source == 'same'  # the argument stays


def test_keys_that_are_set_count():
  found = data_lib.of_weights(
      _config(source='same', path='/moved.npz', train_split='a', resident='no'),
      _trained())
  assert found.data.path == '/moved.npz' and found.data.train_split == 'a'
  assert found.data.source == 'npz' and found.data.resident == 'no'


def test_a_default_that_is_asked_for_counts():
  trained = _trained(train_split='train[:10%]')
  asked = command.parse(['main', '--config=knn', '--config.weights=x', '--config.data.train_split=train',
                         '--config.data.class_folders=top']).config
  assert asked.data.own == 'train_split,class_folders'
  assert data_lib.of_weights(asked, trained).data.train_split == 'train'
  asked = command.parse(['main', '--config=knn', '--config.weights=x']).config
  assert data_lib.of_weights(asked, trained).data.train_split == 'train[:10%]'
  assert command.parse(['main', '--config=fashion', '--config.data.train_split=train']
                       ).config.data.own == ''


def test_fake_images_are_drawn_by_the_pretrainings_seed():
  found = data_lib.of_weights(
      _config(source='same'), _trained('fake', fake_images=7, fake_classes=2))
  assert (found.data.fake_images, found.data.fake_classes, found.seed) == (7, 2, 5)


def test_other_images():
  asked = _config(source='folder', path='/other', image_size=224)
  found = data_lib.of_weights(asked, _trained())
  assert (found.data.source, found.data.path) == ('folder', '/other')
  assert found.data.test_split == 'test' and found.data.max_bad_images is None
  assert found.data.image_size == 24 and found.seed == 0


# --------------------------------------------------------------------------- one part
@pytest.mark.parametrize('labels, expected', [
    (('cat', 'dog', 'emu'), ('cat', 'dog', 'emu')), ((1, 2, 3), ('1', '2', '3')),
    ((0, 1, 2), None)])
def test_a_part_alone_is_numbered_by_the_training_part(tmp_path, labels, expected):
  for part, chosen in (('train', labels), ('test', labels[1:])):
    for label in chosen:
      Image.new('RGB', (8, 8)).save(tmp_path / f'{part}{label}.png')
    (tmp_path / f'{part}.csv').write_text('path,label\n' + ''.join(
        f'{part}{label}.png,{label}\n' for label in chosen))
  config = _config(source='list', path=str(tmp_path / 'train.csv'),
                   test_path=str(tmp_path / 'test.csv'))
  opened = data_lib.open_part(config.data, 'test')
  assert opened.class_names == expected and opened.labels.tolist() == [1, 2]
