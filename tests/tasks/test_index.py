"""task=index as a user calls it, on a tiny run."""

import csv
import json
import os
import shutil

import numpy as np
from PIL import Image
import pytest
from tiny import call

from byol_jax.retrieval import Index
from byol_jax.retrieval import store as store_lib
from byol_jax.tasks import index as index_task

pytest.importorskip('lancedb', reason='the extra [index] is not installed')


def picture(path, seed):
  pixels = np.random.default_rng(seed).integers(0, 256, (14, 12, 3)).astype(np.uint8)
  Image.fromarray(pixels).save(path)


def listed(folder, prices):
  with open(folder / 'list.csv', 'w', newline='', encoding='utf-8') as f:
    csv.writer(f).writerows([('path', 'label', 'price', 'sku', 'image'), *(
        (name, 'ab'[k % 2], price, f'{k:03d}', 'front')
        for k, (name, price) in enumerate(prices.items()))])


@pytest.fixture(name='catalogue')
def _catalogue(tmp_path):
  """Twelve pictures with prices; the list, and a function that makes the index."""
  folder = tmp_path / 'shop'
  folder.mkdir()
  prices = {f"it's {k}.png": k * 10 for k in range(12)}
  for k, name in enumerate(prices):
    picture(folder / name, k)
  listed(folder, prices)
  return folder, prices


def index(run, folder, *more):
  return call('index', f'--config.weights={run}', '--config.data.source=list',
              f'--config.data.path={folder}/list.csv', '--config.evaluation.batch_size=2',
              f'--workdir={folder.parent / "index"}', *more)


def content(folder):
  """All that the table holds, by name."""
  store = store_lib.open_table(str(folder.parent / 'index' / 'table'))
  return store.rows(sorted(store.stamps()))


def test_only_what_is_new_or_has_changed_is_encoded(run, catalogue, capsys):
  folder, prices = catalogue
  assert index(run, folder) == 0
  assert '12 encoded, 0 with other columns, 0 removed, 0 left out' in (
      capsys.readouterr().out)
  first = content(folder)
  assert first["it's 3.png"]['price'] == 30 and first["it's 3.png"]['sku'] == '003'
  assert first["it's 3.png"]['image_'] == 'front'  # the index has a column image
  assert index(run, folder) == 0
  assert '0 encoded, 0 with other columns, 0 removed' in capsys.readouterr().out
  # one is gone, one new, one changed, one has another price, one is no picture now
  del prices["it's 0.png"]
  prices |= {'new.png': 5, "it's 2.png": 999}
  picture(folder / 'new.png', 77)
  picture(folder / "it's 4.png", 78)
  (folder / "it's 6.png").write_bytes(b'no picture any more')
  before = sorted(prices)
  listed(folder, {name: prices[name] for name in before})
  assert index(run, folder, '--config.data.max_bad_images=1') == 0
  out = capsys.readouterr().out
  assert '2 encoded' in out and '1 removed, 1 left out' in out
  second = content(folder)
  assert second.keys() == prices.keys() - {"it's 6.png"}
  assert second["it's 2.png"]['price'] == 999
  for name in ("it's 2.png", "it's 8.png"):
    assert second[name]['vector'] == first[name]['vector']
    assert second[name]['thumbnail'] == first[name]['thumbnail']
  assert second["it's 4.png"]['vector'] != first["it's 4.png"]['vector']


def test_names_that_are_no_utf8(run, tmp_path):
  for k, name in enumerate((b'caf\xe9/n\xe9.png', b'dog/1.png')):
    path = os.fsencode(tmp_path / 'odd') + b'/' + name
    os.makedirs(os.path.dirname(path))
    with open(path, 'wb') as f:
      Image.fromarray(np.full((9, 9, 3), k, np.uint8)).save(f, 'PNG')
  assert call('index', f'--config.weights={run}', '--config.data.source=folder',
              f'--config.data.path={tmp_path / "odd"}',
              f'--workdir={tmp_path / "index"}') == 0
  found = content(tmp_path / 'odd')
  assert {name: row['label'] for name, row in found.items()} == {
      'caf\\udce9/n\\udce9.png': 'caf\\udce9', 'dog/1.png': 'dog'}


