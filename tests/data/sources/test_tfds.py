"""TFDS data sets, prepared in a temporary folder, read back."""

import json
import os
import pathlib
import resource

import numpy as np
import pytest
from tiny_tfds import build
from tiny_tfds import IMAGES
from tiny_tfds import LABELS
from tiny_tfds import open_part
from tiny_tfds import tfds

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


def test_round_trip(tfds_folder):
  source = open_part(tfds_folder)
  assert source.size == 11 and source.class_names == ('x', 'y', 'z')
  assert source.labels.dtype == np.int32
  data = stream.load_resident(source, 10**6)
  # TFDS shuffles while it prepares: find each image again.
  found = [int(np.flatnonzero((IMAGES == image).all((1, 2, 3)))[0])
           for image in data.images]
  assert sorted(found) == list(range(11))
  np.testing.assert_array_equal(source.labels, LABELS[found])
  assert [source.read(k) for k in (7, 0)] == [source.read(k) for k in (7, 0)]
  assert 'train, record 3' in source.names[3] and 'tiny' in source.names[3]
  assert len(source.names) == 11


def test_labels_come_with_the_images(tfds_folder):
  """Nothing reads the whole data set at the start."""
  source = open_part(tfds_folder)
  assert source.labels.num_classes == 3 and (source.labels._known[1:] == -1).all()
  source.read(5)
  known = source.labels._known[5]
  assert known >= 0 and source.labels[5] == known
  assert source.labels[np.array([5, 3])].tolist() == [
      known, np.asarray(source.labels)[3]]
  assert len(source.labels) == 11 and source.labels[2:4].dtype == np.int32


def test_other_formats_are_read_into_memory(tmp_path):
  for file_format in ('tfrecord', 'parquet'):
    build(tmp_path / file_format, file_format)
  source, other = (open_part(str(tmp_path / x)) for x in ('tfrecord', 'parquet'))
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
          (k, {'image': IMAGES[k], 'label': 100 * k, 'file_name': name})
          for k, name in enumerate(names)]}, file_format=file_format)


@pytest.mark.parametrize('file_format', ['array_record', 'tfrecord', 'parquet'])
def test_imagenet_has_file_names(tmp_path, file_format):
  wanted = [f'n0{k}_{k}é.JPEG' for k in range(9)]
  _as_imagenet(tmp_path, file_format, wanted)
  source = open_part(str(tmp_path), name='imagenet2012:5.*')
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
    source = open_lib.open_part('prepared', path=str(tmp_path / 'out'))
    assert sorted(source.names) == ['a.JPEG', 'a.JPEG#2', 'b.JPEG']
    assert source.labels[list(source.names).index('b.JPEG')] == 100


def test_splits(tfds_folder):
  assert open_part(tfds_folder, split='validation').size == 2
  assert open_part(tfds_folder, split='test').size == 2  # there is no other
  part, whole = open_part(tfds_folder, split='train[2:5]'), open_part(tfds_folder)
  assert [part.read(k) for k in range(3)] == [whole.read(k) for k in (2, 3, 4)]
  np.testing.assert_array_equal(part.labels, whole.labels[2:5])
  for split in ('extra', 'train[99', 'train[:0]'):
    with pytest.raises(UserError, match='split'):
      open_part(tfds_folder, split=split)


def test_batches_from_many_threads(tfds_folder):
  source = open_part(tfds_folder)
  one, many = (list(stream.train_batches(
      source, CropSpec(8), seed=0, start_step=0, num_steps=4, batch_size=8,
      examples_of_host=np.arange(8), threads=threads))
               for threads in (1, 8))
  for ours, theirs in zip(one, many, strict=True):
    np.testing.assert_array_equal(ours['views'], theirs['views'])


