"""Fashion-MNIST's files: read, and refused where they do not fit each other."""

import gzip
import struct

import numpy as np
import pytest

from byol_jax.data.sources import open as open_lib
from byol_jax.errors import UserError

_X = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
_Y = np.array([0, 1, 2, 1, 0])


def _write_idx(path, array, compress=bytes):
  header = bytes([0, 0, 8, array.ndim])
  header += struct.pack(f'>{array.ndim}I', *array.shape)
  path.write_bytes(compress(header + array.astype(np.uint8).tobytes()))


def test_fashion_mnist(tmp_path):
  _write_idx(tmp_path / 'train-images-idx3-ubyte', _X)
  _write_idx(tmp_path / 'train-labels-idx1-ubyte.gz', _Y, gzip.compress)
  data = open_lib.open_part('fashion_mnist', path=str(tmp_path))
  np.testing.assert_array_equal(data.images, _X[..., None])
  assert data.labels.tolist() == _Y.tolist() and len(data.class_names) == 10
  with pytest.raises(UserError, match='neither t10k-images-idx3-ubyte'):
    open_lib.open_part('fashion_mnist', path=str(tmp_path), split='test')
  _write_idx(tmp_path / 'train-labels-idx1-ubyte.gz', _Y[:4], gzip.compress)
  with pytest.raises(UserError, match='5 train images and 4 labels'):
    open_lib.open_part('fashion_mnist', path=str(tmp_path))
  _write_idx(tmp_path / 'train-labels-idx1-ubyte.gz', _Y + 9, gzip.compress)
  with pytest.raises(UserError, match='label 11'):
    open_lib.open_part('fashion_mnist', path=str(tmp_path))
