"""Image folders: layouts, labels, order, and files that cannot be read."""

import os

import numpy as np
import pytest

from byol_jax.data.images import decode
from byol_jax.data.sources import folder
from byol_jax.data.sources import open as open_lib
from byol_jax.data.sources import walk
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.storage import retry

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


@pytest.mark.parametrize('train_name', ['train', 'training', 'Training'])
@pytest.mark.parametrize('test_name', [
    'test', 'testing', 'val', 'valid', 'validation', 'eval', 'evaluation', 'TEST'])
def test_parts(tmp_path, train_name, test_name):
  root = _make(tmp_path, *(f'{train_name}/{x}/1.png' for x in 'abc'),
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


def test_of_parts_that_differ_in_case_the_lower_one_is_taken(tmp_path):
  root = _make(tmp_path, 'Train/1.png', 'train/2.png', 'TEST/3.png', 'test/4.png')
  assert os.path.basename(folder.list_folder(root, 'train').root) == 'train'
  assert os.path.basename(folder.list_folder(root, 'test').root) == 'test'


def test_folders_beside_parts_are_named(tmp_path, caplog):
  caplog.set_level('INFO', 'byol_jax')
  root = _make(tmp_path, 'training/a/1.png', 'training/b/1.png', 'eval/a/1.png',
               'val/b/1.png', 'meeting/1.png')
  (tmp_path / 'lost+found').mkdir()
  assert folder.list_folder(root, 'train').class_names == ('a', 'b')
  assert folder.list_folder(root, 'test').files == ['b/1.png']
  line, = caplog.messages
  assert line.endswith("passed over 'meeting' beside the parts training, val, eval")


@pytest.mark.parametrize('names', [
    ('eval', 'meeting'), ('eval', 'testing'), ('meeting', 'training')])
def test_names_of_parts_are_classes_where_none_is_to_train(tmp_path, names):
  root = _make(tmp_path, *(f'{name}/1.png' for name in names))
  assert folder.list_folder(root, 'train').class_names == names
  assert folder.list_folder(root, 'test') is None


def test_train_may_be_a_class_or_stand_alone(tmp_path):
  vehicles = _make(tmp_path / 'v', 'train/1.png', 'car/1.png', 'plane/1.png')
  listing = folder.list_folder(vehicles, 'train')
  assert listing.class_names == ('car', 'plane', 'train')
  alone = _make(tmp_path / 'a', 'train/x/1.png', 'train/y/1.png')
  assert folder.list_folder(alone, 'train').class_names == ('x', 'y')
  assert folder.list_folder(alone, 'test') is None


def test_unknown_test_class(tmp_path):
  root = _make(tmp_path, 'train/a/1.png', 'train/b/1.png', 'val/z/1.png', 'val/a/1.png')
  with pytest.raises(UserError, match="val/z' is not one of the 2 class folders"
                     ' .*rename it, move it away, or add the class'):
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
  source = open_lib.open_part('folder', path=root)
  assert source.names == [
      'a/1.png', 'b/1.png', 'b/gone.png', 'b/self.png', 'c/5.png']
  assert source.labels.tolist() == [0, 1, 1, 1, 2]
  assert source.read(4) == _PNG + b'5.png'
  for index, why in ((2, 'missing'), (3, 'unreadable')):
    with pytest.raises(decode.BadImage, match=why):
      source.read(index)


def test_each_folder_is_listed_once(tmp_path):
  root = _make(tmp_path / 'root', 'train/b/1.png', 'train/c/2.png', 'val/c/3.png')
  _make(tmp_path / 'ext', 'x/4.png', 'x/y/5.png')
  for link, to in (('a', 'b'), ('b/c', '../c'), ('c/b', '../b'),
                   ('d', '../../ext/x/y'), ('e', '../../ext/x'),
                   ('b/over', '../../../ext'), ('f', '../../ext/x')):
    (tmp_path / 'root/train' / link).symlink_to(to)
  train = folder.list_folder(root, 'train')
  assert train.files == ['b/1.png', 'b/over/x/4.png', 'b/over/x/y/5.png', 'c/2.png']
  assert train.class_names == ('b', 'c')  # not its second name, a
  assert folder.list_folder(root, 'test').labels.tolist() == [1]
  (tmp_path / 'root/train/b/over').unlink()
  train = folder.list_folder(root, 'train')
  assert train.files == ['b/1.png', 'c/2.png', 'd/5.png', 'e/4.png']
  assert folder.list_folder(root, 'test').class_names == train.class_names


def test_folders_linked_to_each_other(tmp_path):
  """Neither as many files as there are ways, nor as the system lists them."""
  rng = np.random.default_rng(0)
  for trial in range(20):
    root = _make(tmp_path / str(trial), *(
        f'train/d{k}/{"e/" * (k % 3)}{k}.png' for k in range(5)), 'val/d1/1.png')
    for k in range(15):
      start, end = rng.integers(0, 9, 2)
      link = tmp_path / str(trial) / 'train' / f'd{start}'
      link.mkdir(exist_ok=True)
      (link / f'l{k}').symlink_to(f'../d{end}')
    expected = folder.list_folder(root, 'train')
    assert len(expected.files) == 5
    for _ in range(3):
      with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, 'entries', _shuffled(walk.entries, rng))
        shuffled = folder.list_folder(root, 'train')
        assert shuffled.files == expected.files
        test = folder.list_folder(root, 'test')
        assert test.class_names == expected.class_names


