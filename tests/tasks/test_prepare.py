"""task=prepare: what goes in comes out, after a kill too, and damage is named."""

from concurrent import futures
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time

import numpy as np
from PIL import Image
import pytest

from byol_jax.config import keys as keys_lib
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
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def _photos(folder, count=23, size=(30, 40)):
  rng = np.random.default_rng(0)
  for k in range(count):
    path = folder / ('train' if k < count - 5 else 'test') / 'ab'[k % 2]
    path.mkdir(parents=True, exist_ok=True)
    pixels = rng.integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path / f'{k:03d}.jpg')
  return str(folder)


def _config(photos, output, **options):
  c = keys_lib.base().unlock()
  c.task, c.data.source, c.data.path = 'prepare', 'folder', photos
  c.prepare.update(output=str(output), images_per_shard=4, **options)
  return c


def _open(path, split='train'):
  return open_lib.open_source('prepared', path=str(path), split=split)


def test_every_byte_name_and_label_comes_back(tmp_path):
  photos = _photos(tmp_path / 'photos')
  prepare.run(_config(photos, tmp_path / 'out'))
  for split, count in (('train', 18), ('test', 5)):
    before = open_lib.open_source('folder', split, path=photos)
    after = _open(tmp_path / 'out', split)
    assert after.size == count
    assert list(after.names) == list(before.names)
    np.testing.assert_array_equal(after.labels, before.labels)
    assert after.class_names == before.class_names == ('a', 'b')
    for k in range(count):
      assert after.read(k) == before.read(k)
  assert not [name for _, _, files in os.walk(tmp_path / 'out')
              for name in files if name.endswith('.tmp')]


def test_training_sees_the_same_batches(tmp_path):
  photos = _photos(tmp_path / 'photos')
  prepare.run(_config(photos, tmp_path / 'out'))
  streams = [list(stream.train_batches(
      source, CropSpec(16), seed=1, start_step=0, num_steps=6, batch_size=8,
      rows_of_host=np.arange(8), threads=threads))
             for source, threads in ((open_lib.open_source('folder', path=photos), 1),
                                     (_open(tmp_path / 'out'), 4))]
  for one, other in zip(*streams, strict=True):
    assert one['views'].tobytes() == other['views'].tobytes()
    assert one['labels'].tolist() == other['labels'].tolist()


def test_many_threads_read_the_right_records(tmp_path):
  photos = _photos(tmp_path / 'photos', 200, size=(8, 8))
  prepare.run(_config(photos, tmp_path / 'out'))
  before, after = open_lib.open_source('folder', path=photos), _open(tmp_path / 'out')
  expected = [before.read(k) for k in range(before.size)]
  wanted = np.random.default_rng(0).integers(0, before.size, 4000).tolist()
  with futures.ThreadPoolExecutor(16) as pool:
    for k, data in zip(wanted, pool.map(after.read, wanted)):
      assert data == expected[k]


def test_short_side(tmp_path):
  photos = _photos(tmp_path / 'photos')
  prepare.run(_config(photos, tmp_path / 'out', short_side=20))
  shape = decode.decode(_open(tmp_path / 'out').read(3)).shape
  assert shape == (20, 27, 3)
  metadata = descriptions.read_metadata(str(tmp_path / 'out/train'))
  assert metadata['short_side'] == 20 and metadata['quality'] == 95
  # older shards were decoded whole: none is mixed in
  assert metadata['decoded_at'] == 40
  assert metadata['images'] == 18 and metadata['source'].endswith('train')


def test_the_images_folder_is_no_output(tmp_path):
  photos = _photos(tmp_path / 'photos')
  (tmp_path / 'link').symlink_to(photos)
  before = sorted(os.listdir(photos))
  for output in (f'{photos}/', tmp_path / 'link'):
    with pytest.raises(UserError, match='prepare.output .* is data.path'):
      prepare.run(_config(photos, output))
  for output in (f'{photos}/out', f'{photos}/train/a', tmp_path / 'link/out'):
    with pytest.raises(UserError, match='prepare.output .* lies in data.path'):
      prepare.run(_config(photos, output))
  assert sorted(os.listdir(photos)) == before


