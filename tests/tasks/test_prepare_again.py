"""task=prepare once more: after a kill, over damage, and when the images have changed."""

import json
import os
import signal
import subprocess
import sys
import time

from photos import make_config
from photos import open_part
from photos import photos_in
import pytest
from tiny import ROOT

from byol_jax.data.records import descriptions
from byol_jax.errors import UserError
from byol_jax.tasks import prepare

pytest.importorskip('array_record')


def test_a_killed_run_goes_on_with_what_is_missing(tmp_path):
  photos = photos_in(tmp_path / 'photos', 400, size=(200, 200))
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
    open_part(tmp_path / 'out')
  again = subprocess.run(command, env=environment, cwd=tmp_path, text=True,
                         capture_output=True, timeout=300)
  assert again.returncode == 0, again.stderr
  assert f'{len(kept)} of 25 shards there' in again.stdout
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
  photos = photos_in(tmp_path / 'photos')
  for name in ('a/000', 'b/001', 'a/010', 'b/013'):
    (tmp_path / f'photos/train/{name}.jpg').write_bytes(b'no picture')
  config = make_config(photos, tmp_path / 'out')
  config.data.max_bad_images = 3
  for _ in range(3):
    with pytest.raises(UserError, match='4 of 18 images .*max_bad_images allows 3'):
      prepare.run(config)
  assert len(list((tmp_path / 'out/train').glob('*.json'))) == 3
  caplog.clear()
  config.data.max_bad_images = 4
  prepare.run(config)
  assert '4 of 18 images' in caplog.text
  assert open_part(tmp_path / 'out').size == 14


def test_only_the_shards_of_mended_files_are_made_again(tmp_path):
  photos = photos_in(tmp_path / 'photos')
  shards = tmp_path / 'out/train'
  prepare.run(make_config(photos, tmp_path / 'out'))
  before = {path.name: path.stat().st_mtime_ns for path in shards.iterdir()}
  (shards / 'metadata.json').unlink()
  mended = tmp_path / 'photos/train/a/008.jpg'  # the fifth of 18
  mended.write_bytes(mended.read_bytes() + b'x')
  prepare.run(make_config(photos, tmp_path / 'out'))
  changed = [path.name for path in sorted(shards.iterdir())
             if path.stat().st_mtime_ns != before[path.name]]
  assert changed == ['images-00001-of-00005.array_record',
                     'images-00001-of-00005.json', 'metadata.json']
  assert open_part(tmp_path / 'out').read(4) == mended.read_bytes()


def test_shards_of_another_length_do_not_stay(tmp_path):
  config = make_config(photos_in(tmp_path / 'photos'), tmp_path / 'out')
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


def _damage(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 255
  path.write_bytes(data)


def test_run_again_checks_every_shard(tmp_path, caplog):
  caplog.set_level('INFO', 'byol_jax')
  config = make_config(photos_in(tmp_path / 'photos'), tmp_path / 'out')
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
    open_part(tmp_path / 'out')


def test_other_data_in_the_output_is_refused(tmp_path):
  photos = photos_in(tmp_path / 'photos')
  prepare.run(make_config(photos, tmp_path / 'out'))
  with pytest.raises(UserError, match='prepared otherwise'):
    prepare.run(make_config(photos, tmp_path / 'out', short_side=16))


def test_changed_images_are_not_complete(tmp_path, monkeypatch):
  config = make_config(photos_in(tmp_path / 'photos'), tmp_path / 'out')
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
  photos_in(tmp_path / 'photos')
  rows = tmp_path / 'rows.csv'
  rows.write_text('photos/train/a/000.jpg,cat\nphotos/train/b/001.jpg,dgo\n')
  config = make_config(str(rows), tmp_path / 'out')
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
  prepare.run(make_config(photos_in(tmp_path / 'photos'), tmp_path / 'out'))
  path = tmp_path / 'out/train' / file
  path.write_text(json.dumps(change(json.loads(path.read_text()))))
  with pytest.raises(UserError, match='damaged|is of another data set'):
    open_part(tmp_path / 'out')
  path.write_text('{')
  with pytest.raises(UserError, match=f'{file}.* is damaged'):
    open_part(tmp_path / 'out')
  with pytest.raises(UserError, match=f'{file}.* is damaged'):
    prepare.run(make_config(str(tmp_path / 'photos'), tmp_path / 'out'))


def test_two_do_not_write_into_one_folder(tmp_path):
  config = make_config(photos_in(tmp_path / 'photos'), tmp_path / 'out')
  program = ('import sys, time; from byol_jax.data.records import locks\n'
             'with locks.alone(sys.argv[1], "1-of-3"): print("in", flush=True); '
             'time.sleep(600)')
  with subprocess.Popen([sys.executable, '-c', program, tmp_path / 'out'],
                        stdout=subprocess.PIPE,
                        env=os.environ | {'PYTHONPATH': ROOT}) as other:
    try:
      assert other.stdout.readline() == b'in\n'
      for shard, said in (('', 'processes that prepare its shards'),
                          ('1/3', f'process {other.pid} on')):
        config.shard = shard
        with pytest.raises(UserError, match=f'is being written by {said}'):
          prepare.run(config)
      config.shard = '2/3'
      prepare.run(config)
    finally:
      other.kill()
  config.shard = ''
  prepare.run(config)  # a killed process holds nothing
  assert open_part(tmp_path / 'out').size == 18


def test_processes_that_know_nothing_of_one_another(tmp_path, caplog):
  """Any order, one of them twice, a bad image: the shards are those of one process."""
  caplog.set_level('INFO', 'byol_jax')
  photos = photos_in(tmp_path / 'photos', count=30)
  (tmp_path / 'photos/train/b/017.jpg').write_bytes(b'no picture')
  prepare.run(make_config(photos, tmp_path / 'whole'))
  config = make_config(photos, tmp_path / 'out')
  for shard in ('3/3', '1/3', '1/3', '2/3'):
    assert not (tmp_path / 'out/train/metadata.json').exists()
    config.shard = shard
    prepare.run(config)
  assert '3 of 3 shards there' in caplog.text  # the second time
  one, other = (descriptions.read_metadata(str(tmp_path / name / 'train'))
                for name in ('whole', 'out'))
  assert one == other and one['images'] == 24 and len(one['shards']) == 7
  assert open_part(tmp_path / 'out', 'test').size == 5
  prepare.run(config)  # when all is there, it checks its own
  assert 'complete, 2 shards with the right SHA-256' in caplog.text
  config.shard = '4/9'  # of more processes than files, too
  config.prepare.output = str(tmp_path / 'more')
  prepare.run(config)
  assert not (tmp_path / 'more/test/metadata.json').exists()


def test_other_settings_than_the_shards_that_are_there(tmp_path):
  config = make_config(photos_in(tmp_path / 'photos'), tmp_path / 'out')
  config.shard = '1/2'
  prepare.run(config)
  config.shard = '2/2'
  for key, value in (('short_side', 16), ('images_per_shard', 5)):
    before, config.prepare[key] = config.prepare[key], value
    with pytest.raises(UserError, match='holds shards that were prepared otherwise'):
      prepare.run(config)
    config.prepare[key] = before
  prepare.run(config)
  assert open_part(tmp_path / 'out').size == 18
