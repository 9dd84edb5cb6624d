"""Lists of images: text, CSV, titles, labels, and lines that are wrong."""

import gzip

import numpy as np
import pytest

from byol_jax.data.sources import list as list_lib
from byol_jax.data.sources import open as open_lib
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.storage import retry


def _write(tmp_path, name, text):
  path = tmp_path / name
  path.write_bytes(text if isinstance(text, bytes) else text.encode())
  return str(path)


def test_plain_text_is_paths_only(tmp_path):
  path = _write(tmp_path, 'all.txt', '# mine\na,b.jpg\n\nsub/ç d.png\r\n/abs.jpg')
  listed = list_lib.read_list(path)
  assert listed.root == str(tmp_path)
  assert listed.files == ['a,b.jpg', 'sub/ç d.png', '/abs.jpg']
  assert listed.labels is None and listed.class_names is None


@pytest.mark.parametrize('name, text', [
    ('a.csv', 'x.jpg,2\n"y, z.jpg",0\n'),
    ('a.csv', '\ufeffid,Label,PATH\n7,2,x.jpg\n8,0,"y, z.jpg"\n'),
    ('a.tsv', 'x.jpg\t2\ny, z.jpg\t0\n'),
    ('a.csv', 'Image Path,label-id\nx.jpg,2\n"y, z.jpg",0\n'),
    ('a.csv', ',image_id,class_id\n0,x.jpg,2\n1,"y, z.jpg",0\n'),
    ('a.csv', 'id,image_path,category,labels\n7,x.jpg,a,2\n8,"y, z.jpg",b,0\n'),
    ('a.csv', 'x.jpg,2\r\n\r\n , \r\n"y, z.jpg",00\r\n'),
])
def test_numbers_as_labels(tmp_path, name, text):
  listed = list_lib.read_list(_write(tmp_path, name, text))
  assert listed.files == ['x.jpg', 'y, z.jpg']
  np.testing.assert_array_equal(listed.labels, np.array([1, 0], np.int32))
  assert listed.labels.dtype == np.int32 and listed.class_names == ('0', '2')
  old = list_lib.read_list(_write(tmp_path, name, text), rules='0.1')
  assert old.labels.tolist() == [2, 0] and old.class_names is None


def test_names_as_labels(tmp_path):
  train = list_lib.read_list(_write(
      tmp_path, 'train.csv', 'path,class\na.jpg,dog\nb.jpg,cat\nc.jpg,dog\n'))
  assert train.class_names == ('cat', 'dog')
  np.testing.assert_array_equal(train.labels, [1, 0, 1])
  test = list_lib.read_list(_write(tmp_path, 'test.csv', 'd.jpg,dog\n'), 'test',
                         train.class_names)
  np.testing.assert_array_equal(test.labels, [1])


def test_csv_without_labels(tmp_path):
  for text in ('path\na.jpg\n', 'a.jpg\n', ',File\n0,a.jpg\n', 'odd;name.jpg\n'):
    listed = list_lib.read_list(_write(tmp_path, 'a.csv', text))
    assert len(listed.files) == 1 and listed.files[0].endswith('.jpg')
    assert listed.labels is None


def test_a_class_may_be_called_like_a_title(tmp_path):
  listed = list_lib.read_list(_write(tmp_path, 'a.csv', 'a.jpg,image\nb.jpg,target\n'))
  assert listed.files == ['a.jpg', 'b.jpg']
  assert listed.class_names == ('image', 'target')


def test_files_without_an_extension(tmp_path):
  listed = list_lib.read_list(_write(tmp_path, 'a.csv', 'x/1,cat\nx/2,dog\nx/3,0\n'))
  assert listed.files == ['x/1', 'x/2', 'x/3']
  assert listed.class_names == ('0', 'cat', 'dog')