def test_a_part_is_not_written_among_the_images(tmp_path):
  photos = _photos(tmp_path / 'photos')  # has train/, which is a part's name
  with pytest.raises(UserError, match='photos/train. is data.path'):
    prepare.run(_config(f'{photos}/train', photos))
  assert sorted(os.listdir(photos)) == ['test', 'train']
  (tmp_path / 'out').mkdir()
  (tmp_path / 'out/test').symlink_to(photos)
  with pytest.raises(UserError, match='out/test. is data.path'):
    prepare.run(_config(photos, tmp_path / 'out'))
  assert os.listdir(tmp_path / 'out') == ['test']
  prepare.run(_config(photos, f'{photos}-256'))  # beside, not in it
  assert _open(f'{photos}-256').size == 18


def test_the_output_below_the_home_folder(tmp_path, monkeypatch):
  _photos(tmp_path / 'photos')
  monkeypatch.setenv('HOME', str(tmp_path))
  with pytest.raises(UserError, match='prepare.output .* is data.path'):
    prepare.run(_config(str(tmp_path / 'photos'), '~/photos'))
  prepare.run(_config('~/photos', '~/out'))
  assert _open(tmp_path / 'out').size == 18


def test_bad_files_are_left_out_and_named(tmp_path):
  photos = _photos(tmp_path / 'photos')
  (tmp_path / 'photos/train/a/004.jpg').write_bytes(b'no picture')
  prepare.run(_config(photos, tmp_path / 'out'))
  after = _open(tmp_path / 'out')
  assert after.size == 17 and 'a/004.jpg' not in after.names
  assert after.names[2] == 'a/006.jpg' and after.labels.sum() == 9
  left_out = descriptions.read_metadata(str(tmp_path / 'out/train'))['left_out']
  assert left_out.keys() == {'a/004.jpg'}


@pytest.mark.parametrize('names, unique', [
    ('a b a a', 'a b a#2 a#3'), ('a a a#2', 'a a#3 a#2'),
    ('a a#2 a#2 a', 'a a#2 a#2#2 a#3')])
def test_names_are_unique(names, unique):
  assert prepare.unique_names(names.split()) == unique.split()


def test_the_threads_change_nothing(tmp_path):
  photos = _photos(tmp_path / 'photos')
  (tmp_path / 'photos/train/a/004.jpg').write_bytes(b'no picture')
  shards = []
  for threads in (1, 2, 7):
    config = _config(photos, tmp_path / f'{threads}', short_side=20)
    config.data.threads = threads
    prepare.run(config)
    shards.append(descriptions.read_metadata(str(tmp_path / f'{threads}/train')))
  assert shards[0] == shards[1] == shards[2]


def test_several_threads_work_on_one_shard(tmp_path, monkeypatch):
  config = _config(_photos(tmp_path / 'photos'), tmp_path / 'out')
  config.prepare.images_per_shard, config.data.threads = 1024, 3
  config.data.test_split = ''  # 18 images
  together = threading.Barrier(3)

  def smaller(data, *_):
    together.wait(timeout=30)
    return data
  monkeypatch.setattr(shrink, 'smaller', smaller)
  prepare.run(config)
  assert _open(tmp_path / 'out').size == 18


def test_otherwise_prepared_data_is_other_data(tmp_path):
  photos = _photos(tmp_path / 'photos')
  prints = set()
  for side in (0, 8):
    config = _config(photos, tmp_path / str(side))
    config.prepare.short_side = side
    prepare.run(config)
    prints.add(fingerprint.fingerprint(_open(tmp_path / str(side))))
    prints.add(fingerprint.fingerprint(_open(tmp_path / str(side))))
  assert len(prints) == 2


