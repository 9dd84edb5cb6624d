"""The sources that are arrays, and the dispatch."""

import gzip
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest

from byol_jax.data.sources import arrays
from byol_jax.data.sources import open as open_lib
from byol_jax.errors import UserError

_X = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
_Y = np.array([0, 1, 2, 1, 0])


def _save(tmp_path, **arrays):
  path = str(tmp_path / 'data.npz')
  np.savez(path, **arrays)
  return path


def test_npz_images_and_labels(tmp_path):
  path = _save(tmp_path, images=_X, labels=_Y)
  data = open_lib.open_source('npz', path=path)
  np.testing.assert_array_equal(data.images, _X[..., None])
  assert data.labels.dtype == np.int32 and data.labels.tolist() == _Y.tolist()
  assert open_lib.open_source('npz', path=path, split='test') is None


def test_npz_by_split(tmp_path):
  colour = np.stack([_X] * 3, -1)
  path = _save(tmp_path, x_train=colour, y_train=_Y[:, None], x_test=colour[:2],
               y_test=_Y[:2].astype(np.uint8))
  train, test = (open_lib.open_source('npz', path=path, split=split)
                 for split in ('train', 'test'))
  assert train.images.shape == (5, 4, 3, 3) and train.labels.shape == (5,)
  assert len(test.images) == 2 and test.labels.tolist() == [0, 1]
  _save(tmp_path, x_train=_X, x_test=_X, y_test=_Y + 10**6)
  assert arrays.npz(path, 'test').labels.max() == 10**6 + 2
  path = _save(tmp_path, x_train=colour)
  assert open_lib.open_source('npz', path=path).labels is None
  assert open_lib.open_source('npz', path=path, split='test') is None


@pytest.mark.parametrize('arrays, said', [
    ({'pictures': _X}, 'pictures'),
    ({'images': _X / 255}, 'float64, expected uint8'),
    ({'images': _X[0]}, r'shape \(4, 3\)'),
    ({'images': np.zeros((2, 3, 32, 32), np.uint8)}, 'channels last'),
    ({'images': np.zeros((2, 8, 8, 4), np.uint8)}, 'channels last'),
    ({'images': _X[:0]}, 'empty'),
    ({'images': _X, 'labels': _Y[:3]}, r'expected \[5\]'),
    ({'images': _X, 'labels': np.eye(5)}, r'expected \[5\]'),
    ({'images': _X, 'labels': _Y / 2}, 'expected integers'),
    ({'images': _X, 'labels': _Y - 1}, 'from -1 to 1'),
    ({'images': _X, 'labels': _Y + 99_998}, 'a label 100000 for 5 images'),
    ({'images': _X, 'labels': _Y.astype(np.uint64) + 2**63}, 'count from 0'),
    ({'x_train': _X, 'y_train': _Y + 10**9}, 'y_train in .* count from 0'),
    ({'images': np.array([None, 1], object)}, 'cannot read'),
])
def test_npz_refuses(tmp_path, arrays, said):
  path = _save(tmp_path, **arrays)
  with pytest.raises(UserError, match=said) as error:
    open_lib.open_source('npz', path=path)
  assert 'data.npz' in str(error.value)


class _Evil:
  """Would run on unpickling."""

  def __reduce__(self):
    return (pytest.fail, ('a pickle was loaded',))