@pytest.mark.parametrize('name, text, message', [
    ('space.txt', 'a b.jpg 1\nc.jpg 0\n', "'a b.jpg 1' looks like a path and a lab"),
    ('bar.txt', 'a.png|cat\n', 'lists with labels are .csv'),
    ('colon.txt', 'a.png:1\n', 'lists with labels are .csv'),
    ('a.txt', '# nothing\n\n', 'is empty'),
    ('a.csv', 'path,label\n', 'is empty'),
    ('a.csv', 'a.jpg,1\n,2\n', 'line 2, has no path'),
    ('a.txt', b'\xff\xd8\xff\xe0 a JPEG file', 'not a list of images'),
    # titles
    ('a.csv', 'img_fn,label\na.jpg,0\n', 'none of them for the path: .* image_path'),
    ('a.csv', 'img_fn,breed\na.jpg,dog\nb.jpg,cat\n', "'breed', looks like titles"),
    ('a.csv', 'x_file,breed\nx/1,0\nx/2,2\nx/3,2\n', "'breed', looks like titles"),
    ('a.csv', 'img_fn\na.jpg\nb.jpg\n', "'img_fn', looks like titles"),
    ('a.csv', '0,a.jpg\n1,b.jpg\n', 'the path comes first'),
    # columns
    ('a.csv', 'path;label\na.jpg;0\n', 'semicolons between its columns'),
    ('a.csv', 'a.jpg;0\nb.jpg;1\n', 'semicolons between its columns'),
    ('a.csv', ';path;label\n0;a.jpg;0\n', 'semicolons between its columns'),
    ('a.csv', 'sep=,\npath,label\na.jpg,0\na, b.jpg,0\n', 'line 4, has 3 columns, not 2'),
    ('a.csv', 'a.jpg\tdog\nb.jpg\tcat\n', 'tabs between its columns'),
    ('a.csv', 'a.jpg|dog\nb.jpg|cat\n', 'bars between its columns'),
    ('a.csv', 'path|label\na|dog\n', 'bars between its columns'),
    ('a.tsv', 'path,label\na.jpg,0\n', 'commas between its columns'),
    ('a.csv', '0,a.jpg,dog\n', 'line 1, has 3 columns, not 2'),
    ('a.csv', 'path,label\na.jpg,0\na, b.jpg,0\n', 'line 3, has 3 columns, not 2'),
    ('a.csv', 'a.jpg\nb.jpg,0\n', 'line 2, has 2 columns, not 1'),
    # labels
    ('a.csv', 'a.jpg,0\nb.jpg,-2\nc.jpg,10\n', "line 2, has the label '-2'"),
    ('a.csv', 'a.jpg,1.5\nb.jpg,0.0\n', "line 1, has the label '1.5'"),
    # no text, and quotes
    ('a.txt', 'a.jpg\nb.jpg\0c.jpg\0', 'line 2, has a NUL'),
    ('a.csv', 'a.jpg,0\n\0.jpg,1\n', 'line 2, has a NUL'),
    ('a.txt', 'a.jpg\nb.jpg\n'.encode('utf-16-le'), 'line 1, has a NUL'),
    ('a.csv', 'a.jpg,0\n'.encode('utf-16'), 'save it as UTF-8, uncompressed'),
    ('a.txt.gz', gzip.compress(b'a.jpg\n', mtime=0), 'save it as UTF-8, uncompressed'),
    # places
    ('a.txt', 'file:///b/a.jpg\n', 'without file://'),
    ('a.txt', 'gs://b/a.jpg\n', 'only local files are read: mount'),
    ('a.csv', 'path,label\nhttp://x.org/a.jpg,0\n', 'only local files are read'),
    ('a.csv', 'a.jpg,0\n"b.jpg,1\nc.jpg,1\n', 'line 2: .* quote'),
    ('a.csv', 'a.jpg,0\n"b.jpg,1\nc.jpg,1\nd.jpg",1\n', 'line 2, has a path that'),
    ('a.tsv', '"odd.jpg\t0\nb.jpg\t1\n', 'line 1: .* quote'),
])
def test_what_is_wrong_is_named(tmp_path, name, text, message):
  path = _write(tmp_path, name, text)
  with pytest.raises(UserError, match=message) as error:
    list_lib.read_list(path)
  assert name in str(error.value)


def test_a_class_that_training_lacks(tmp_path):
  path = _write(tmp_path, 'test.csv', 'a.jpg,cat\nb.jpg,cow\n')
  with pytest.raises(UserError, match="line 2, .* 'cow', which is not one of the 2"):
    list_lib.read_list(path, 'test', ('cat', 'dog'))


def test_both_lists_have_numbers_or_both_names(tmp_path):
  names = _write(tmp_path, 'names.csv', 'a.jpg,dog\nb.jpg,cat\n')
  numbers = _write(tmp_path, 'numbers.csv', 'a.jpg,0\nb.jpg,150000\n')
  def read_test(path, class_names):
    (tmp_path / 'a.jpg').touch()
    return open_lib.open_part('list', path='train.csv', test_path=path,
                                split='test', class_names=class_names)
  with pytest.raises(UserError, match="names.csv.*label 'dog'.* has numbers"):
    read_test(names, None)
  with pytest.raises(UserError, match="'0', which is not one of the 2 classes"):
    read_test(numbers, ('cat', 'dog'))
  # A small test part of many classes: compared with training's elsewhere.
  assert read_test(numbers, None).labels.tolist() == [0, 150000]
  assert read_test(names, ('cat', 'dog', 'emu')).labels.tolist() == [1, 0]


def test_as_many_classes_as_images(tmp_path):
  rows = ''.join(f'{k}.jpg,{100_000 - k}\n' for k in range(100_001))
  listed = list_lib.read_list(_write(tmp_path, 'a.csv', rows))
  assert listed.labels.max() == 100_000


