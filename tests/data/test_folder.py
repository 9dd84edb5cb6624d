"""Image folders: layouts, labels, order, and files that cannot be read."""

import os

import numpy as np
import pytest

from byol_jax.data import decode
from byol_jax.data import folder
from byol_jax.data import sources
from byol_jax.errors import UserError

_PNG = b'\x89PNG\r\n\x1a\n'


def _make(root, *files):
  for name in files:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_PNG + name.encode())
  return str(root)


def test_flat(tmp_path):
  root = _make(tmp_path, 'b.JPG', 'a.jpeg', 'c.webp', 'B.png', 'd.bmp', 'e.GiF',
               'notes.txt', '.hidden.png', '.cache/x.png')
  listing = folder.list_folder(root, 'train')
  # By bytes: upper case first.
  assert listing.files == ['B.png', 'a.jpeg', 'b.JPG', 'c.webp', 'd.bmp', 'e.GiF']
  assert listing.labels is None and listing.class_names is None
  assert folder.list_folder(root, 'test') is None


def test_one_folder_a_class(tmp_path):
  root = _make(tmp_path, 'dog/1.png', 'cat/deep/er/2.png', 'cat/1.png',
               'cat-a/1.png', 'readme.txt')
  (tmp_path / 'empty').mkdir()
  listing = folder.list_folder(root, 'train')
  assert listing.files == [
      'cat-a/1.png', 'cat/1.png', 'cat/deep/er/2.png', 'dog/1.png']
  assert listing.class_names == ('cat', 'cat-a', 'dog')
  assert listing.labels.tolist() == [1, 0, 0, 2]
  assert listing.labels.dtype == np.int32


def test_images_beside_folders_are_unlabelled(tmp_path, caplog):
  caplog.set_level('INFO', 'byol_jax')
  root = _make(tmp_path, 'a/1.png', 'b/1.png', '0.png')
  listing = folder.list_folder(root, 'train')
  assert listing.files == ['0.png', 'a/1.png', 'b/1.png']
  assert listing.labels is None
  assert 'without labels' in caplog.text


def test_a_single_folder_is_no_class(tmp_path):
  listing = folder.list_folder(_make(tmp_path, 'pics/1.png', 'pics/2.png'),
                               'train')
  assert len(listing.files) == 2 and listing.labels is None


@pytest.mark.parametrize('test_name', ['test', 'val', 'valid', 'validation'])
def test_parts(tmp_path, test_name):
  root = _make(tmp_path, 'train/a/1.png', 'train/b/1.png', 'train/c/1.png',
               f'{test_name}/c/9.png', f'{test_name}/a/8.png', 'preview.png')
  train = folder.list_folder(root, 'train')
  assert train.files == ['a/1.png', 'b/1.png', 'c/1.png']
  test = folder.list_folder(root, 'test')
  assert test.files == ['a/8.png', 'c/9.png']
  assert test.labels.tolist() == [0, 2]  # numbered as in train/
  assert test.class_names == train.class_names == ('a', 'b', 'c')


def test_parts_of_imagenet(tmp_path):
  """test/ is flat and unlabelled, val/ has classes."""
  root = _make(tmp_path, 'train/a/1.png', 'train/b/1.png', 'test/7.png',
               'val/b/1.png')
  test = folder.list_folder(root, 'test')
  assert test.files == ['b/1.png'] and test.labels.tolist() == [1]
  named = folder.list_folder(os.path.join(root, ''), 'test')
  assert named.files == test.files


def test_flat_parts_and_named_parts(tmp_path):
  root = _make(tmp_path, 'train/1.png', 'val/2.png', 'extra/3.png')
  assert folder.list_folder(root, 'train').labels is None
  assert folder.list_folder(root, 'test').files == ['2.png']
  assert folder.list_folder(root, 'extra').files == ['3.png']
  with pytest.raises(UserError, match='nowhere'):
    folder.list_folder(root, 'nowhere')


