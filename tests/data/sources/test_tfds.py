"""TFDS data sets, prepared in a temporary folder, read back."""

import json
import os
import pathlib
import resource

import numpy as np
import pytest

from byol_jax.config import keys as keys_lib
from byol_jax.data import fingerprint
from byol_jax.data.feed import stream
from byol_jax.data.images.crops import CropSpec
from byol_jax.data.records import tfrecord
from byol_jax.data.sources import open as open_lib
from byol_jax.data.sources import table
from byol_jax.data.sources import tfds as tfds_lib
from byol_jax.errors import UserError
from byol_jax.tasks import prepare

pytest.importorskip('tensorflow')
tfds = pytest.importorskip('tensorflow_datasets')
pytest.importorskip(
    'importlib_resources', reason='TFDS 4.9.10 needs it to prepare a data set')

_RNG = np.random.default_rng(0)
_X = _RNG.integers(0, 256, (11, 6, 5, 3), dtype=np.uint8)
_Y = np.arange(11) % 3


def _build(folder, file_format, name='tiny', labels=_Y, encoding='png'):
  """Prepares a data set with the splits train and validation."""
  features = {'image': tfds.features.Image(shape=(None, None, 3),
                                           encoding_format=encoding),
              'comment': tfds.features.Text()}
  if labels is not None:
    features['label'] = tfds.features.Scalar(np.int64)
    if labels.min() >= 0:
      features['label'] = tfds.features.ClassLabel(names=['x', 'y', 'z'])

  def example(k):
    extra = {} if labels is None else {'label': int(labels[k])}
    return k, {'image': _X[k], 'comment': f'no. {k}'} | extra

  tfds.dataset_builders.store_as_tfds_dataset(
      name=name, version='1.0.0', features=tfds.features.FeaturesDict(features),
      split_datasets={'train': [example(k) for k in range(11)],
                      'validation': [example(k) for k in range(2)]},
      data_dir=str(folder), file_format=file_format)


@pytest.fixture(scope='module', name='folder', params=['tfrecord', 'array_record'])
def _folder(request, tmp_path_factory):
  if request.param == 'array_record':
    pytest.importorskip('array_record')
  folder = tmp_path_factory.mktemp(request.param)
  _build(folder, request.param)
  return str(folder)


def _open(folder, name='tiny', split='train'):
  return open_lib.open_source('tfds', path=folder, tfds_name=name, split=split)


def test_round_trip(folder):
  source = _open(folder)
  assert source.size == 11 and source.class_names == ('x', 'y', 'z')
  assert source.labels.dtype == np.int32
  data = stream.load_resident(source, 10**6)
  # TFDS shuffles while it prepares: find each image again.
  found = [int(np.flatnonzero((_X == image).all((1, 2, 3)))[0])
           for image in data.images]
  assert sorted(found) == list(range(11))
  np.testing.assert_array_equal(source.labels, _Y[found])
  assert [source.read(k) for k in (7, 0)] == [source.read(k) for k in (7, 0)]
  assert 'train, record 3' in source.names[3] and 'tiny' in source.names[3]
  assert len(source.names) == 11


def test_labels_come_with_the_images(folder):
  """Nothing reads the whole data set at the start."""
  source = _open(folder)
  assert source.labels.num_classes == 3 and (source.labels._known[1:] == -1).all()
  source.read(5)
  known = source.labels._known[5]
  assert known >= 0 and source.labels[5] == known
  assert source.labels[np.array([5, 3])].tolist() == [
      known, np.asarray(source.labels)[3]]
  assert len(source.labels) == 11 and source.labels[2:4].dtype == np.int32


