"""Images of a Parquet file by their places or row groups, however it was written."""

from concurrent import futures

import numpy as np
import pyarrow
from pyarrow import parquet as pyarrow_parquet
import pytest

from byol_jax.data.records import parquet
from byol_jax.data.records import texts

_RNG = np.random.default_rng(0)
_HEADER = _RNG.bytes(600)  # as JPEGs begin alike
_IMAGES = [None if k in (0, 7, 39) else b'' if k == 3 else
           _HEADER + _RNG.bytes(int(size))
           for k, size in enumerate(_RNG.integers(10, 60_000, 40))]
_WANTED = parquet.Wanted('image.bytes', 'image.path', 'label')


def _write(path, images=None, **how):
  images = _IMAGES if images is None else images
  column = pyarrow.array([{'bytes': data, 'path': f'{k}.jpg'}
                          for k, data in enumerate(images)],
                         pyarrow.struct([('bytes', pyarrow.binary()),
                                         ('path', pyarrow.string())]))
  label = [None if k == 5 else k % 3 for k in range(len(images))]
  pyarrow_parquet.write_table(pyarrow.table({'image': column, 'label': label}), path,
                              **how)


def _read(path, found, k, groups):
  if not len(found['start']):
    return groups.read(0, k)
  if found['size'][k] < 0:
    return None
  return parquet.read(path, *(int(found[key][k]) for key in ('start', 'size', 'check')))


@pytest.mark.parametrize('compression', ['none', 'snappy', 'zstd', 'gzip'])
@pytest.mark.parametrize('how', [
    {'use_dictionary': False}, {}, {'data_page_version': '2.0'}, {'row_group_size': 9},
    {'write_statistics': False, 'data_page_size': 1000, 'write_page_index': True}])
def test_every_value_comes_back(tmp_path, compression, how):
  path = str(tmp_path / 'x.parquet')
  _write(path, compression=compression, **how)
  found = parquet.index(path, _WANTED)
  assert bool(len(found['start'])) == (compression == 'none')
  groups = parquet.RowGroups([path], [found], _WANTED.image)
  for k in _RNG.permutation(len(_IMAGES)):
    assert _read(path, found, k, groups) == _IMAGES[k]
  assert list(texts.of(found, 'name')) == [f'{k}.jpg' for k in range(len(_IMAGES))]
  assert found['label'][:7].tolist() == [0, 1, 2, 0, 1, -1, 0]


def test_values_that_a_dictionary_holds_once_come_out_of_row_groups(tmp_path):
  path, images = str(tmp_path / 'x.parquet'), [b'one', b'two', b'one', b'three']
  _write(path, images, compression='none')
  found = parquet.index(path, _WANTED)
  groups = parquet.RowGroups([path], [found], _WANTED.image)
  assert [_read(path, found, k, groups) for k in range(4)] == images


def test_threads_decode_a_row_group_once_and_few_are_kept(tmp_path, monkeypatch):
  path = str(tmp_path / 'x.parquet')
  _write(path, compression='snappy', row_group_size=4)
  found = parquet.index(path, _WANTED)
  groups = parquet.RowGroups([path], [found], _WANTED.image)
  decode, decoded = groups._decoded, []
  monkeypatch.setattr(groups, '_decoded',
                      lambda *key: decoded.append(key) or decode(*key))
  with futures.ThreadPoolExecutor(8) as pool:
    assert list(pool.map(lambda k: groups.read(0, k), range(40))) == _IMAGES
  assert sorted(decoded) == [(0, k) for k in range(10)]
  monkeypatch.setattr(parquet, 'KEPT', 2 * groups.largest)
  groups = parquet.RowGroups([path], [found], _WANTED.image)
  with futures.ThreadPoolExecutor(8) as pool:
    rows = _RNG.integers(0, 40, 300).tolist()
    assert list(pool.map(lambda k: groups.read(0, k), rows)) == [_IMAGES[k] for k in rows]
  assert len(groups._kept) == 2


def test_damage_and_cuts_are_said(tmp_path):
  path = str(tmp_path / 'x.parquet')
  _write(path, compression='none')
  found = parquet.index(path, _WANTED)
  data = bytearray(open(path, 'rb').read())
  data[int(found['start'][5]) + 3] ^= 1
  open(path, 'wb').write(data)
  with pytest.raises(ValueError, match='damaged or has changed'):
    _read(path, found, 5, None)
  open(path, 'wb').write(data[:-10])
  with pytest.raises(ValueError, match='no Parquet file, or is cut short'):
    parquet.index(path, _WANTED)
  with pytest.raises(FileNotFoundError):
    parquet.index(path + 'x', _WANTED)