def test_npz_damaged(tmp_path):
  path = tmp_path / 'data.npz'
  good = open(_save(tmp_path, images=np.tile(_X, (50, 1, 1))), 'rb').read()
  np.save(tmp_path / 'array.npy', _X)
  flipped = bytearray(good)
  flipped[len(good) // 2] ^= 1
  for content in (b'', b'hello', good[:200], bytes(flipped),
                  pickle.dumps(_Evil()), (tmp_path / 'array.npy').read_bytes()):
    path.write_bytes(content)
    with pytest.raises(UserError, match='cannot read .*data.npz'):
      open_lib.open_source('npz', path=str(path))
  with pytest.raises(UserError, match='there is no file'):
    open_lib.open_source('npz', path=str(tmp_path / 'none.npz'))


def _write_idx(path, array, compress=bytes):
  header = bytes([0, 0, 8, array.ndim])
  header += struct.pack(f'>{array.ndim}I', *array.shape)
  path.write_bytes(compress(header + array.astype(np.uint8).tobytes()))


def test_fashion_mnist(tmp_path):
  _write_idx(tmp_path / 'train-images-idx3-ubyte', _X)
  _write_idx(tmp_path / 'train-labels-idx1-ubyte.gz', _Y, gzip.compress)
  data = open_lib.open_source('fashion_mnist', path=str(tmp_path))
  np.testing.assert_array_equal(data.images, _X[..., None])
  assert data.labels.tolist() == _Y.tolist() and len(data.class_names) == 10
  with pytest.raises(UserError, match='neither t10k-images-idx3-ubyte'):
    open_lib.open_source('fashion_mnist', path=str(tmp_path), split='test')
  _write_idx(tmp_path / 'train-labels-idx1-ubyte.gz', _Y[:4], gzip.compress)
  with pytest.raises(UserError, match='5 train images and 4 labels'):
    open_lib.open_source('fashion_mnist', path=str(tmp_path))
  _write_idx(tmp_path / 'train-labels-idx1-ubyte.gz', _Y + 9, gzip.compress)
  with pytest.raises(UserError, match='label 11'):
    open_lib.open_source('fashion_mnist', path=str(tmp_path))


def test_fake():
  one, two = (open_lib.open_source(
      'fake', image_size=7, num_images=20, num_classes=3) for _ in range(2))
  assert one.images.shape == (20, 7, 7, 3) and one.images.dtype == np.uint8
  np.testing.assert_array_equal(one.images, two.images)
  assert one.labels.dtype == np.int32 and set(one.labels) == {0, 1, 2}
  other = arrays.fake(20, 7, 3, seed=1)
  test = arrays.fake(20, 7, 3, split='test')
  assert (other.images != one.images).any() and (test.images != one.images).any()
  assert arrays.fake(20, 7, 0).labels is None
  with pytest.raises(UserError, match='not 0 images'):
    arrays.fake(0, 7)


def test_dispatch_errors():
  with pytest.raises(UserError, match="'imagenet' is not one of fashion_sample"):
    open_lib.open_source('imagenet')
  for source in ('npz', 'folder'):
    with pytest.raises(UserError, match='needs config.data.path'):
      open_lib.open_source(source)
  for source in ('fashion_sample', 'fashion_mnist'):
    with pytest.raises(UserError, match="not 'val'"):
      open_lib.open_source(source, split='val')


def test_needs_no_tensorflow():
  code = ('import sys; from byol_jax.data.feed import stream; '
          'from byol_jax.data.sources import open as o; o.open_source("fashion_sample"); '
          'sys.exit(any(name.startswith("tensorflow") for name in sys.modules))')
  subprocess.run([sys.executable, '-c', code], check=True)


def test_paths_as_users_write_them(tmp_path, monkeypatch):
  np.savez(tmp_path / 'a.npz', images=np.zeros((3, 4, 4), np.uint8))
  monkeypatch.setenv('HOME', str(tmp_path))
  assert len(open_lib.open_source('npz', path='~/a.npz').images) == 3
  for source in ('folder', 'list', 'npz'):
    with pytest.raises(UserError, match="data.path is 'gs://b/c'.*mount the bucket"):
      open_lib.open_source(source, path='gs://b/c')
  with pytest.raises(UserError, match='data.test_path'):
    open_lib.open_source('list', path='a.csv', test_path='gs://b/c.csv')
  for path in ('s3://b/c', 'gcs://b/c', 'file:///c'):  # what no library reads
    with pytest.raises(UserError, match=r'read from folders and .*gs://'):
      open_lib.open_source('prepared', path=path)
