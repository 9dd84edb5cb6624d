"""What is said of a folder in which no data set of TFDS, or a damaged one, lies."""

import pathlib

import pytest
from tiny_tfds import build
from tiny_tfds import open_part

from byol_jax.data.sources import open as open_lib
from byol_jax.errors import UserError


def test_by_folder_of_the_version(tfds_folder):
  path = str(pathlib.Path(tfds_folder, 'tiny', '1.0.0'))
  assert open_lib.open_part('tfds', path=path).size == 11


def test_not_prepared(tfds_folder):
  for name in ('tiny:1.*', 'tiny:1.*.*', 'tiny:1.0.0'):
    assert open_part(tfds_folder, name=name).size == open_part(tfds_folder).size
  for name in ('absent', 'tiny:2.0.0', 'tiny/config'):
    with pytest.raises(UserError, match='tfds build .*--file_format=array_record'):
      open_part(tfds_folder, name)
  with pytest.raises(UserError, match='does not exist'):
    open_part(tfds_folder + '/no')
  with pytest.raises(UserError, match='tfds_name is not set'):
    open_part(tfds_folder, None)


@pytest.mark.parametrize('file', ['dataset_info.json', 'features.json'])
@pytest.mark.parametrize('content', [b'{"a": ', b'', None])
def test_damaged_descriptions(tmp_path, file, content):
  build(tmp_path, 'array_record')
  folder = tmp_path / 'tiny' / '1.0.0'
  if content is None:
    (folder / file).unlink()
  else:
    (folder / file).write_bytes(content)
  with pytest.raises(UserError, match='there is 1.0.0; .*dataset_info.json or feat'):
    open_part(str(tmp_path))
  if file != 'features.json':  # by which the folder of a version is known
    with pytest.raises(UserError, match='1.0.0.* is damaged'):
      open_part(str(folder), name=None)


def test_the_wrong_folder(tmp_path):
  build(tmp_path, 'array_record')
  for folder in (tmp_path / 'tiny', tmp_path / 'tiny' / '1.0.0'):
    with pytest.raises(UserError, match=f'folder around it, {tmp_path}$'):
      open_part(str(folder))
  with pytest.raises(UserError, match="'tiny:9.0.0' cannot be .* there is 1.0.0"):
    open_part(str(tmp_path), name='tiny:9.0.0')
