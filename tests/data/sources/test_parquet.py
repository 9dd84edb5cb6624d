"""Images from Parquet files: the batches of the folder, columns, and what is refused."""

import logging

import pyarrow
from pyarrow import parquet as pyarrow_parquet
import pytest
import tiny_shards

from byol_jax.data import fingerprint
from byol_jax.data.images.decode import BadImage
from byol_jax.data.sources import open as open_lib
from byol_jax.errors import UserError


def _open(path, split='train', **more):
  return open_lib.open_part('parquet', split, path=str(path), **more)


def _table(path, **columns):
  pyarrow_parquet.write_table(pyarrow.table(columns), path)


@pytest.mark.parametrize('how', [
    {'compression': 'none', 'use_dictionary': False}, {'compression': 'none'},
    {'compression': 'snappy'}, {'compression': 'zstd', 'row_group_size': 3}])
def test_the_same_batches_as_from_the_folder(tmp_path, how):
  made = tiny_shards.images(23)
  tiny_shards.write_folder(tmp_path / 'folder', made)
  ordered = tiny_shards.in_order(made)
  for k in range(3):
    tiny_shards.write_parquet(tmp_path / f'hub/data/train-{k:05d}-of-00003.parquet',
                              ordered[8 * k:8 * k + 8], **how)
  tiny_shards.write_parquet(tmp_path / 'hub/data/validation-00000-of-00001.parquet',
                            made[:5], **how)
  (tmp_path / 'hub/README.md').write_text('a card')
  folder = open_lib.open_part('folder', path=str(tmp_path / 'folder'))
  many = 1000 if 'use_dictionary' in how or 'row_group_size' in how else 50
  for path, starts in (('hub', many), ('hub/data/train-*.parquet', 3)):
    source = _open(tmp_path / path)
    tiny_shards.check_same_batches(source, folder, starts)
    assert list(source.names) == [f'{name}.jpg' for name, _, _ in ordered]
    assert source.class_names == folder.class_names == tiny_shards.CLASSES
  assert [source.read(k) for k in range(23)] == [data for _, _, data in ordered]
  test = _open(tmp_path / 'hub', 'test', class_names=source.class_names)
  assert test.size == 5 and test.labels.tolist() == [0, 1, 2, 0, 1]
  (tmp_path / 'hub/data/train-00001-of-00003.parquet').unlink()
  with pytest.raises(UserError, match='train-00001-of-00003.parquet is missing'):
    _open(tmp_path / 'hub')


def test_what_datasets_writes_is_read_as_the_folder(tmp_path, monkeypatch):
  """Unless it writes the paths of files alone."""
  monkeypatch.setenv('HF_HUB_OFFLINE', '1')
  datasets = pytest.importorskip(
      'datasets', reason="Hugging Face's datasets is not installed")
  made = tiny_shards.images(23)
  tiny_shards.write_folder(tmp_path / 'folder', made)
  folder = open_lib.open_part('folder', path=str(tmp_path / 'folder'))
  rows = datasets.Dataset.from_dict(
      {'image': [{'bytes': data, 'path': f'{name}.jpg'}
                 for name, _, data in tiny_shards.in_order(made)],
       'label': folder.labels.tolist()},
      datasets.Features({'image': datasets.Image(), 'label': datasets.ClassLabel(
          names=list(tiny_shards.CLASSES))}))
  (tmp_path / 'hub/data').mkdir(parents=True)
  for k in range(3):
    rows.shard(3, k, contiguous=True).to_parquet(
        str(tmp_path / f'hub/data/train-{k:05d}-of-00003.parquet'))
  source = _open(tmp_path / 'hub')
  tiny_shards.check_same_batches(source, folder, starts=1000)
  assert [source.read(k) for k in range(23)] == [folder.read(k) for k in range(23)]
  assert source.class_names == tiny_shards.CLASSES
  assert source.labels.tolist() == folder.labels.tolist()
  loaded = datasets.load_dataset('imagefolder', data_dir=str(tmp_path / 'folder'),
                                 split='train', cache_dir=str(tmp_path / 'cache'))
  loaded.to_parquet(str(tmp_path / 'paths.parquet'))
  with pytest.raises(UserError, match='nulls alone: .*data.source=list'):
    _open(tmp_path / 'paths.parquet')


