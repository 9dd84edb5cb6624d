"""task=prepare: what goes in comes out, and what cannot go in is named."""

from concurrent import futures
import os
import resource
import threading

import numpy as np
from photos import make_config
from photos import open_part
from photos import photos_in
from PIL import Image
import pytest

from byol_jax.data import fingerprint
from byol_jax.data.feed import stream
from byol_jax.data.images import decode
from byol_jax.data.images import shrink
from byol_jax.data.images.crops import CropSpec
from byol_jax.data.records import descriptions
from byol_jax.data.records import writing
from byol_jax.data.sources import open as open_lib
from byol_jax.errors import UserError
from byol_jax.tasks import prepare

pytest.importorskip('array_record')


def test_every_byte_name_and_label_comes_back(tmp_path):
  photos = photos_in(tmp_path / 'photos')
  prepare.run(make_config(photos, tmp_path / 'out'))
  for split, count in (('train', 18), ('test', 5)):
    before = open_lib.open_part('folder', split, path=photos)
    after = open_part(tmp_path / 'out', split)
    assert after.size == count
    assert list(after.names) == list(before.names)
    np.testing.assert_array_equal(after.labels, before.labels)
    assert after.class_names == before.class_names == ('a', 'b')
    for k in range(count):
      assert after.read(k) == before.read(k)
  assert not [name for _, _, files in os.walk(tmp_path / 'out')
              for name in files if name.endswith('.tmp')]


def test_a_list_whose_labels_are_partly_empty(tmp_path):
  photos = photos_in(tmp_path / 'photos')
  files = sorted((tmp_path / 'photos/train').glob('*/*.jpg'))
  (tmp_path / 'l.csv').write_text('path,label\n' + ''.join(
      f'{file},{("", "cat", "dog")[k % 3]}\n' for k, file in enumerate(files)))
  config = make_config(photos, tmp_path / 'out')
  config.data.source, config.data.path = 'list', str(tmp_path / 'l.csv')
  prepare.run(config)
  after = open_part(tmp_path / 'out')
  assert after.labels.tolist() == [-1, 0, 1] * 6
  assert after.class_names == ('cat', 'dog')


def test_training_sees_the_same_batches(tmp_path):
  photos = photos_in(tmp_path / 'photos')
  prepare.run(make_config(photos, tmp_path / 'out'))
  streams = [list(stream.train_batches(
      source, CropSpec(16), seed=1, start_step=0, num_steps=6, batch_size=8,
      examples_of_host=np.arange(8), threads=threads))
             for source, threads in ((open_lib.open_part('folder', path=photos), 1),
                                     (open_part(tmp_path / 'out'), 4))]
  for one, other in zip(*streams, strict=True):
    assert one['views'].tobytes() == other['views'].tobytes()
    assert one['labels'].tolist() == other['labels'].tolist()


def test_many_threads_read_the_right_records(tmp_path):
  photos = photos_in(tmp_path / 'photos', 200, size=(8, 8))
  prepare.run(make_config(photos, tmp_path / 'out'))
  before, after = open_lib.open_part('folder', path=photos), open_part(tmp_path / 'out')
  expected = [before.read(k) for k in range(before.size)]
  wanted = np.random.default_rng(0).integers(0, before.size, 4000).tolist()
  with futures.ThreadPoolExecutor(16) as pool:
    for k, data in zip(wanted, pool.map(after.read, wanted)):
      assert data == expected[k]


def test_short_side(tmp_path):
  photos = photos_in(tmp_path / 'photos')
  prepare.run(make_config(photos, tmp_path / 'out', short_side=20))
  shape = decode.decode(open_part(tmp_path / 'out').read(3)).shape
  assert shape == (20, 27, 3)
  metadata = descriptions.read_metadata(str(tmp_path / 'out/train'))
  assert metadata['short_side'] == 20 and metadata['quality'] == 95
  # older shards were decoded whole: none is mixed in
  assert metadata['decoded_at'] == 40
  assert metadata['images'] == 18 and metadata['source'].endswith('train')


def test_the_images_folder_is_no_output(tmp_path):
  photos = photos_in(tmp_path / 'photos')
  (tmp_path / 'link').symlink_to(photos)
  before = sorted(os.listdir(photos))
  for output in (f'{photos}/', tmp_path / 'link'):
    with pytest.raises(UserError, match='prepare.output .* is data.path'):
      prepare.run(make_config(photos, output))
  for output in (f'{photos}/out', f'{photos}/train/a', tmp_path / 'link/out'):
    with pytest.raises(UserError, match='prepare.output .* lies in data.path'):
      prepare.run(make_config(photos, output))
  assert sorted(os.listdir(photos)) == before


def test_a_part_is_not_written_among_the_images(tmp_path):
  photos = photos_in(tmp_path / 'photos')  # has train/, which is a part's name
  with pytest.raises(UserError, match='photos/train. is data.path'):
    prepare.run(make_config(f'{photos}/train', photos))
  assert sorted(os.listdir(photos)) == ['test', 'train']
  (tmp_path / 'out').mkdir()
  (tmp_path / 'out/test').symlink_to(photos)
  with pytest.raises(UserError, match='out/test. is data.path'):
    prepare.run(make_config(photos, tmp_path / 'out'))
  assert os.listdir(tmp_path / 'out') == ['test']
  prepare.run(make_config(photos, f'{photos}-256'))  # beside, not in it
  assert open_part(f'{photos}-256').size == 18