def test_other_formats_are_read_into_memory(tmp_path):
  for file_format in ('tfrecord', 'parquet'):
    _build(tmp_path / file_format, file_format)
  source, other = (_open(str(tmp_path / x)) for x in ('tfrecord', 'parquet'))
  assert [source.read(k) for k in range(11)] == [other.read(k) for k in range(11)]
  assert isinstance(other.labels, np.ndarray)
  np.testing.assert_array_equal(source.labels, other.labels)
  with pytest.raises(UserError, match='parquet, too much to hold in memory'):
    tfds_lib.open_split(
        table.Request(str(tmp_path / 'parquet'), tfds_name='tiny'), 'train', max_bytes=100)


def _as_imagenet(folder, file_format, names):
  """A data set with the features of TFDS's imagenet2012."""
  tfds.dataset_builders.store_as_tfds_dataset(
      name='imagenet2012', version='5.1.0', data_dir=str(folder),
      features=tfds.features.FeaturesDict({
          'image': tfds.features.Image(encoding_format='jpeg'),
          'label': tfds.features.ClassLabel(num_classes=1000),
          'file_name': tfds.features.Text()}),
      split_datasets={'train': [
          (k, {'image': _X[k], 'label': 100 * k, 'file_name': name})
          for k, name in enumerate(names)]}, file_format=file_format)


@pytest.mark.parametrize('file_format', ['array_record', 'tfrecord', 'parquet'])
def test_imagenet_has_file_names(tmp_path, file_format):
  wanted = [f'n0{k}_{k}é.JPEG' for k in range(9)]
  _as_imagenet(tmp_path, file_format, wanted)
  source = _open(str(tmp_path), name='imagenet2012:5.*')
  # TFDS shuffles while it prepares: the name goes with the label
  labels = np.asarray(source.labels[:])
  names = [wanted[label // 100] for label in labels]
  assert list(source.names) == names and [source.names[k] for k in (8, 0)] == [
      names[8], names[0]]
  assert table.names_of(source, [3, 1], 'train') == [names[3], names[1]]
  assert table.num_classes(source) == 1000
  part = table.take(source, np.array([4, 2]))
  assert list(part.names) == [names[4], names[2]]
  source.bad.add(5, 'damaged')
  assert names[5] in source.bad.summary()


def test_prepared_records_keep_file_names(tmp_path):
  """A second image of one name has another."""
  _as_imagenet(tmp_path / 'tfds', 'tfrecord', ['a.JPEG', 'b.JPEG', 'a.JPEG'])
  config = keys_lib.base()
  config.update({'task': 'prepare', 'data': {
      'source': 'tfds', 'path': str(tmp_path / 'tfds'), 'tfds_name': 'imagenet2012',
      'test_split': ''}})
  config.prepare.output = str(tmp_path / 'out')
  for _ in range(2):  # and the same when it looks again
    prepare.run(config)
    source = open_lib.open_source('prepared', path=str(tmp_path / 'out'))
    assert sorted(source.names) == ['a.JPEG', 'a.JPEG#2', 'b.JPEG']
    assert source.labels[list(source.names).index('b.JPEG')] == 100


def test_splits(folder):
  assert _open(folder, split='validation').size == 2
  assert _open(folder, split='test').size == 2  # there is no other
  part, whole = _open(folder, split='train[2:5]'), _open(folder)
  assert [part.read(k) for k in range(3)] == [whole.read(k) for k in (2, 3, 4)]
  np.testing.assert_array_equal(part.labels, whole.labels[2:5])
  for split in ('extra', 'train[99', 'train[:0]'):
    with pytest.raises(UserError, match='split'):
      _open(folder, split=split)


def test_by_folder_of_the_version(folder):
  path = str(pathlib.Path(folder, 'tiny', '1.0.0'))
  assert open_lib.open_source('tfds', path=path).size == 11


def test_batches_from_many_threads(folder):
  source = _open(folder)
  one, many = (list(stream.train_batches(
      source, CropSpec(8), seed=0, start_step=0, num_steps=4, batch_size=8,
      rows_of_host=np.arange(8), threads=threads))
               for threads in (1, 8))
  for ours, theirs in zip(one, many, strict=True):
    np.testing.assert_array_equal(ours['views'], theirs['views'])


def test_not_prepared(folder):
  for name in ('tiny:1.*', 'tiny:1.*.*', 'tiny:1.0.0'):
    assert _open(folder, name=name).size == _open(folder).size
  for name in ('absent', 'tiny:2.0.0', 'tiny/config'):
    with pytest.raises(UserError, match='tfds build .*--file_format=array_record'):
      _open(folder, name)
  with pytest.raises(UserError, match='does not exist'):
    _open(folder + '/no')
  with pytest.raises(UserError, match='tfds_name is not set'):
    _open(folder, None)


@pytest.mark.parametrize('file', ['dataset_info.json', 'features.json'])
@pytest.mark.parametrize('content', [b'{"a": ', b'', None])
def test_damaged_descriptions(tmp_path, file, content):
  _build(tmp_path, 'array_record')
  folder = tmp_path / 'tiny' / '1.0.0'
  if content is None:
    (folder / file).unlink()
  else:
    (folder / file).write_bytes(content)
  with pytest.raises(UserError, match='there is 1.0.0; .*dataset_info.json or feat'):
    _open(str(tmp_path))
  if file != 'features.json':  # by which the folder of a version is known
    with pytest.raises(UserError, match='1.0.0.* is damaged'):
      _open(str(folder), name=None)


def test_the_wrong_folder(tmp_path):
  _build(tmp_path, 'array_record')
  for folder in (tmp_path / 'tiny', tmp_path / 'tiny' / '1.0.0'):
    with pytest.raises(UserError, match=f'folder around it, {tmp_path}$'):
      _open(str(folder))
  with pytest.raises(UserError, match="'tiny:9.0.0' cannot be .* there is 1.0.0"):
    _open(str(tmp_path), name='tiny:9.0.0')


def test_damaged(folder):
  shard, = pathlib.Path(folder, 'tiny', '1.0.0').glob('tiny-validation*')
  good = shard.read_bytes()
  try:
    shard.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])
    with pytest.raises(UserError, match='cannot read TFDS data set tiny'):
      _open(folder, split='validation')
    shard.unlink()
    with pytest.raises(UserError, match='cannot read TFDS data set tiny'):
      _open(folder, split='validation')
  finally:
    shard.write_bytes(good)


