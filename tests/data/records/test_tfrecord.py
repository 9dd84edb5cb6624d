"""TFRecord files against TensorFlow's writer, and damage in every place."""

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


def test_records_too_short_for_a_checksum_are_damaged(path):
  for start, stop in ((0, 0), (0, 3), (0, 15)):
    with pytest.raises(ValueError, match='is damaged in the record at byte'):
      tfrecord.read(path, start, stop)