def test_bad_files_are_left_out_and_named(tmp_path):
  photos = photos_in(tmp_path / 'photos')
  (tmp_path / 'photos/train/a/004.jpg').write_bytes(b'no picture')
  prepare.run(make_config(photos, tmp_path / 'out'))
  after = open_part(tmp_path / 'out')
  assert after.size == 17 and 'a/004.jpg' not in after.names
  assert after.names[2] == 'a/006.jpg' and after.labels.sum() == 9
  left_out = descriptions.read_metadata(str(tmp_path / 'out/train'))['left_out']
  assert left_out.keys() == {'a/004.jpg'}


def test_the_threads_change_nothing(tmp_path):
  photos = photos_in(tmp_path / 'photos')
  (tmp_path / 'photos/train/a/004.jpg').write_bytes(b'no picture')
  shards = []
  for threads in (1, 2, 7):
    config = make_config(photos, tmp_path / f'{threads}', short_side=20)
    config.data.threads = threads
    prepare.run(config)
    shards.append(descriptions.read_metadata(str(tmp_path / f'{threads}/train')))
  assert shards[0] == shards[1] == shards[2]


def test_several_threads_work_on_one_shard(tmp_path, monkeypatch):
  config = make_config(photos_in(tmp_path / 'photos'), tmp_path / 'out')
  config.prepare.images_per_shard, config.data.threads = 1024, 3
  config.data.test_split = ''  # 18 images
  together = threading.Barrier(3)

  def smaller(data, *_):
    together.wait(timeout=30)
    return data
  monkeypatch.setattr(shrink, 'smaller', smaller)
  prepare.run(config)
  assert open_part(tmp_path / 'out').size == 18


def test_otherwise_prepared_data_is_other_data(tmp_path):
  photos = photos_in(tmp_path / 'photos')
  prints = set()
  for side in (0, 8):
    config = make_config(photos, tmp_path / str(side))
    config.prepare.short_side = side
    prepare.run(config)
    prints.add(fingerprint.fingerprint(open_part(tmp_path / str(side))))
    prints.add(fingerprint.fingerprint(open_part(tmp_path / str(side))))
  assert len(prints) == 2


def test_a_full_disk(tmp_path, monkeypatch):
  config = make_config(photos_in(tmp_path / 'photos'), tmp_path / 'out')
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
  try:
    with pytest.raises(UserError, match='00000-of-00005.*File too large'):
      prepare.run(config)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  assert not os.listdir(tmp_path / 'out/train')

  def full(*_):
    raise OSError(28, 'No space left on device')
  with monkeypatch.context() as patch:
    patch.setattr(writing.files_lib, 'write_bytes', full)
    with pytest.raises(UserError, match='00000-of-00005.json.*No space left'):
      prepare.run(config)
  assert 'images-00000-of-00005.array_record' not in os.listdir(
      tmp_path / 'out/train')
  prepare.run(config)
  assert open_part(tmp_path / 'out').size == 18


def test_what_cannot_be_encoded_is_a_bad_image(tmp_path, monkeypatch):
  photos = photos_in(tmp_path / 'photos')
  save = Image.Image.save

  def refuse(image, *arguments, **options):
    if image.height == 21:
      raise OSError('encoder error -2')
    save(image, *arguments, **options)
  Image.new('RGB', (200, 210)).save(tmp_path / 'photos/train/a/002.jpg')
  monkeypatch.setattr(Image.Image, 'save', refuse)
  prepare.run(make_config(photos, tmp_path / 'out', short_side=20))
  left_out = descriptions.read_metadata(str(tmp_path / 'out/train'))['left_out']
  assert left_out.keys() == {'a/002.jpg'} and 'encoder' in left_out['a/002.jpg']


def test_not_one_usable_image(tmp_path):
  photos = photos_in(tmp_path / 'photos')
  for path in (tmp_path / 'photos/train').rglob('*.jpg'):
    path.write_bytes(b'no picture')
  config = make_config(photos, tmp_path / 'out')
  config.data.max_bad_images = 18
  with pytest.raises(UserError, match="not one image .*'a/000.jpg'"):
    prepare.run(config)
  with pytest.raises(UserError, match='not complete'):
    open_part(tmp_path / 'out')


def test_a_shard_without_a_usable_image(tmp_path):
  photos = photos_in(tmp_path / 'photos')
  for k in (0, 2, 4, 6):  # the first shard
    (tmp_path / f'photos/train/a/{k:03d}.jpg').write_bytes(b'no picture')
  config = make_config(photos, tmp_path / 'out')
  config.data.max_bad_images = 4
  prepare.run(config)
  after = open_part(tmp_path / 'out')
  assert after.size == 14 and after.names[0] == 'a/008.jpg'
  assert after.read(0) == (tmp_path / 'photos/train/a/008.jpg').read_bytes()


def test_one_process_of_several_does_not_prepare(tmp_path, monkeypatch):
  monkeypatch.setattr(prepare.jax, 'process_count', lambda: 4)
  with pytest.raises(UserError, match='is the work of one process, here are 4'):
    prepare.run(make_config(photos_in(tmp_path / 'photos'), tmp_path / 'out'))
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('options, words', [
    (dict(output=''), 'prepare.output is empty'),
    (dict(output='gs://bucket/x'), 'copy it to the bucket'),
    (dict(output='/proc/x'), '/proc/x'),
])
def test_where_nothing_can_be_written(tmp_path, options, words):
  config = make_config(photos_in(tmp_path / 'photos'), 'x')
  config.prepare.update(options)
  with pytest.raises(UserError, match=words):
    prepare.run(config)


def test_what_is_in_memory_needs_no_preparation(tmp_path):
  config = make_config('', tmp_path / 'out')
  config.data.source = 'fashion_sample'
  with pytest.raises(UserError, match='no preparation'):
    prepare.run(config)