def _cut_into_shards(root, file_format, lengths):
  """Makes shards of the training part that `_build` wrote as one; their paths."""
  folder = root / 'tiny' / '1.0.0'
  whole, = folder.glob('tiny-train*')
  shards = [folder / f'tiny-train.{file_format}-{k:05d}-of-{len(lengths):05d}'
            for k in range(len(lengths))]
  ends = np.cumsum([0, *lengths])
  if file_format == 'tfrecord':
    data, starts = whole.read_bytes(), tfrecord.index(str(whole))
    for shard, first, end in zip(shards, ends, ends[1:]):
      shard.write_bytes(data[starts[first]:starts[end]])
  else:
    module = pytest.importorskip('array_record.python.array_record_module')
    reader = module.ArrayRecordReader(str(whole))
    records = reader.read_all()
    reader.close()
    for shard, first, end in zip(shards, ends, ends[1:]):
      writer = module.ArrayRecordWriter(str(shard), 'group_size:1')
      for record in records[first:end]:
        writer.write(record)
      writer.close()
  whole.unlink()
  info = json.loads((folder / 'dataset_info.json').read_text())
  train, = (split for split in info['splits'] if split['name'] == 'train')
  train['shardLengths'] = [str(length) for length in lengths]
  (folder / 'dataset_info.json').write_text(json.dumps(info))
  return shards


