"""IDX files: what is read, and what is refused."""

import gzip
import struct

import numpy as np
import pytest

from byol_jax.data.sources import idx
from byol_jax.errors import UserError


def _idx(array, code=8):
  return (bytes([0, 0, code, array.ndim])
          + struct.pack(f'>{array.ndim}I', *array.shape) + array.tobytes())


_IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize('compress', [
    pytest.param(bytes, id='plain'), pytest.param(gzip.compress, id='gzip')])
def test_reads(tmp_path, compress):
  path = tmp_path / 'a'
  path.write_bytes(compress(_idx(_IMAGES)))
  np.testing.assert_array_equal(idx.read_idx(str(path), 3), _IMAGES)


# without the time, which gzip would write
_COMPRESSED = gzip.compress(_idx(_IMAGES), mtime=0)


@pytest.mark.parametrize('data, said', [
    pytest.param(data, said, id=name) for name, data, said in (
        ('nothing', b'', 'not an IDX file'),
        ('a PNG', b'\x89PNG\r\n\x1a\n', 'not an IDX file'),
        ('doubles', _idx(_IMAGES, code=0x0D), 'type code 0x0d'),
        ('one image', _idx(_IMAGES[0]), '2 dimensions, expected 3'),
        ('half a header', _idx(_IMAGES)[:10], 'inside its header'),
        ('a byte less', _idx(_IMAGES)[:-1], 'fewer'),
        ('a byte more', _idx(_IMAGES) + b'x', 'more'),
        ('no images', _idx(_IMAGES[:0]), 'empty'),
        ('a huge shape', b'\0\0\x08\x03' + b'\xff' * 12, 'damaged'),
        ('gzip cut', _COMPRESSED[:-9], 'cannot read'),
        ('gzip of another CRC', _COMPRESSED[:-8] + b'\0' * 8, 'cannot read'),
        ('gzip of garbage', b'\x1f\x8b' + b'x' * 30, 'cannot read'),
    )])
def test_refuses_with_the_path(tmp_path, data, said):
  path = tmp_path / 'broken-idx3-ubyte'
  path.write_bytes(data)
  with pytest.raises(UserError, match=said) as error:
    idx.read_idx(str(path), 3)
  assert str(path) in str(error.value)


def test_missing(tmp_path):
  with pytest.raises(UserError, match='neither a-idx nor a-idx.gz'):
    idx.find_idx(str(tmp_path), 'a-idx')
  with pytest.raises(UserError, match='cannot read'):
    idx.read_idx(str(tmp_path / 'a-idx'), 1)
