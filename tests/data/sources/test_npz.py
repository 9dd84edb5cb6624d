"""Arrays in .npz files: what is read, and what is refused."""

import pickle

import numpy as np
import pytest

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
  data = open_lib.open_part('npz', path=path)
  np.testing.assert_array_equal(data.images, _X[..., None])
  assert data.labels.dtype == np.int32 and data.labels.tolist() == _Y.tolist()
  assert open_lib.open_part('npz', path=path, split='test') is None


def test_npz_by_split(tmp_path):
  colour = np.stack([_X] * 3, -1)
  path = _save(tmp_path, x_train=colour, y_train=_Y[:, None], x_test=colour[:2],
               y_test=_Y[:2].astype(np.uint8))
  train, test = (open_lib.open_part('npz', path=path, split=split)
                 for split in ('train', 'test'))
  assert train.images.shape == (5, 4, 3, 3) and train.labels.shape == (5,)
  assert len(test.images) == 2 and test.labels.tolist() == [0, 1]
  _save(tmp_path, x_train=_X, x_test=_X, y_test=_Y + 10**6)
  assert open_lib.open_part('npz', 'test', path=path).labels.max() == 10**6 + 2
  path = _save(tmp_path, x_train=colour)
  assert open_lib.open_part('npz', path=path).labels is None
  assert open_lib.open_part('npz', path=path, split='test') is None


def test_names_of_medmnist(tmp_path):
  path = _save(tmp_path, train_images=_X, train_labels=_Y[:, None], val_images=_X[:3],
               val_labels=_Y[:3, None], test_images=_X[:2], test_labels=_Y[:2, None])
  sizes = {split: open_lib.open_part('npz', split, path=path).size
           for split in ('train', 'val', 'test')}
  assert sizes == {'train': 5, 'val': 3, 'test': 2}
  with pytest.raises(UserError, match='no dev_images'):
    open_lib.open_part('npz', 'dev', path=path)


@pytest.mark.parametrize('labels, numbers, names', [
    (np.array([48662, 901, 12345, 901, 901]), [2, 0, 1, 0, 0], ('901', '12345', '48662')),
    (_Y + 10**9, [0, 1, 2, 1, 0], ('1000000000', '1000000001', '1000000002')),
    (_Y.astype(float), [0, 1, 2, 1, 0], None),
    (np.array([0, -1, 1, -1, 0]), [0, -1, 1, -1, 0], None),
    (np.array([0, np.nan, 1, np.nan, 0]), [0, -1, 1, -1, 0], None),
    (_Y > 0, [0, 1, 1, 1, 0], None), (np.eye(5), [0, 1, 2, 3, 4], None)])
def test_ids_no_labels_and_one_hot(tmp_path, labels, numbers, names):
  path = _save(tmp_path, x_train=_X, y_train=labels, x_test=_X, y_test=labels)
  train = open_lib.open_part('npz', path=path)
  assert train.labels.tolist() == numbers and train.class_names == names
  test = open_lib.open_part('npz', 'test', path=path, class_names=names)
  assert test.labels.tolist() == numbers


def test_several_labels_an_image_are_left_out(tmp_path, caplog):
  path = _save(tmp_path, images=_X, labels=np.ones((5, 14), np.uint8))
  assert open_lib.open_part('npz', path=path).labels is None
  assert '14 labels an image' in caplog.text


def test_too_large_arrays_are_not_read(tmp_path):
  path = _save(tmp_path, images=np.zeros((200, 40, 40), np.uint8), labels=np.zeros(200, int))
  assert len(open_lib.open_part('npz', path=path, max_bytes=320_000).images) == 200
  with pytest.raises(UserError, match='images in .*data.resident_limit_mib'):
    open_lib.open_part('npz', path=path, max_bytes=200_000)


def test_names_as_labels(tmp_path):
  path = _save(tmp_path, x_train=_X, y_train=np.array(list('badab')), x_test=_X[:2],
               y_test=np.array(list('dd')))
  train = open_lib.open_part('npz', path=path)
  assert train.class_names == ('a', 'b', 'd') and train.labels.tolist() == [1, 0, 2, 0, 1]
  test = open_lib.open_part('npz', 'test', path=path, class_names=train.class_names)
  assert test.labels.tolist() == [2, 2]


@pytest.mark.parametrize('labels, names', [
    pytest.param(np.array(['cat ', 'cat', 'dog', ' dog', '']), ('cat', 'dog'),
                 id='spaces'),
    pytest.param(np.array([b'k\xe9k', b'cat', b'k\xe9k', b'cat', b'cat ']),
                 ('cat', r'k\xe9k'), id='bytes'),
    pytest.param(np.array(['käse', 'cat', 'cat', 'cat', 'cat']), ('cat', 'käse'),
                 id='unicode')])
def test_names_with_spaces_and_of_other_alphabets(tmp_path, labels, names):
  opened = open_lib.open_part('npz', path=_save(tmp_path, images=_X, labels=labels))
  assert opened.class_names == names
  assert [('', *names)[k + 1] for k in opened.labels] == [
      (x.decode('utf-8', 'backslashreplace') if isinstance(x, bytes) else x).strip()
      for x in labels.tolist()]


@pytest.mark.parametrize('arrays, said', [
    ({'pictures': _X}, 'pictures'),
    ({'images': _X / 255}, 'float64, expected uint8'),
    ({'images': _X[0]}, r'shape \(4, 3\)'),
    ({'images': np.zeros((2, 3, 32, 32), np.uint8)}, 'channels last'),
    ({'images': np.zeros((2, 8, 8, 4), np.uint8)}, 'channels last'),
    ({'images': _X[:0]}, 'empty'),
    ({'images': _X, 'labels': _Y[:3]}, r'expected \[5\]'),
    ({'images': _X, 'labels': _Y / 2}, 'expected integers'),
    ({'images': _X, 'labels': np.array([0, 1, 2, 1, np.inf])}, 'expected integers'),
    ({'images': _X, 'labels': _Y - 2}, 'from -2 to 0'),
    ({'images': _X, 'labels': _Y.astype(np.uint64) + 2**63}, 'count from 0'),
    ({'images': np.array([None, 1], object)}, 'cannot read'),
])
def test_npz_refuses(tmp_path, arrays, said):
  path = _save(tmp_path, **arrays)
  with pytest.raises(UserError, match=said) as error:
    open_lib.open_part('npz', path=path)
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
      open_lib.open_part('npz', path=str(path))
  with pytest.raises(UserError, match='there is no file'):
    open_lib.open_part('npz', path=str(tmp_path / 'none.npz'))
