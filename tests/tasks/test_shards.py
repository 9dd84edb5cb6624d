"""Shards of embed: any process does any of them, and together they are one pass."""

import json
import os
import types

import numpy as np
from PIL import Image
import pytest
from tiny import call
from tiny import results

from byol_jax.config.shard import Shard
from byol_jax.tasks import embed as embed_task
from byol_jax.tasks import shards as shards_lib


@pytest.fixture(name='photos')
def _photos(tmp_path):
  """Seventy pictures of two classes, one of them damaged."""
  rng = np.random.default_rng(0)
  for k in range(70):
    folder = tmp_path / 'photos' / 'ab'[k % 2]
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (15, 12, 3), np.uint8)).save(
        folder / f'{k:03d}.png')
  (tmp_path / 'photos' / 'a' / '050.png').write_bytes(b'not a picture')
  return tmp_path / 'photos'


@pytest.fixture(name='embed')
def _embed(run, photos, tmp_path):
  """embed(shard, more...) -> its exit code."""
  def embed(shard, *more, out='out'):
    return call('embed', f'--config.weights={run}', '--config.data.source=folder',
                f'--config.data.path={photos}', '--config.evaluation.batch_size=4',
                '--config.data.resident=no', f'--config.shard={shard}',
                f'--workdir={tmp_path / out}', *more)
  return embed


def arrays(folder):
  with np.load(folder / 'embeddings.npz', allow_pickle=False) as file:
    return dict(file)


def equal(one, other):
  assert one.keys() == other.keys()
  for name, array in one.items():
    np.testing.assert_array_equal(other[name], array)