@pytest.mark.parametrize('file_format', ['tfrecord', 'array_record'])
def test_jpegs_in_more_shards_than_files_may_be_open(tmp_path, monkeypatch,
                                                     file_format):
  _build(tmp_path, file_format, encoding='jpeg')
  whole = _open(str(tmp_path))
  images = [whole.read(k) for k in range(11)]
  assert all(image[:3] == b'\xff\xd8\xff' for image in images)
  labels = whole.labels[:].tolist()
  del whole
  _cut_into_shards(tmp_path, file_format, [1] * 11)
  monkeypatch.setattr(resource, 'getrlimit', lambda _: (16, 16))
  monkeypatch.setattr(resource, 'setrlimit', lambda *_: None)
  source = _open(str(tmp_path))
  for k in np.random.default_rng(0).integers(0, 11, 300).tolist():
    assert source.read(k) == images[k]
  assert source.labels[:].tolist() == labels
  links = [os.path.join('/proc/self/fd', fd) for fd in os.listdir('/proc/self/fd')]
  paths = [os.readlink(link) for link in links if os.path.islink(link)]
  assert sum(str(tmp_path) in path for path in paths) == (
      4 if file_format == 'array_record' else 0)  # a quarter of 16


def test_data_in_another_order_is_other_data(tmp_path):
  for name, file_format in (('a', 'array_record'), ('b', 'tfrecord')):
    _build(tmp_path / name, file_format)
  prints = [fingerprint.fingerprint(_open(str(tmp_path / name)))
            for name in ('a', 'a', 'b')]
  assert prints[0] == prints[1] != prints[2]
  shards = _cut_into_shards(tmp_path / 'a', 'array_record', [5, 6])
  prints.append(fingerprint.fingerprint(_open(str(tmp_path / 'a'))))
  first, second = (shard.read_bytes() for shard in shards)
  _build(tmp_path / 'c', 'array_record')
  turned = _cut_into_shards(tmp_path / 'c', 'array_record', [6, 5])
  turned[0].write_bytes(second)
  turned[1].write_bytes(first)
  prints.append(fingerprint.fingerprint(_open(str(tmp_path / 'c'))))
  assert len(set(prints)) == 4


def test_damage_in_one_of_several_shards(tmp_path):
  """The shard is named, and the record's number there."""
  _build(tmp_path, 'array_record')
  shards = _cut_into_shards(tmp_path, 'array_record', [4, 3, 4])
  images = [_open(str(tmp_path)).read(k) for k in range(11)]
  # The data of the last shard's third record: its image is found there as it is.
  good = shards[2].read_bytes()
  at = good.index(images[9][-40:])
  shards[2].write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1:])
  for split, index in (('train', 9), ('train[3:10]', 6), ('train[8:]', 1)):
    source = _open(str(tmp_path), split=split)
    assert source.read(index - 1) == images[8]
    with pytest.raises(UserError, match='record 2 of .*-00002-of-00003: '):
      source.read(index)
  shards[1].unlink()
  with pytest.raises(UserError, match='00001-of-00003 is missing'):
    _open(str(tmp_path))
  assert _open(str(tmp_path), split='train[8:]').read(0) == images[8]


def test_labels_are_optional_and_may_be_hidden(tmp_path):
  _build(tmp_path, 'tfrecord', labels=None)
  assert _open(str(tmp_path)).labels is None
  _build(tmp_path, 'tfrecord', name='hidden', labels=np.full(11, -1))
  assert _open(str(tmp_path), 'hidden').labels is None
  _build(tmp_path, 'tfrecord', name='partly', labels=np.array([0, 1, -1] + [2] * 8))
  assert _open(str(tmp_path), 'partly').labels is None


def test_no_image(tmp_path):
  tfds.dataset_builders.store_as_tfds_dataset(
      name='words', version='1.0.0',
      features=tfds.features.FeaturesDict({'text': tfds.features.Text()}),
      split_datasets={'train': [(0, {'text': 'a'})]}, data_dir=str(tmp_path),
      file_format='tfrecord')
  with pytest.raises(UserError, match="called 'image': its features are text"):
    _open(str(tmp_path), 'words')