def test_a_killed_run_goes_on_with_what_is_missing(tmp_path):
  photos = _photos(tmp_path / 'photos', 400, size=(200, 200))
  flags = [f'--config={ROOT}/configs/prepare.py', f'--config.data.path={photos}',
           '--config.prepare.images_per_shard=16', '--config.data.threads=1',
           '--config.prepare.short_side=100']
  command = [sys.executable, '-m', 'byol_jax.main', *flags,
             f'--config.prepare.output={tmp_path / "out"}']
  environment = os.environ | {'PYTHONPATH': ROOT}
  process = subprocess.Popen(command, env=environment, cwd=tmp_path,
                             stdout=subprocess.DEVNULL)
  done = lambda: sorted((tmp_path / 'out/train').glob('*.json'))
  deadline = time.time() + 120
  while len(done()) < 3 and time.time() < deadline:
    time.sleep(0.01)
  process.send_signal(signal.SIGKILL)
  process.wait()
  kept = {path: path.stat().st_mtime_ns for path in done()}
  assert 3 <= len(kept) < 25
  with pytest.raises(UserError, match='not complete'):
    _open(tmp_path / 'out')
  again = subprocess.run(command, env=environment, cwd=tmp_path, text=True,
                         capture_output=True, timeout=300)
  assert again.returncode == 0, again.stderr
  assert f'{len(kept)} of 25 shards are there' in again.stdout
  for path, written in kept.items():
    assert path.stat().st_mtime_ns == written
  fresh = subprocess.run(
      [*command[:-1], f'--config.prepare.output={tmp_path / "fresh"}'],
      env=environment, cwd=tmp_path, capture_output=True, timeout=300)
  assert fresh.returncode == 0
  one, other = (descriptions.read_metadata(str(tmp_path / name / 'train'))
                for name in ('out', 'fresh'))
  assert one == other  # every SHA-256 too


def test_going_on_counts_the_bad_images_of_before(tmp_path, caplog):
  photos = _photos(tmp_path / 'photos')
  for name in ('a/000', 'b/001', 'a/010', 'b/013'):
    (tmp_path / f'photos/train/{name}.jpg').write_bytes(b'no picture')
  config = _config(photos, tmp_path / 'out')
  config.data.max_bad_images = 3
  for _ in range(3):
    with pytest.raises(UserError, match='4 of 18 images .*max_bad_images allows 3'):
      prepare.run(config)
  assert len(list((tmp_path / 'out/train').glob('*.json'))) == 3
  caplog.clear()
  config.data.max_bad_images = 4
  prepare.run(config)
  assert '4 of 18 images' in caplog.text
  assert _open(tmp_path / 'out').size == 14


def test_only_the_shards_of_mended_files_are_made_again(tmp_path):
  photos = _photos(tmp_path / 'photos')
  shards = tmp_path / 'out/train'
  prepare.run(_config(photos, tmp_path / 'out'))
  before = {path.name: path.stat().st_mtime_ns for path in shards.iterdir()}
  (shards / 'metadata.json').unlink()
  mended = tmp_path / 'photos/train/a/008.jpg'  # the fifth of 18
  mended.write_bytes(mended.read_bytes() + b'x')
  prepare.run(_config(photos, tmp_path / 'out'))
  changed = [path.name for path in sorted(shards.iterdir())
             if path.stat().st_mtime_ns != before[path.name]]
  assert changed == ['images-00001-of-00005.array_record',
                     'images-00001-of-00005.json', 'metadata.json']
  assert _open(tmp_path / 'out').read(4) == mended.read_bytes()


def test_shards_of_another_length_do_not_stay(tmp_path):
  config = _config(_photos(tmp_path / 'photos'), tmp_path / 'out')
  config.data.test_split = ''
  prepare.run(config)
  (tmp_path / 'out/train/metadata.json').unlink()
  (tmp_path / 'out/train/images-00003-of-00007.array_record.tmp').write_bytes(b'x')
  (tmp_path / 'out/train/mine.txt').write_bytes(b'x')
  config.prepare.images_per_shard = 9
  prepare.run(config)
  assert sorted(os.listdir(tmp_path / 'out/train')) == [
      'images-00000-of-00002.array_record', 'images-00000-of-00002.json',
      'images-00001-of-00002.array_record', 'images-00001-of-00002.json',
      'metadata.json', 'mine.txt']


