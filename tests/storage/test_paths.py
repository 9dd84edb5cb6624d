"""Files and folders on a disk; those in a bucket are in test_in_bucket.py."""

import errno

import pytest

from byol_jax.errors import UserError
from byol_jax.storage import failures
from byol_jax.storage import paths as paths_lib


def test_a_folder_that_fails_is_none_that_is_missing(tmp_path):
  (tmp_path / 'loop').symlink_to(tmp_path / 'loop')
  (tmp_path / 'file').write_bytes(b'')
  assert paths_lib.is_dir(str(tmp_path)) and paths_lib.names(str(tmp_path)) == [
      'file', 'loop']
  for name in ('none', 'file', 'file/x'):
    assert not paths_lib.is_dir(str(tmp_path / name))
  assert paths_lib.names(str(tmp_path / 'none')) == []
  for look in (paths_lib.is_dir, paths_lib.names):
    with pytest.raises(UserError, match='cannot read .*loop'):
      look(str(tmp_path / 'loop'))


def test_what_is_read_of_a_file(tmp_path):
  path = str(tmp_path / 'file')
  with open(path, 'wb') as f:
    f.write(b'0123456789')
  assert not paths_lib.in_bucket(path) and paths_lib.in_bucket('gs://bucket/file')
  assert paths_lib.stat(path)[0] == 10
  assert paths_lib.read_bytes(path) == b'0123456789'
  assert paths_lib.read_range(path, 2, 5) == b'234'
  assert paths_lib.read_range(path, 8, 20) == b'89'
  with paths_lib.ranges(path) as read:
    assert [read(k, k + 1) for k in (9, 0)] == [b'9', b'0']
  for call in (paths_lib.stat, paths_lib.read_bytes,
               lambda path: paths_lib.read_range(path, 0, 1)):
    with pytest.raises(FileNotFoundError):
      call(path + '-gone')


def test_only_buckets_of_google_are_read():
  with pytest.raises(UserError, match='folders and from Google Cloud Storage'):
    paths_lib.require('s3://bucket/data')


@pytest.mark.parametrize('path, number, has_advice', [
    ('gs://b/x', errno.EACCES, True), ('gs://b/x', failures.NO_LOGIN, True),
    ('gs://b/x', errno.ENOENT, False), ('/b/x', errno.EACCES, False)])
def test_what_may_not_be_read_says_how_to_log_in(path, number, has_advice):
  error = paths_lib.refused(path, OSError(number, 'no'))
  assert str(error).startswith(f'cannot read {path}: no')
  assert ('log in (gcloud auth' in str(error)) == has_advice


def test_entries_and_which_are_folders(tmp_path):
  (tmp_path / 'b.d').mkdir()
  (tmp_path / 'a').touch()
  (tmp_path / 'link').symlink_to('b.d')
  (tmp_path / 'loop').symlink_to('loop')
  assert paths_lib.entries(str(tmp_path)) == (
      ['a', 'b.d', 'link', 'loop'], {'b.d', 'link'})
  assert paths_lib.entries(str(tmp_path / 'none')) == paths_lib.entries(
      str(tmp_path / 'a')) == ([], set())