def test_a_killed_one_goes_on_to_the_same_content(run, catalogue, tmp_path, monkeypatch):
  folder, _ = catalogue
  assert index(run, folder) == 0
  whole = content(folder)
  os.rename(tmp_path / 'index', tmp_path / 'whole')
  monkeypatch.setattr(index_task, '_CHUNK', 1)
  monkeypatch.setattr('jax.local_device_count', lambda: 2)  # four at a time
  put, calls = store_lib.Store.put, []
  def killed(self, rows):
    calls.append(1)
    if len(calls) == 2:
      raise KeyboardInterrupt
    put(self, rows)
  with monkeypatch.context() as patch:
    patch.setattr(store_lib.Store, 'put', killed)
    with pytest.raises(KeyboardInterrupt):
      index(run, folder)
  about = json.loads((tmp_path / 'index/index.json').read_text())
  assert not about['complete'] and 0 < len(Index.open(tmp_path / 'index')) < 12
  assert index(run, folder) == 0
  assert content(folder) == whole
  assert json.loads((tmp_path / 'index/index.json').read_text())['complete']


def test_an_approximate_one_tells_its_recall(run, catalogue, monkeypatch):
  folder, _ = catalogue
  def killed(self):
    assert self.is_approximate
    raise KeyboardInterrupt
  with monkeypatch.context() as patch:
    patch.setattr(store_lib.Store, 'compact', killed)
    with pytest.raises(KeyboardInterrupt):
      index(run, folder, '--config.index.approximate_from=10')
  for _ in range(2):
    assert index(run, folder, '--config.index.approximate_from=10') == 0
    about = json.loads((folder.parent / 'index/index.json').read_text())
    assert about['search'] == 'approximate' and about['recall_at_10'] == 1


def test_another_index_is_refused_and_left_alone(run, catalogue, capsys):
  folder, prices = catalogue
  assert index(run, folder) == 0
  before = content(folder)
  for arguments, message in (
      (['--config.evaluation.network=target'], 'holds an index of another encoder'),
      (['--config.index.dtype=float16'], 'holds an index of another dtype')):
    assert index(run, folder, *arguments) == 2
    assert message in capsys.readouterr().err
  listed(folder, prices | {"it's 1.png": 'dear'})
  assert index(run, folder) == 2
  assert 'or their kinds differ' in capsys.readouterr().err
  assert content(folder) == before


def test_shards_make_the_same_index(run, catalogue, tmp_path, capsys):
  folder, prices = catalogue
  (folder / "it's 7.png").write_bytes(b'no picture')
  def in_shards():
    for shard in ('2/3', '3/3', '1/3'):
      assert index(run, folder, f'--config.shard={shard}') == 0
    assert '3 shards, all there' in capsys.readouterr().out
    assert index(run, folder, '--config.shard=merge') == 0
    found, said = content(folder), capsys.readouterr().out
    shutil.rmtree(tmp_path / 'index' / 'table')
    assert index(run, folder) == 0
    assert found == content(folder)
    return said
  assert '11 encoded, 0 with other columns, 0 removed, 1 left out' in in_shards()
  # only what is new or has changed is encoded, in the shard that has it
  picture(folder / "it's 7.png", 77)
  picture(folder / "it's 2.png", 78)
  del prices["it's 9.png"]
  listed(folder, prices | {"it's 1.png": 11})
  encoded = index_task._encoded
  def noting(named, catalogue, names):
    made.extend(names)
    return encoded(named, catalogue, names)
  made, index_task._encoded = [], noting
  try:
    for shard in ('1/3', '2/3', '3/3', 'merge'):
      assert index(run, folder, f'--config.shard={shard}') == 0
  finally:
    index_task._encoded = encoded
  assert {"it's 2.png", "it's 7.png"} <= set(made) and len(made) < 6
  merged = content(folder)
  assert len(merged) == 11 and merged["it's 1.png"]['price'] == 11
  in_shards()
  assert content(folder) == merged
  # what cannot be merged is left alone
  picture(folder / "it's 5.png", 79)
  assert index(run, folder, '--config.shard=merge') == 2
  assert 'is of other images, or of files that have changed' in capsys.readouterr().err
  assert index(run, folder, '--config.shard=1/3', '--config.index.dtype=float16') == 2
  assert 'index.dtype' in capsys.readouterr().err
  assert content(folder) == merged
