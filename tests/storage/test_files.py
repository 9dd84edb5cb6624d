"""A file is written whole, or the old one stays as it was."""

import json
import os
import threading

import numpy as np
import pytest

from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.storage import files


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
  path = tmp_path / 'file'
  files.write_bytes(path, b'old')
  def fail(*_):
    raise OSError(28, 'No space left on device')
  for name in ('fsync', 'replace'):
    with monkeypatch.context() as patch:
      patch.setattr(os, name, fail)
      with pytest.raises(OSError, match='No space left'):
        files.write_bytes(path, b'new, and longer')
    assert os.listdir(tmp_path) == ['file'] and path.read_bytes() == b'old'
  with pytest.raises(TypeError):
    files.write_bytes(path, 'text')
  assert os.listdir(tmp_path) == ['file'] and path.read_bytes() == b'old'
  files.write_bytes(path, b'new')
  assert os.listdir(tmp_path) == ['file'] and path.read_bytes() == b'new'


def test_the_bytes_are_on_the_disk_before_the_name(tmp_path, monkeypatch):
  done = []
  fsync, replace = os.fsync, os.replace
  monkeypatch.setattr(os, 'fsync', lambda fd: done.append('fsync') or fsync(fd))
  monkeypatch.setattr(os, 'replace', lambda *a: done.append('replace') or replace(*a))
  files.write_bytes(tmp_path / 'file', b'data')
  assert done == ['fsync', 'replace']


def test_of_many_writers_at_a_time_one_is_the_last(tmp_path):
  path = tmp_path / 'file'
  whole = [bytes([k]) * 100_000 for k in range(8)]
  seen = []
  def write(data):
    for _ in range(20):
      files.write_bytes(path, data)
      seen.append(path.read_bytes())
  threads = [threading.Thread(target=write, args=(data,)) for data in whole]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert len(seen) == 160 and all(data in whole for data in seen)
  assert os.listdir(tmp_path) == ['file']


def test_no_folder_is_an_error(tmp_path):
  with pytest.raises(FileNotFoundError):
    files.write_bytes(tmp_path / 'none' / 'file', b'')


def test_write_json_is_atomic(tmp_path):
  path = tmp_path / 'results.json'
  files.write_json(path, {'a': np.float32(1.5), 'b': [float('nan'), (1, 2)],
                              'c': {'d': np.arange(2)}})
  assert json.loads(path.read_text()) == {
      'a': 1.5, 'b': [None, [1, 2]], 'c': {'d': [0, 1]}}
  before = path.read_text()
  with pytest.raises(TypeError):
    files.write_json(path, {'x': object()})
  assert path.read_text() == before
  assert os.listdir(tmp_path) == ['results.json']


def test_json_is_what_json_can_hold(tmp_path):
  path = tmp_path / 'x.json'
  files.write_json(path, {'a': float('nan'), 1: np.float32('inf'), 'b': (1, np.int64(2)),
                          'c': {'d': np.array([[1., np.nan]])}})
  assert json.loads(path.read_text()) == {
      'a': None, '1': None, 'b': [1, 2], 'c': {'d': [[1.0, None]]}}
  assert path.read_text().endswith('}\n')
  assert files.read_json(path)['b'] == [1, 2]


@pytest.mark.parametrize('text', ['', '{', '[' * 100_000, '\0'])
def test_what_is_no_json_is_none(tmp_path, text):
  path = tmp_path / 'x.json'
  assert files.read_json(path) is None
  path.write_text(text)
  assert files.read_json(path) is None


def test_a_full_disk_may_pass():
  with pytest.raises(TransientError, match=r'cannot write a/b \(.*full\): make room'):
    with files.writing('a/b'):
      raise OSError('full')


def test_a_file_for_the_user_makes_its_folder_or_says_what_to_set(tmp_path):
  files.write_for_user(str(tmp_path / 'a' / 'b'), b'x')
  assert (tmp_path / 'a' / 'b').read_bytes() == b'x'
  with pytest.raises(UserError, match='cannot write .*/b/c .*set --workdir'):
    files.write_for_user(str(tmp_path / 'a' / 'b' / 'c'), b'x')


def test_nested_values_have_flat_names():
  assert files.flatten({'a': {'b': 1, 'c': {'d': (1, 2)}}, 'e': None}) == {
      'a.b': 1, 'a.c.d': [1, 2], 'e': None}