def test_columns_are_found_or_named(tmp_path, caplog):
  made = tiny_shards.images(4)
  files = [data for _, _, data in made]
  path = tmp_path / 'x.parquet'
  _table(path, jpg=files, mask=[b'x'] * 4, caption=['a'] * 4, fine=list('zzyx'))
  with pytest.raises(UserError, match="'jpg', 'mask': choose .*data.image_column='jpg'"):
    _open(path)
  source = _open(path, image_column='jpg')
  assert source.labels is None and source.names[2] == 'x.parquet, row 2'
  source = _open(path, image_column='jpg', label_column='fine')
  assert source.class_names == ('x', 'y', 'z') and source.labels.tolist() == [2, 2, 1, 0]
  _table(path, jpg=files, Label=[3, 1, 0, 2])
  source = _open(path)
  assert source.labels.tolist() == [3, 1, 0, 2] and source.class_names is None
  for labels, names, numbers in (
      ([48662, 901, 7, 901], ('7', '901', '48662'), [2, 1, 0, 1]),
      ([1., 0., 2., float('nan')], None, [1, 0, 2, -1]),
      ([True, False, True, True], ('False', 'True'), [1, 0, 1, 1])):
    _table(path, jpg=files, label=labels)
    found = _open(path)
    assert found.class_names == names and found.labels.tolist() == numbers
  folder = tmp_path / 'label=cat'
  folder.mkdir()
  _table(folder / 'x.parquet', jpg=files, cls=[3, 1, 0, 2])  # of WebDataset
  assert _open(folder).labels is not None
  _table(folder / 'x.parquet', jpg=files)
  assert _open(folder).labels is None and "such as 'label=cat' say" in caplog.text
  _table(path, jpg=files, label=[[0, 1]] * 4)
  assert _open(path).labels is None and "no labels: 'label' (list" in caplog.text
  assert source.read(1) == files[1]
  assert _open(path, label_column='none').labels is None
  tiny_shards.write_parquet(path, made, names=False, labels=())
  assert _open(path).class_names is None and _open(path).names[3] == 'x.parquet, row 3'


@pytest.mark.parametrize('compression', ['none', 'snappy'])
def test_a_null_is_a_bad_image_and_hidden_labels_are_none(tmp_path, compression):
  made = tiny_shards.images(4)
  made = [(name, -1, None if k == 2 else data) for k, (name, _, data) in enumerate(made)]
  tiny_shards.write_parquet(tmp_path / 'x.parquet', made, compression=compression)
  source = _open(tmp_path / 'x.parquet')
  assert source.labels is None and source.read(3) == made[3][2]
  with pytest.raises(BadImage, match='null'):
    source.read(2)


def test_large_row_groups_that_are_compressed_are_told(tmp_path, caplog):
  caplog.set_level(logging.INFO, 'byol_jax')
  made = [('a', 0, bytes(5 << 20)), ('b', 1, b'x')]
  for kind, is_told in (('none', False), ('snappy', True)):
    caplog.clear()
    tiny_shards.write_parquet(tmp_path / f'{kind}.parquet', made, compression=kind,
                              use_dictionary=False)
    assert _open(tmp_path / f'{kind}.parquet').read(1) == b'x'
    assert ('task=prepare' in caplog.text) == is_told