# ------------------------------------------------------------------- bad input
def _damage(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 255
  path.write_bytes(data)


def test_run_again_checks_every_shard(tmp_path, caplog):
  caplog.set_level('INFO', 'byol_jax')
  config = _config(_photos(tmp_path / 'photos'), tmp_path / 'out')
  prepare.run(config)
  prepare.run(config)
  assert '5 shards with the right SHA-256' in caplog.text
  shard = tmp_path / 'out/train/images-00002-of-00005.array_record'
  _damage(shard)
  with pytest.raises(UserError, match='00002-of-00005.* is damaged'):
    prepare.run(config)
  shard.unlink()
  with pytest.raises(UserError, match='00002-of-00005.* is missing'):
    prepare.run(config)
  with pytest.raises(UserError, match='00002-of-00005.* is missing'):
    _open(tmp_path / 'out')


def test_other_data_in_the_output_is_refused(tmp_path):
  photos = _photos(tmp_path / 'photos')
  prepare.run(_config(photos, tmp_path / 'out'))
  with pytest.raises(UserError, match='prepared otherwise'):
    prepare.run(_config(photos, tmp_path / 'out', short_side=16))


def test_changed_images_are_not_complete(tmp_path, monkeypatch):
  config = _config(_photos(tmp_path / 'photos'), tmp_path / 'out')
  prepare.run(config)
  monkeypatch.chdir(tmp_path)
  config.data.path = './photos/'  # the same images
  prepare.run(config)
  photo = tmp_path / 'photos/train/b/003.jpg'
  state = photo.stat()
  os.utime(photo, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
  with pytest.raises(UserError, match='have changed since'):
    prepare.run(config)
  os.utime(photo, ns=(state.st_atime_ns, state.st_mtime_ns))
  prepare.run(config)
  photo.write_bytes(photo.read_bytes() + b'x')
  os.utime(photo, ns=(state.st_atime_ns, state.st_mtime_ns))
  with pytest.raises(UserError, match='have changed since'):
    prepare.run(config)


def test_renamed_classes_are_not_complete(tmp_path):
  _photos(tmp_path / 'photos')
  rows = tmp_path / 'rows.csv'
  rows.write_text('photos/train/a/000.jpg,cat\nphotos/train/b/001.jpg,dgo\n')
  config = _config(str(rows), tmp_path / 'out')
  config.data.source = 'list'
  prepare.run(config)
  rows.write_text(rows.read_text().replace('dgo', 'dog'))
  with pytest.raises(UserError, match='have changed since'):
    prepare.run(config)
  config.prepare.output = str(tmp_path / 'again')
  prepare.run(config)
  (tmp_path / 'photos/train/a/000.jpg').unlink()  # found below the list's folder
  with pytest.raises(UserError, match='have changed since'):
    prepare.run(config)


def test_a_full_disk(tmp_path, monkeypatch):
  config = _config(_photos(tmp_path / 'photos'), tmp_path / 'out')
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
  assert _open(tmp_path / 'out').size == 18


def test_what_cannot_be_encoded_is_a_bad_image(tmp_path, monkeypatch):
  photos = _photos(tmp_path / 'photos')
  save = Image.Image.save

  def refuse(image, *arguments, **options):
    if image.height == 21:
      raise OSError('encoder error -2')
    save(image, *arguments, **options)
  Image.new('RGB', (200, 210)).save(tmp_path / 'photos/train/a/002.jpg')
  monkeypatch.setattr(Image.Image, 'save', refuse)
  prepare.run(_config(photos, tmp_path / 'out', short_side=20))
  left_out = descriptions.read_metadata(str(tmp_path / 'out/train'))['left_out']
  assert left_out.keys() == {'a/002.jpg'} and 'encoder' in left_out['a/002.jpg']


def test_not_one_usable_image(tmp_path):
  photos = _photos(tmp_path / 'photos')
  for path in (tmp_path / 'photos/train').rglob('*.jpg'):
    path.write_bytes(b'no picture')
  config = _config(photos, tmp_path / 'out')
  config.data.max_bad_images = 18
  with pytest.raises(UserError, match="not one image .*'a/000.jpg'"):
    prepare.run(config)
  with pytest.raises(UserError, match='not complete'):
    _open(tmp_path / 'out')


def test_a_shard_without_a_usable_image(tmp_path):
  photos = _photos(tmp_path / 'photos')
  for k in (0, 2, 4, 6):  # the first shard
    (tmp_path / f'photos/train/a/{k:03d}.jpg').write_bytes(b'no picture')
  config = _config(photos, tmp_path / 'out')
  config.data.max_bad_images = 4
  prepare.run(config)
  after = _open(tmp_path / 'out')
  assert after.size == 14 and after.names[0] == 'a/008.jpg'
  assert after.read(0) == (tmp_path / 'photos/train/a/008.jpg').read_bytes()


@pytest.mark.parametrize('file, change', [
    ('metadata.json', lambda said: []),
    ('metadata.json', lambda said: {'version': 1}),
    ('metadata.json', lambda said: said | {'shards': [[]]}),
    ('metadata.json', lambda said: said | {'images': 17}),
    ('images-00001-of-00005.json', lambda said: []),
    ('images-00001-of-00005.json', lambda said: {'names': said['names']}),
    ('images-00001-of-00005.json', lambda said: said | {'labels': [0]}),
    ('images-00001-of-00005.json', lambda said: said | {'labels': ['a'] * 4}),
    ('images-00001-of-00005.json', lambda said: said | {'labels': None}),
    ('images-00001-of-00005.json', lambda said: said | {
        'names': said['names'][:3], 'labels': said['labels'][:3]}),
])
def test_damaged_json_is_named(tmp_path, file, change):
  prepare.run(_config(_photos(tmp_path / 'photos'), tmp_path / 'out'))
  path = tmp_path / 'out/train' / file
  path.write_text(json.dumps(change(json.loads(path.read_text()))))
  with pytest.raises(UserError, match='damaged|is of another data set'):
    _open(tmp_path / 'out')
  path.write_text('{')
  with pytest.raises(UserError, match=f'{file}.* is damaged'):
    _open(tmp_path / 'out')
  with pytest.raises(UserError, match=f'{file}.* is damaged'):
    prepare.run(_config(str(tmp_path / 'photos'), tmp_path / 'out'))


def test_two_do_not_write_into_one_folder(tmp_path):
  config = _config(_photos(tmp_path / 'photos'), tmp_path / 'out')
  program = ('import sys, time; from byol_jax.tasks import prepare\n'
             'with prepare._alone(sys.argv[1]): print("in", flush=True); '
             'time.sleep(600)')
  with subprocess.Popen([sys.executable, '-c', program, tmp_path / 'out'],
                        stdout=subprocess.PIPE,
                        env=os.environ | {'PYTHONPATH': ROOT}) as other:
    try:
      assert other.stdout.readline() == b'in\n'
      with pytest.raises(UserError, match=f'written by process {other.pid} on'):
        prepare.run(config)
    finally:
      other.kill()
  prepare.run(config)  # a killed process holds nothing
  assert _open(tmp_path / 'out').size == 18


def test_one_process_of_several_does_not_prepare(tmp_path, monkeypatch):
  monkeypatch.setattr(prepare.jax, 'process_count', lambda: 4)
  with pytest.raises(UserError, match='run it on one host'):
    prepare.run(_config(_photos(tmp_path / 'photos'), tmp_path / 'out'))
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('options, words', [
    (dict(output=''), 'prepare.output is empty'),
    (dict(output='gs://bucket/x'), 'copy it to the bucket'),
    (dict(output='/proc/x'), '/proc/x'),
])
def test_where_nothing_can_be_written(tmp_path, options, words):
  config = _config(_photos(tmp_path / 'photos'), 'x')
  config.prepare.update(options)
  with pytest.raises(UserError, match=words):
    prepare.run(config)


def test_what_is_in_memory_needs_no_preparation(tmp_path):
  config = _config('', tmp_path / 'out')
  config.data.source = 'fashion_sample'
  with pytest.raises(UserError, match='no preparation'):
    prepare.run(config)
