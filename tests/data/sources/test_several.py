"""Several folders joined by commas: one data set with the classes of all."""

import os

import pytest

from byol_jax.data.sources import open as open_lib
from byol_jax.errors import UserError


def _photos(root, *names):
  for name in names:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(name.encode())


def test_folders_are_joined_by_the_names_of_their_classes(tmp_path, caplog):
  caplog.set_level('INFO', 'byol_jax')
  _photos(tmp_path, 'a/train/cat/1.jpg', 'a/train/dog/2.jpg', 'a/val/dog/3.jpg',
          'b/train/ant/4.jpg', 'b/train/dog/5.jpg', 'c/6.jpg', 'd/train/x/7.jpg',
          'd/train/y/8.jpg', 'd/val/y/9.jpg')
  def opened(names, split='train', **more):
    path = ','.join(str(tmp_path / name) for name in names)
    return open_lib.open_part('folder', split, path=path, **more)
  train = opened('ab')
  assert train.names == ['a/train/cat/1.jpg', 'a/train/dog/2.jpg', 'b/train/ant/4.jpg',
                         'b/train/dog/5.jpg']
  assert train.class_names == ('ant', 'cat', 'dog')
  assert train.labels.tolist() == [1, 2, 0, 2]
  assert train.read(3) == b'b/train/dog/5.jpg' and os.path.samefile(train.root, tmp_path)
  test = opened('ab', 'test', class_names=train.class_names)
  assert test.labels.tolist() == [2] and test.names[0].endswith('3.jpg')
  unlabelled = opened('ac')
  assert unlabelled.labels is None and unlabelled.size == 3
  assert 'no labels: ' in caplog.text
  with pytest.raises(UserError, match="class 'y', which is not one of the 3"):
    opened('ad', 'test', class_names=train.class_names)
  assert opened('bc', 'test') is None