def test_the_fingerprint_knows_the_images_and_their_order(tmp_path):
  made = tiny_shards.images(6)
  found = set()
  for k, images in enumerate((made, made[::-1], made[:5])):
    tiny_shards.write_parquet(tmp_path / f'{k}.parquet', images, labels=None)
    found.add(fingerprint.fingerprint(_open(tmp_path / f'{k}.parquet')))
  assert len(found) == 3


@pytest.mark.parametrize('compression', ['none', 'snappy'])
def test_what_is_damaged_is_said(tmp_path, compression):
  path = tmp_path / 'x.parquet'
  tiny_shards.write_parquet(path, tiny_shards.images(6), compression=compression,
                            use_dictionary=False)
  data = path.read_bytes()
  source = _open(path)
  third = len(data) // 3
  path.write_bytes(data[:4] + bytes(byte ^ 85 for byte in data[4:third]) + data[third:])
  with pytest.raises(UserError, match='image 0 of .*x.parquet.*(damaged|changed)'):
    source.read(0)
  for content, match in ((data[:-10], 'cut short'), (b'', 'no Parquet'),
                         (b'PAR1' + bytes(999), 'no Parquet')):
    path.write_bytes(content)
    with pytest.raises(UserError, match=match) as error:
      _open(path)
    assert 'x.parquet' in str(error.value) and '\n' not in str(error.value)


def test_tables_without_one_image_a_row_are_refused(tmp_path):
  made = tiny_shards.images(4)
  path = tmp_path / 'x.parquet'
  def refused(match, where=path, **more):
    with pytest.raises(UserError, match=match) as error:
      _open(where, **more)
    assert '\n' not in str(error.value)
  _table(path, url=['http://a/b.jpg'], caption=['a cat'])
  refused(r"its columns are 'url' \(string\).*img2dataset")
  tiny_shards.write_parquet(path, [(name, label, None) for name, label, _ in made])
  refused("no image in 'image.bytes', but nulls alone")
  _table(path, images=[[made[0][2], made[1][2]]])
  refused("'images' is a list")
  _table(path, jpg=[made[0][2]], label=[0.5], box=[[1, 2]])
  refused("no column 'box' with whole numbers or names", label_column='box')
  refused("label '0.5': .*data.label_column='none'")
  refused("no column 'png' with images", image_column='png')
  _table(path, jpg=[made[0][2], made[1][2]], label=[1, None])
  refused("some images only.*data.label_column='none'")
  _table(path, jpg=pyarrow.array([], pyarrow.binary()))
  refused('the tables are empty')
  tiny_shards.write_parquet(path, [('a', 7, b'x')])
  refused('label 7, but names for 3 classes')
  tiny_shards.write_parquet(tmp_path / 'two/a.parquet', made)
  tiny_shards.write_parquet(tmp_path / 'two/b.parquet', made, labels=('x', 'y', 'z'))
  refused(r'b\.parquet has other columns than .*a\.parquet', tmp_path / 'two')
  tiny_shards.write_parquet(path, made, labels=('x', 'y', 'z'))
  refused('other classes than the training', class_names=('cat', 'dog', 'emu'))


@pytest.mark.parametrize('compression', ['none', 'snappy'])
def test_dots_in_names_and_spaces_in_labels(tmp_path, compression):
  pyarrow_parquet.write_table(pyarrow.table({
      'img.jpg': [b'1', b'2', b'3'], 'meta.label': ['b', 'b ', 'a']}),
      tmp_path / 'a.parquet', compression=compression)
  opened = _open(tmp_path / 'a.parquet', label_column='meta.label')
  assert opened.class_names == ('a', 'b') and opened.labels.tolist() == [1, 1, 0]
  assert opened.read(1) == b'2'


def test_two_columns_of_one_name(tmp_path):
  columns = pyarrow.table([[b'1'], [b'2']], names=['image', 'image'])
  pyarrow_parquet.write_table(columns, tmp_path / 'a.parquet')
  with pytest.raises(UserError, match="two columns named 'image'"):
    _open(tmp_path / 'a.parquet')
