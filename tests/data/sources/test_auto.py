"""The source that a path calls for."""

import numpy as np
import pytest
import tiny_shards

from byol_jax.data.sources import auto
from byol_jax.data.sources import open as open_lib
from byol_jax.errors import UserError


def _touch(path):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(b'')


@pytest.mark.parametrize('files, path, right', [
    (['a/cat/1.jpg', 'a/dog/2.PNG'], 'a', 'folder'),
    (['a/1.jpg', 'a/metadata.parquet', 'a/metadata.csv'], 'a', 'folder'),
    (['a/README.md', 'a/data/train-00000-of-00001.parquet'], 'a', 'parquet'),
    (['a/00000.tar', 'a/00000.parquet', 'a/00000_stats.json'], 'a', 'tar'),
    (['a/x.tar.gz'], 'a', 'tar'),
    (['a/train/metadata.json', 'a/train/images-00000-of-00001.array_record'], 'a',
     'prepared'),
    (['a/features.json', 'a/dataset_info.json'], 'a', 'tfds'),
    (['a/train-images-idx3-ubyte.gz'], 'a', 'fashion_mnist'),
    (['a/nothing.txt'], 'a', 'folder'),  # which says what is missing
    (['x.tar'], 'x.tar', 'tar'), (['x.TSV'], 'x.TSV', 'list'),
    (['x.npz'], 'x.npz', 'npz'), ([], 'x-{000..009}.tar', 'tar'),
    ([], 'data/*.parquet', 'parquet'),
    (['a/1.jpg', 'b/2.jpg'], 'a,b', 'folder')])
def test_a_path_calls_for_a_source(tmp_path, monkeypatch, caplog, files, path, right):
  caplog.set_level('INFO', 'byol_jax')
  monkeypatch.chdir(tmp_path)
  for file in files:
    _touch(tmp_path / file)
  assert auto.source_of(path) == right
  assert f"{path}: data.source='{right}', as there is " in caplog.text


@pytest.mark.parametrize('files, path, match', [
    ([], 'no', "'no', which does not exist"),
    (['x.zip'], 'x.zip', r"no folder and ends in none of \.tar, \.parquet, \.npz"),
    (['a/1.jpg', 'a/2.tar'], 'a', r"'1.jpg' \(folder\), '2.tar' \(tar\).*folder or tar"),
    (['a/1.jpg', 'x.tar'], 'a,x.tar', 'joins different kinds'),
    (['x.csv', 'y.csv'], 'x.csv,y.csv', "several of the kind 'list'")])
def test_what_is_not_clear_is_refused(tmp_path, monkeypatch, files, path, match):
  monkeypatch.chdir(tmp_path)
  for file in files:
    _touch(tmp_path / file)
  with pytest.raises(UserError, match=match):
    auto.source_of(path)


def test_it_opens_what_it_found(tmp_path):
  made = tiny_shards.images(6)
  tiny_shards.write_folder(tmp_path / 'photos', made)
  tiny_shards.write_tar(tmp_path / 'tars/x.tar', made)
  tiny_shards.write_parquet(tmp_path / 'hub/data/x.parquet', made)
  for name in ('photos', 'tars', 'hub'):
    source = open_lib.open_part('auto', path=str(tmp_path / name))
    assert source.size == 6
    assert {source.read(k) for k in range(6)} == {data for _, _, data in made}
    assert np.bincount(source.labels).tolist() == [2, 2, 2]
