"""Lists of images: text, CSV, titles, labels, and lines that are wrong."""

import numpy as np
import pytest

from byol_jax.data import lists
from byol_jax.errors import UserError


def _write(tmp_path, name, text):
  path = tmp_path / name
  path.write_bytes(text if isinstance(text, bytes) else text.encode())
  return str(path)


def test_plain_text_is_paths_only(tmp_path):
  path = _write(tmp_path, 'all.txt', '# mine\na,b.jpg\n\nsub/ç d.png\r\n/abs.jpg')
  listed = lists.read_list(path)
  assert listed.root == str(tmp_path)
  assert listed.files == ['a,b.jpg', 'sub/ç d.png', '/abs.jpg']
  assert listed.labels is None and listed.class_names is None


@pytest.mark.parametrize('name, text', [
    ('a.csv', 'x.jpg,2\n"y, z.jpg",0\n'),
    ('a.csv', '\ufeffid,Label,PATH\n7,2,x.jpg\n8,0,"y, z.jpg"\n'),
    ('a.tsv', 'x.jpg\t2\ny, z.jpg\t0\n'),
])
def test_numbers_as_labels(tmp_path, name, text):
  listed = lists.read_list(_write(tmp_path, name, text))
  assert listed.files == ['x.jpg', 'y, z.jpg']
  np.testing.assert_array_equal(listed.labels, np.array([2, 0], np.int32))
  assert listed.labels.dtype == np.int32 and listed.class_names is None


def test_names_as_labels(tmp_path):
  train = lists.read_list(_write(
      tmp_path, 'train.csv', 'path,class\na.jpg,dog\nb.jpg,cat\nc.jpg,dog\n'))
  assert train.class_names == ('cat', 'dog')
  np.testing.assert_array_equal(train.labels, [1, 0, 1])
  test = lists.read_list(_write(tmp_path, 'test.csv', 'd.jpg,dog\n'),
                         train.class_names)
  np.testing.assert_array_equal(test.labels, [1])


def test_csv_without_labels(tmp_path):
  listed = lists.read_list(_write(tmp_path, 'a.csv', 'path,width\na.jpg,3\n'))
  assert listed.files == ['a.jpg'] and listed.labels is None


@pytest.mark.parametrize('name, text, message', [
    ('a.txt', '# nothing\n\n', 'is empty'),
    ('a.csv', 'path,label\n', 'is empty'),
    ('a.csv', 'a.jpg,1\nb.jpg,\n', 'line 2, has no label'),
    ('a.csv', 'a.jpg,1\n,2\n', 'line 2, has no path'),
    ('a.csv', 'a.jpg,99999999999\n', 'labels count from 0'),
    ('a.txt', b'\xff\xd8\xff\xe0 a JPEG file', 'not a list of images'),
])
def test_what_is_wrong_is_named(tmp_path, name, text, message):
  path = _write(tmp_path, name, text)
  with pytest.raises(UserError, match=message) as error:
    lists.read_list(path)
  assert name in str(error.value)


def test_a_class_that_training_lacks(tmp_path):
  path = _write(tmp_path, 'test.csv', 'a.jpg,cat\nb.jpg,cow\n')
  with pytest.raises(UserError, match="line 2: 'cow' is not one of the 2"):
    lists.read_list(path, ('cat', 'dog'))


def test_a_list_that_is_missing(tmp_path):
  with pytest.raises(UserError, match='config.data.path'):
    lists.read_list(str(tmp_path / 'no.txt'))