def test_the_union_is_one_pass(embed, tmp_path, capsys):
  assert embed('', out='whole') == 0
  whole = arrays(tmp_path / 'whole')
  assert len(whole['features']) == 69
  for shard in ('2/3', '3/3', '1/3'):
    assert not (tmp_path / 'out' / 'shards.json').exists()
    assert embed(shard) == 0
  assert '3 shards, all there' in capsys.readouterr().out
  manifest = json.loads((tmp_path / 'out' / 'shards.json').read_text())
  folders = [shard['folder'] for shard in manifest['shards']]
  assert folders == [f'shards/0000{k}-of-00003' for k in (1, 2, 3)]
  assert [list(shard['left_out']) for shard in manifest['shards']] == [[], ['25'], []]
  parts = [arrays(tmp_path / 'out' / folder) for folder in folders]
  assert [len(part['features']) for part in parts] == [24, 23, 22]
  equal(whole, {name: np.concatenate([part[name] for part in parts])
                if name != 'class_names' else array for name, array in whole.items()})
  for folder in folders:  # what it needs on the way is gone
    assert set(os.listdir(tmp_path / 'out' / folder)) == {
        'config.json', 'embeddings.npz', 'embeddings.parquet', 'lock.json',
        'results.json'}
  # again: nothing is encoded
  kept = {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').rglob('emb*')}
  assert embed('2/3') == 0
  assert 'shard 2/3 is there already' in capsys.readouterr().out
  assert embed('merge') == 0
  assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
  equal(whole, arrays(tmp_path / 'out'))
  merged, said = (results(tmp_path / name) for name in ('out', 'whole'))
  assert merged == said


def test_parquet_in_float16(embed, tmp_path):
  parquet = pytest.importorskip('pyarrow.parquet')
  from pyarrow import dataset
  more = '--config.embed.formats=parquet', '--config.embed.float16=True'
  for shard in ('1/2', '2/2', 'merge'):
    assert embed(shard, *more) == 0
  assert embed('', *more, out='whole') == 0
  one, other = (parquet.read_table(tmp_path / name / 'embeddings.parquet')
                for name in ('out', 'whole'))
  shards = sorted((tmp_path / 'out' / 'shards').glob('*/embeddings.parquet'))
  assert dataset.dataset(list(map(str, shards))).to_table() == one == other
  assert str(one['feature'].type.value_type) == 'halffloat'


def test_more_shards_than_batches(embed, tmp_path):
  assert embed('30/30') == 0
  folder = tmp_path / 'out' / 'shards' / '00030-of-00030'
  assert arrays(folder)['features'].shape[0] == 0


@pytest.mark.parametrize('size, count', [(0, 3), (1, 3), (70, 3), (71, 30), (72, 18)])
def test_each_image_is_in_one_shard(size, count):
  named = types.SimpleNamespace(
      workdir='W', inference=types.SimpleNamespace(batch_size=4))
  data = types.SimpleNamespace(size=size)
  shards = shards_lib.Shards(named, data, grows=True)
  rows = [shards.rows(Shard(k + 1, count)) for k in range(count)]
  assert np.concatenate(rows).tolist() == list(range(size))
  assert not any(part[0] % 4 for part in rows if len(part))
  sizes = [len(part) for part in rows if len(part)]
  assert max(sizes, default=0) - min(sizes, default=0) <= 7


def test_what_does_not_fit_is_refused_in_a_line(embed, photos, tmp_path, capsys):
  def refused(shard, *more):
    capsys.readouterr()
    assert embed(shard, *more) == 2
    said = capsys.readouterr().err
    assert said.startswith('byol_jax: ')
    return said
  assert 'holds no finished shard' in refused('merge')
  assert embed('1/3') == 0
  assert 'from 1/3 to 3/3' in refused('4/3')
  assert 'would hold shards of 3 and of 4' in refused('2/4')
  assert 'embed.float16 (False there, True now)' in refused(
      '2/3', '--config.embed.float16=True')
  assert 'shard 2/3, 3/3 are missing; run each again' in refused('merge')
  assert '--distributed=on' in refused('2/3', '--distributed=on')
  assert embed('2/3') == embed('3/3') == 0
  # a file has changed
  mended = photos / 'b' / '001.png'
  Image.new('RGB', (15, 12)).save(mended)
  assert 'shard 2/3 is of other images, or of files that have changed' in refused('merge')
  assert embed('2/3') == 0
  assert 'its images have changed since it was written' in capsys.readouterr().out
  # a file of features is damaged, then gone
  features = tmp_path / 'out' / 'shards' / '00003-of-00003' / 'embeddings.npz'
  damaged = bytearray(features.read_bytes())
  damaged[200] ^= 1
  features.write_bytes(damaged)
  assert 'shard 3/3 is damaged' in refused('merge')
  assert embed('3/3') == embed('merge') == 0
  features.unlink()
  assert embed('3/3') == embed('merge') == 0
  # other images
  (photos / 'b' / '999.png').write_bytes(mended.read_bytes())
  assert 'the data of' in refused('1/3')


def test_a_worker_that_is_killed_goes_on(embed, tmp_path, monkeypatch, capsys):
  from byol_jax.evaluation import features
  monkeypatch.setattr(features, '_SECONDS', 0)  # parts stay small
  assert embed('', out='whole') == 0
  write, written = features.Store._write, []
  def break_off(*arguments):
    write(*arguments)
    written.append(0)
    if len(written) in (1, 2):
      raise KeyboardInterrupt
  monkeypatch.setattr(features.Store, '_write', break_off)
  for _ in range(2):
    with pytest.raises(KeyboardInterrupt):
      embed('1/1')
  capsys.readouterr()
  assert embed('1/1') == 0
  assert '64 of 70 features were computed before' in capsys.readouterr().out
  equal(arrays(tmp_path / 'whole'), arrays(tmp_path / 'out/shards/00001-of-00001'))


def test_two_workers_on_one_shard(embed, tmp_path, monkeypatch, capsys):
  written = embed_task._written
  def meanwhile(*arguments):
    monkeypatch.setattr(embed_task, '_written', written)
    assert embed('1/2') == 2
    assert embed('2/2') == 0
    return written(*arguments)
  monkeypatch.setattr(embed_task, '_written', meanwhile)
  assert embed('1/2') == 0
  said = capsys.readouterr()
  assert '00001-of-00002 is in use by process' in said.err
  assert '2 shards, all there' in said.out


def test_too_many_bad_images_in_all_shards_together(embed, photos, capsys):
  for name in ('a/002', 'b/031', 'b/069'):
    (photos / f'{name}.png').write_bytes(b'no picture')
  limit = '--config.data.max_bad_images=3'
  for shard in ('1/3', '2/3', '3/3'):
    assert embed(shard, limit) == 0
  assert embed('merge', limit) == 2
  assert '4 of 70 images' in capsys.readouterr().err


def test_a_worker_of_kubernetes_is_by_itself(embed, tmp_path, monkeypatch):
  """It looks for no other process, and decodes nothing but its shard."""
  from byol_jax.data.feed import stream
  from byol_jax.devices import hosts
  monkeypatch.setattr(stream, 'load_resident', None)
  monkeypatch.setattr(hosts, 'initialize', None)
  monkeypatch.setenv('JOB_COMPLETION_INDEX', '2')
  assert embed('auto/3', '--config.data.resident=auto', '--distributed=auto') == 0
  assert (tmp_path / 'out' / 'shards' / '00003-of-00003' / 'results.json').exists()


def test_pixels_in_memory(run, tmp_path):
  data = [f'--config.weights={run}', '--config.evaluation.batch_size=4']
  assert call('embed', *data, f'--workdir={tmp_path / "whole"}') == 0
  for shard in ('1/2', '2/2', 'merge'):
    assert call('embed', *data, f'--config.shard={shard}',
                f'--workdir={tmp_path / "out"}') == 0
  equal(arrays(tmp_path / 'whole'), arrays(tmp_path / 'out'))


def test_folders_sort_by_number():
  shards = shards_lib.Shards(types.SimpleNamespace(workdir='W'), None, grows=True)
  folders = [shards.folder(Shard(k, 100_000)) for k in (9, 10, 99_999)]
  assert folders == sorted(folders) and folders[0] == 'W/shards/00009-of-100000'
