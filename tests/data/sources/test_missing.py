"""Lists of which no file is there: one message with the cause."""

import os

import pytest

from byol_jax.data.sources import open as open_lib
from byol_jax.errors import UserError


@pytest.fixture(name='photos')
def _photos(tmp_path):
  (tmp_path / 'set/img').mkdir(parents=True)
  for k in range(24):
    (tmp_path / f'set/img/{k:03d}.jpg').write_bytes(b'x')
    (tmp_path / f'set/{k:03d}').mkdir()
  return tmp_path / 'set'


@pytest.mark.parametrize('name, line, cause', [
    ('a.csv', 'img\\{}.jpg,0', "back-slashes"),
    ('a.csv', 'D:\\me\\img\\{}.jpg,0', 'img/000.jpg'),
    ('a.txt', 'img/{}', 'lack the ending of the files, .jpg'),
    ('a.jsonl', '{{"file_name": "img/{}.jpg"}}', 'JSON'),
    ('a.txt', '{}.jpg', 'data.list_root=.*/set/img'),
    ('a.txt', 'set/img/{}.jpg', 'data.list_root='),
    ('a.txt', '/home/her/img/{}.jpg', "it is '.*img/000.jpg'"),
    ('a.txt', 'IMG/{}.JPG', "on the disk it is 'img/000.jpg'"),
    ('a.txt', '"img/{}.jpg"', 'quotes'),
    ('a.txt', 'img/{}.jpeg', 'end in .jpeg, the files in .jpg'),
    ('a.txt', '$PHOTOS_OF_MINE/img/{}.jpg', 'the value for the variable'),
    ('a.txt', '/img/{}.jpg', "it is '.*set/img/000.jpg'"),
    ('a.txt', 'img/{}.jpg.png', 'one ending too many, .png'),
    ('a.txt', 'img/{}.jpg\u200b', r"not seen, as 'img/000.jpg.u200b'"),
    ('a.txt', 'data:image/jpeg;base64,{}', 'pictures as text'),
    ('a.txt', './{}/..', 'its lines are folders'),
    ('a.csv', 'img/0{}.jpg,1', "otherwise on the disk, as 'img/000.jpg'"),
    ('a.txt', 'nowhere/x{}.jpg', 'is the disk there')])
def test_the_cause_is_told_with_the_full_path(photos, monkeypatch, name, line, cause):
  monkeypatch.setenv('PHOTOS_OF_MINE', str(photos))
  path = photos / name
  path.write_text('\n'.join(line.format(f'{k:03d}') for k in range(24)) + '\n')
  with pytest.raises(UserError, match='none of the first 10 files .* looked for as .*'
                     + cause) as error:
    open_lib.open_part('list', path=str(path))
  assert '\n' not in str(error.value)


def test_some_that_are_there_are_enough(photos):
  path = photos / 'a.txt'
  path.write_text(''.join(f'gone{k}.jpg\n' for k in range(12)) + ''.join(
      f'img/{k:03d}.jpg\n' for k in range(24)))
  assert open_lib.open_part('list', path=str(path)).size == 36


def test_relative_paths_start_at_list_root(photos, tmp_path):
  path = tmp_path / 'a.txt'
  path.write_text('000.jpg\n001.jpg\n')
  source = open_lib.open_part('list', path=str(path), list_root=str(photos / 'img'))
  assert source.read(0) == b'x' and source.root == os.path.join(photos, 'img')
