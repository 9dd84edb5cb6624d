"""Kept indexes: damaged ones are made again, and many may keep one at a time."""

from concurrent import futures
import contextlib
import os

import numpy as np
import pytest

from byol_jax.data.records import index
from byol_jax.storage import paths as paths_lib


def _find(path):
  """An index of lines: where each starts, and the end."""
  with open(path, 'rb') as f:
    return {'starts': np.cumsum([0] + [len(line) for line in f])}


@pytest.fixture(name='path')
def _path(tmp_path):
  (tmp_path / 'lines').write_bytes(b'one\n\nthree\n' * 100)
  return str(tmp_path / 'lines')


def _change(path, position):
  data = bytearray(open(path, 'rb').read())
  data[position] ^= 1
  open(path, 'wb').write(data)


def _kept(path, file):
  """Returns a kept index, and whether the data was read for it."""
  found = []
  kept = index.kept_index(path, file, lambda path: found.append(path) or _find(path))
  assert set(kept) == {'starts'}
  return kept['starts'].tolist(), bool(found)


def test_a_kept_index_that_is_damaged_is_not_taken(path, tmp_path):
  right = _find(path)['starts'].tolist()
  file = str(tmp_path / 'cache/x.npz')
  assert _kept(path, file) == (right, True)
  assert _kept(path, file) == (right, False)
  kept = open(file, 'rb').read()
  other = str(tmp_path / 'cache/y.npz')  # of another file
  (tmp_path / 'empty').write_bytes(b'')
  assert _kept(str(tmp_path / 'empty'), other) == ([0], True)
  for data in (b'', kept[:-5], kept[:100], kept[:200] + bytes(len(kept) - 200),
               bytes(len(kept)), b'no archive', open(other, 'rb').read()):
    open(file, 'wb').write(data)
    assert _kept(path, file) == (right, True), data[:20]
    assert _kept(path, file) == (right, False)
  for position in range(0, len(kept), 3):
    _change(file, position)
    assert _kept(path, file)[0] == right
  open(file, 'wb').write(kept)
  assert sorted(os.listdir(tmp_path / 'cache')) == ['x.npz', 'y.npz']


def test_an_index_is_kept_by_many_at_a_time(path, tmp_path):
  right = _find(path)['starts'].tolist()
  file = str(tmp_path / 'cache/x.npz')

  def keep(k):
    if k % 5 == 0:
      with contextlib.suppress(FileNotFoundError):
        os.remove(file)
    return index.kept_index(path, file, _find)['starts'].tolist()
  with futures.ThreadPoolExecutor(8) as pool:
    assert all(found == right for found in pool.map(keep, range(400)))
  assert os.listdir(tmp_path / 'cache') in (['x.npz'], [])


def test_an_index_is_kept_only_for_a_bucket(path, tmp_path, monkeypatch, caplog):
  caplog.set_level('INFO', 'byol_jax')
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  right = _find(path)['starts'].tolist()
  assert [x['starts'].tolist() for x in index.indexes([path, path], _find, 'Tar')] == [
      right] * 2
  assert not (tmp_path / 'cache').exists() and not caplog.text
  version = ['1']
  monkeypatch.setattr(paths_lib, 'version', lambda path: version[0])
  found = []
  def find(there):
    found.append(there)
    return _find(there.replace('gs://bucket', str(tmp_path)))
  for _ in range(2):
    kept, = index.indexes(['gs://bucket/lines'], find, 'Tar')
    assert kept['starts'].tolist() == right
  assert len(found) == 1 and 'records of 1 Tar files in a bucket' in caplog.text
  version[0] = '2'  # the file has changed
  index.indexes(['gs://bucket/lines'], find, 'Tar')
  assert len(found) == 2
  assert len(list((tmp_path / 'cache/byol_jax/tar').iterdir())) == 2


def test_indexes_of_local_files_are_kept_where_they_take_long(path, tmp_path,
                                                              monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  found = []
  def look(how):
    kept, = index.indexes([path], lambda path: found.append(path) or _find(path), 'Tar',
                          how=how, local=True)
    return kept['starts'].tolist(), len(found)
  right = _find(path)['starts'].tolist()
  assert look('jpg') == look('jpg') == (right, 1)
  assert look('png') == (right, 2)  # what is looked for counts, too
  with open(path, 'ab') as f:
    f.write(b'more\n')
  right = _find(path)['starts'].tolist()
  assert look('jpg') == look('jpg') == (right, 3)