def test_train_may_be_a_class_or_stand_alone(tmp_path):
  vehicles = _make(tmp_path / 'v', 'train/1.png', 'car/1.png', 'plane/1.png')
  listing = folder.list_folder(vehicles, 'train')
  assert listing.class_names == ('car', 'plane', 'train')
  alone = _make(tmp_path / 'a', 'train/x/1.png', 'train/y/1.png')
  assert folder.list_folder(alone, 'train').class_names == ('x', 'y')
  assert folder.list_folder(alone, 'test') is None


def test_unknown_test_class(tmp_path):
  root = _make(tmp_path, 'train/a/1.png', 'train/b/1.png', 'val/z/1.png')
  with pytest.raises(UserError, match="val/z' is not one of the 2 class"):
    folder.list_folder(root, 'test')


def test_missing_empty_and_file(tmp_path):
  with pytest.raises(UserError, match='does not exist'):
    folder.list_folder(str(tmp_path / 'no'), 'train')
  with pytest.raises(UserError, match='no images in'):
    folder.list_folder(_make(tmp_path, 'a.txt'), 'train')
  with pytest.raises(UserError, match='is not a folder'):
    folder.list_folder(str(tmp_path / 'a.txt'), 'train')


def test_links(tmp_path):
  root = _make(tmp_path / 'root', 'a/1.png', 'b/1.png')
  _make(tmp_path / 'elsewhere', '5.png')
  (tmp_path / 'root/c').symlink_to(tmp_path / 'elsewhere')
  (tmp_path / 'root/b/loop').symlink_to(tmp_path / 'root')
  (tmp_path / 'root/b/self.png').symlink_to(tmp_path / 'root/b/self.png')
  (tmp_path / 'root/b/gone.png').symlink_to(tmp_path / 'gone.png')
  os.mkfifo(tmp_path / 'root/b/pipe.png')
  source = sources.folder(root, 'train')
  assert source.names == [
      'a/1.png', 'b/1.png', 'b/gone.png', 'b/self.png', 'c/5.png']
  assert source.labels.tolist() == [0, 1, 1, 1, 2]
  assert source.read(4) == _PNG + b'5.png'
  for index, why in ((2, 'missing'), (3, 'unreadable')):
    with pytest.raises(decode.BadImage, match=why):
      source.read(index)


@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0,
                    reason='root may read everything')
def test_unreadable(tmp_path):
  root = _make(tmp_path, 'a.png', 'sub/b.png')
  (tmp_path / 'a.png').chmod(0)
  with pytest.raises(decode.BadImage, match='unreadable'):
    sources.folder(root, 'train').read(0)
  (tmp_path / 'sub').chmod(0)
  try:
    with pytest.raises(UserError, match='cannot list folder'):
      folder.list_folder(root, 'train')
  finally:
    (tmp_path / 'sub').chmod(0o700)


def test_odd_names(tmp_path):
  root = _make(tmp_path, 'ä ö/\u4e2d.png', 'x y/1 2.png')
  with open(os.path.join(os.fsencode(root), b'x y', b'\xff.png'), 'wb') as file:
    file.write(b'no image')
  source = sources.folder(root, 'train')
  assert source.class_names == ('x y', 'ä ö')
  assert source.read(2).startswith(_PNG)
  source.bad.add(1, 'damaged')
  source.bad.summary().encode('utf-8')  # can be printed


def test_a_storage_that_fails_for_a_moment(tmp_path, monkeypatch):
  root = _make(tmp_path, 'a.png')
  monkeypatch.setattr(folder.time, 'sleep', lambda seconds: None)
  failures = iter([OSError(5, 'Input/output error')] * 2)
  def fail_twice(*arguments):
    for error in failures:
      raise error
    return open(*arguments)
  monkeypatch.setattr(folder, 'open', fail_twice, raising=False)
  assert sources.folder(root, 'train').read(0).startswith(_PNG)
  failures = iter([OSError(5, 'Input/output error')] * 3)
  with pytest.raises(decode.BadImage, match='Input/output'):
    sources.folder(root, 'train').read(0)