def _shuffled(entries, rng):
  return lambda *arguments: rng.permutation(list(entries(*arguments)))


def test_an_unreadable_file(tmp_path):
  root = _make(tmp_path, 'a.png')
  (tmp_path / 'a.png').unlink()
  (tmp_path / 'a.png').symlink_to(tmp_path / 'a.png')
  with pytest.raises(decode.BadImage, match='unreadable'):
    open_lib.open_part('folder', path=root).read(0)
  with pytest.raises(decode.BadImage, match='unreadable .*null'):
    folder.read_file(root + '/a\0b.png')


def test_a_subfolder_without_permission_is_left_out(tmp_path, monkeypatch, caplog):
  root = _make(tmp_path, 'train/a/1.png', 'train/b/1.png', 'train/b/no/2.png',
               'train/locked/3.png', 'val/b/1.png')
  def forbid(*folders, error):
    def scandir(path):
      if path.rstrip('/').endswith(folders):
        raise error
      return os_scandir(path)
    monkeypatch.setattr(folder.os, 'scandir', scandir)
  os_scandir = os.scandir
  forbid('locked', 'no', error=PermissionError(13, 'Permission denied'))
  train = folder.list_folder(root, 'train')
  assert train.files == ['a/1.png', 'b/1.png'] and train.class_names == ('a', 'b')
  warning, = (r.getMessage() for r in caplog.records if r.levelname == 'WARNING')
  assert 'train/b/no' in warning and 'train/locked' in warning
  assert folder.list_folder(root, 'test').class_names == ('a', 'b')
  forbid('train', error=PermissionError(13, 'Permission denied'))
  with pytest.raises(UserError, match='cannot list folder .*train.* Permission'):
    folder.list_folder(root, 'train')
  # Another time it may be there: no data set of its own.
  forbid('locked', error=OSError(5, 'Input/output error'))
  with pytest.raises(TransientError,
                     match='cannot list folder .*locked.* Input/output'):
    folder.list_folder(root, 'train')


def test_a_disk_of_its_own(tmp_path):
  root = _make(tmp_path, 'train/a/1.png', 'train/b/1.png')
  (tmp_path / 'lost+found').mkdir()
  assert folder.list_folder(root, 'train').class_names == ('a', 'b')


def test_odd_names(tmp_path):
  root = _make(tmp_path, 'ä ö/\u4e2d.png', 'x y/1 2.png')
  with open(os.path.join(os.fsencode(root), b'x y', b'\xff.png'), 'wb') as file:
    file.write(b'no image')
  source = open_lib.open_part('folder', path=root)
  assert source.class_names == ('x y', 'ä ö')
  assert source.read(2).startswith(_PNG)
  source.bad.add(1, 'damaged')
  source.bad.summary().encode('utf-8')  # can be printed


def test_a_storage_that_fails_for_a_moment(tmp_path, monkeypatch):
  root = _make(tmp_path, 'a.png')
  monkeypatch.setattr(retry.time, 'sleep', lambda seconds: None)
  failures = iter([OSError(5, 'Input/output error')] * 2)
  def fail_twice(*arguments):
    for error in failures:
      raise error
    return open(*arguments)
  monkeypatch.setattr(folder, 'open', fail_twice, raising=False)
  assert open_lib.open_part('folder', path=root).read(0).startswith(_PNG)
  # for a minute: no bad image, which would change the order from here on
  failures = iter([OSError(5, 'Input/output error')] * 100)
  with pytest.raises(TransientError, match='a.png.*Input/output'):
    open_lib.open_part('folder', path=root).read(0)


def test_a_test_part_without_classes_beside_one_with_some(tmp_path):
  root = _make(tmp_path, *(f'{part}/{c}/{k}.png' for part in ('train', 'val')
                           for c in ('n01', 'n02') for k in range(2)),
               'test/images/1.png', 'test/images/2.png')
  listing = folder.list_folder(root, 'test')
  assert listing.labels.tolist() == [0, 0, 1, 1] and listing.root.endswith('val')


def test_parts_by_the_names_that_a_config_gives(tmp_path):
  root = _make(tmp_path, *(f'{part}/{c}/{part}.png' for part in ('train', 'mine', 'held')
                           for c in ('cat', 'dog')))
  files = {}
  for names in (('train', 'test'), ('train', 'held'), ('mine', 'held')):
    for split in names:
      if split != 'test':
        opened = open_lib.open_part('folder', split, path=root, train_split=names[0],
                                    test_split=names[1])
        files[names, split] = list(opened.names), opened.class_names
  both = ('cat', 'dog')
  assert files[('train', 'held'), 'train'] == (['cat/train.png', 'dog/train.png'], both)
  assert files[('train', 'held'), 'held'] == (['cat/held.png', 'dog/held.png'], both)
  assert files[('mine', 'held'), 'mine'] == (['cat/mine.png', 'dog/mine.png'], both)
  assert files[('mine', 'held'), 'held'] == (['cat/held.png', 'dog/held.png'], both)
  assert len(files[('train', 'test'), 'train'][0]) == 6  # no test part: all is trained on
