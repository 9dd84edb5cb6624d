"""TFRecord files against TensorFlow's writer, and damage in every place."""

from concurrent import futures
import contextlib
import os

import numpy as np
import pytest

from byol_jax.data.records import tfrecord

tf = pytest.importorskip('tensorflow')
_RECORDS = [b'', b'one', bytes(100), os.urandom(70_000), b'end']


@pytest.fixture(name='path')
def _path(tmp_path):
  path = str(tmp_path / 'a.tfrecord')
  with tf.io.TFRecordWriter(path) as writer:
    for record in _RECORDS:
      writer.write(record)
  return path


def _change(path, position, new=None):
  data = bytearray(open(path, 'rb').read())
  if new is None:
    data[position] ^= 1
  else:
    data = data[:position] + new
  open(path, 'wb').write(data)


def test_any_record_in_any_order(path):
  starts = tfrecord.index(path)
  assert starts.dtype == np.int64 and len(starts) == len(_RECORDS) + 1
  assert starts[0] == 0 and starts[-1] == os.path.getsize(path)
  for k in (3, 0, 4, 1, 2, 3):
    assert tfrecord.read(path, starts[k], starts[k + 1]) == _RECORDS[k]


def test_an_empty_file_has_no_records(tmp_path):
  (tmp_path / 'empty').write_bytes(b'')
  assert tfrecord.index(str(tmp_path / 'empty')).tolist() == [0]


def test_a_damaged_length_is_named(path):
  start = int(tfrecord.index(path)[3])
  _change(path, start + 1)
  with pytest.raises(ValueError, match=f'a.tfrecord is damaged at byte {start}'):
    tfrecord.index(path)


@pytest.mark.parametrize('cut', [1, 5, 20])
def test_a_file_cut_short_is_named(path, cut):
  _change(path, os.path.getsize(path) - cut, b'')
  with pytest.raises(ValueError, match='is cut short at byte'):
    tfrecord.index(path)


@pytest.mark.parametrize('offset', [12, 5000, 70_011, 70_012])
def test_damaged_data_is_named(path, offset):
  starts = tfrecord.index(path)
  _change(path, int(starts[3]) + offset)  # in the data, or its checksum
  assert tfrecord.index(path).tolist() == starts.tolist()
  with pytest.raises(ValueError, match=f'in the record at byte {starts[3]}'):
    tfrecord.read(path, starts[3], starts[4])
  assert tfrecord.read(path, starts[4], starts[5]) == _RECORDS[4]


def _kept(path, file):
  """Of an index kept in a file: (the index, whether the data was read for it)."""
  found, read = [], tfrecord.index
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(tfrecord, 'index', lambda path: found.append(path) or read(path))
    return tfrecord._kept_index(path, file).tolist(), bool(found)  # pylint: disable=protected-access


def test_a_kept_index_that_is_damaged_is_not_taken(path, tmp_path):
  right = tfrecord.index(path).tolist()
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
  right = tfrecord.index(path).tolist()
  file = str(tmp_path / 'cache/x.npz')

  def keep(k):
    if k % 5 == 0:
      with contextlib.suppress(FileNotFoundError):
        os.remove(file)
    return tfrecord._kept_index(path, file).tolist()  # pylint: disable=protected-access
  with futures.ThreadPoolExecutor(8) as pool:
    assert all(found == right for found in pool.map(keep, range(400)))
  assert os.listdir(tmp_path / 'cache') in (['x.npz'], [])


def test_records_too_short_for_a_checksum_are_damaged(path):
  for start, stop in ((0, 0), (0, 3), (0, 15)):
    with pytest.raises(ValueError, match='is damaged in the record at byte'):
      tfrecord.read(path, start, stop)