def test_damaged(tfds_folder):
  shard, = pathlib.Path(tfds_folder, 'tiny', '1.0.0').glob('tiny-validation*')
  good = shard.read_bytes()
  try:
    shard.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])
    with pytest.raises(UserError, match='cannot read TFDS data set tiny'):
      open_part(tfds_folder, split='validation')
    shard.unlink()
    with pytest.raises(UserError, match='cannot read TFDS data set tiny'):
      open_part(tfds_folder, split='validation')
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
  build(tmp_path, file_format, encoding='jpeg')
  whole = open_part(str(tmp_path))
  images = [whole.read(k) for k in range(11)]
  assert all(image[:3] == b'\xff\xd8\xff' for image in images)
  labels = whole.labels[:].tolist()
  del whole
  _cut_into_shards(tmp_path, file_format, [1] * 11)
  monkeypatch.setattr(resource, 'getrlimit', lambda _: (16, 16))
  monkeypatch.setattr(resource, 'setrlimit', lambda *_: None)
  source = open_part(str(tmp_path))
  for k in np.random.default_rng(0).integers(0, 11, 300).tolist():
    assert source.read(k) == images[k]
  assert source.labels[:].tolist() == labels
  links = [os.path.join('/proc/self/fd', fd) for fd in os.listdir('/proc/self/fd')]
  paths = [os.readlink(link) for link in links if os.path.islink(link)]
  assert sum(str(tmp_path) in path for path in paths) == (
      4 if file_format == 'array_record' else 0)  # a quarter of 16


def test_data_in_another_order_is_other_data(tmp_path):
  for name, file_format in (('a', 'array_record'), ('b', 'tfrecord')):
    build(tmp_path / name, file_format)
  prints = [fingerprint.fingerprint(open_part(str(tmp_path / name)))
            for name in ('a', 'a', 'b')]
  assert prints[0] == prints[1] != prints[2]
  shards = _cut_into_shards(tmp_path / 'a', 'array_record', [5, 6])
  prints.append(fingerprint.fingerprint(open_part(str(tmp_path / 'a'))))
  first, second = (shard.read_bytes() for shard in shards)
  build(tmp_path / 'c', 'array_record')
  turned = _cut_into_shards(tmp_path / 'c', 'array_record', [6, 5])
  turned[0].write_bytes(second)
  turned[1].write_bytes(first)
  prints.append(fingerprint.fingerprint(open_part(str(tmp_path / 'c'))))
  assert len(set(prints)) == 4


def test_damage_in_one_of_several_shards(tmp_path):
  """The shard is named, and the record's number there."""
  build(tmp_path, 'array_record')
  shards = _cut_into_shards(tmp_path, 'array_record', [4, 3, 4])
  images = [open_part(str(tmp_path)).read(k) for k in range(11)]
  # The data of the last shard's third record: its image is found there as it is.
  good = shards[2].read_bytes()
  at = good.index(images[9][-40:])
  shards[2].write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1:])
  for split, index in (('train', 9), ('train[3:10]', 6), ('train[8:]', 1)):
    source = open_part(str(tmp_path), split=split)
    assert source.read(index - 1) == images[8]
    with pytest.raises(UserError, match='record 2 of .*-00002-of-00003: '):
      source.read(index)
  shards[1].unlink()
  with pytest.raises(UserError, match='00001-of-00003 is missing'):
    open_part(str(tmp_path))
  assert open_part(str(tmp_path), split='train[8:]').read(0) == images[8]


def test_labels_are_optional_and_may_be_hidden(tmp_path):
  build(tmp_path, 'tfrecord', labels=None)
  assert open_part(str(tmp_path)).labels is None
  build(tmp_path, 'tfrecord', name='hidden', labels=np.full(11, -1))
  assert open_part(str(tmp_path), 'hidden').labels is None
  build(tmp_path, 'tfrecord', name='partly', labels=np.array([0, 1, -1] + [2] * 8))
  assert open_part(str(tmp_path), 'partly').labels is None


def test_no_image(tmp_path):
  tfds.dataset_builders.store_as_tfds_dataset(
      name='words', version='1.0.0',
      features=tfds.features.FeaturesDict({'text': tfds.features.Text()}),
      split_datasets={'train': [(0, {'text': 'a'})]}, data_dir=str(tmp_path),
      file_format='tfrecord')
  with pytest.raises(UserError, match="called 'image': its features are text"):
    open_part(str(tmp_path), 'words')