@pytest.mark.parametrize('cells, labels, names', [
    (('48662', '12345', '901', '901'), [2, 1, 0, 0], ('901', '12345', '48662')),
    (('1', '2', '3', '1'), [0, 1, 2, 0], ('1', '2', '3')),  # counted from 1
    (('99999999999', '100000', '5', '5'), [2, 1, 0, 0], ('5', '100000', '99999999999')),
    (('1.0', '0.0', '2.', '1'), [1, 0, 2, 1], None),  # as pandas writes them
    (('1.0', '', '0.0', 'nan'), [1, -1, 0, -1], None),
    (('0', '-1', '1', '-1.0'), [0, -1, 1, -1], None),
    (('7', '-1', '3', ''), [1, -1, 0, -1], ('3', '7')),
    (('7', 'NA', '3', 'None'), [1, -1, 0, -1], ('3', '7')),
    (('cat', '', 'dog', 'cat'), [0, -1, 1, 0], ('cat', 'dog'))])
def test_ids_and_no_labels(tmp_path, cells, labels, names):
  rows = ''.join(f'{k}.jpg,{cell}\n' for k, cell in enumerate(cells))
  listed = list_lib.read_list(_write(tmp_path, 'a.csv', f'path,label\n{rows}'))
  assert listed.labels.tolist() == labels and listed.class_names == names
  # the test part has the training part's numbers
  rows = f'x.jpg,{cells[2]}\ny.jpg,{cells[0]}\n'
  test = list_lib.read_list(_write(tmp_path, 't.csv', f'path,label\n{rows}'), 'test',
                            names)
  assert test.labels.tolist() == [labels[2], labels[0]]


def test_a_test_id_that_training_lacks(tmp_path):
  path = _write(tmp_path, 't.csv', 'a.jpg,5\nb.jpg,4\n')
  with pytest.raises(UserError, match="label 4, .* 2 classes .*test_split=''"):
    list_lib.read_list(path, 'test', ('3', '5'))


def test_labels_may_be_missing_everywhere(tmp_path):
  listed = list_lib.read_list(_write(tmp_path, 'a.csv', 'path,label\na.jpg,\nb.jpg,-1'))
  assert listed.labels is None and listed.class_names is None


def test_columns_by_name(tmp_path, caplog):
  caplog.set_level('INFO', 'byol_jax')
  path = _write(tmp_path, 'a.csv', 'img_fn,breed,label\na.jpg,dog,1\nb.jpg,cat,0\n')
  listed = list_lib.read_list(path, path_column='img_fn', label_column='breed')
  assert listed.files == ['a.jpg', 'b.jpg'] and listed.class_names == ('cat', 'dog')
  assert list_lib.read_list(path, path_column='img_fn').labels.tolist() == [1, 0]
  assert list_lib.read_list(path, path_column='img_fn', label_column='none'
                            ).labels is None
  with pytest.raises(UserError, match="'race', or set config key data.label_column|race"):
    list_lib.read_list(path, path_column='img_fn', label_column='race')
  with pytest.raises(UserError, match='data.path_column'):
    list_lib.read_list(path)
  # a label column that nobody told of is no error
  path = _write(tmp_path, 'b.csv', 'path,breed\na.jpg,dog\n')
  caplog.clear()
  assert list_lib.read_list(path).labels is None
  assert "'breed'" in caplog.text and 'data.label_column' in caplog.text


def test_names_that_start_like_comments(tmp_path, caplog):
  caplog.set_level('INFO', 'byol_jax')
  path = _write(tmp_path, 'a.txt', '# mine\n#sunset.jpg\na.jpg\n#\n  # more\n')
  assert list_lib.read_list(path).files == ['#sunset.jpg', 'a.jpg']
  assert "passed over 3 lines with comments, the first is '# mine'" in caplog.text
  assert list_lib.read_list(path, rules='0.1').files == ['a.jpg', '# more']
  path = _write(tmp_path, 'a.csv', '# mine\npath,label\n#sunset.jpg,1\n"# more, too",\na.jpg,0\n')
  assert list_lib.read_list(path).files == ['#sunset.jpg', 'a.jpg']
  assert 'passed over 2 lines' in caplog.text


def test_a_list_that_is_missing(tmp_path):
  with pytest.raises(UserError, match='config.data.path'):
    list_lib.read_list(str(tmp_path / 'no.txt'))
  with pytest.raises(UserError, match='config.data.test_path'):
    list_lib.read_list(str(tmp_path / 'no.txt'), 'test')


def test_a_storage_that_fails_for_a_moment(tmp_path, monkeypatch):
  path = _write(tmp_path, 'a.csv', 'a.jpg,0\nb.jpg,1\n')
  monkeypatch.setattr(retry.time, 'sleep', lambda seconds: None)
  def fail(times):
    failures = iter([OSError(5, 'Input/output error')] * times)
    def read(*args, **kwargs):
      for error in failures:
        raise error
      return open(*args, **kwargs)
    monkeypatch.setattr(list_lib, 'open', read, raising=False)
  fail(2)
  assert list_lib.read_list(path).files == ['a.jpg', 'b.jpg']
  fail(100)
  with pytest.raises(TransientError, match='a.csv.*Input/output'):
    list_lib.read_list(path)
