"""task=embed as a user calls it, on a tiny run."""

import shutil

import numpy as np
from PIL import Image
import pytest
from tiny import call


def test_embed_shares_the_features_of_images_that_fit_into_memory(
    run, tmp_path, capsys):
  rng = np.random.default_rng(0)
  for folder in ('train/a', 'train/b', 'test/a', 'test/b'):
    (tmp_path / 'photos' / folder).mkdir(parents=True)
    for k in range(20):
      Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).save(
          tmp_path / 'photos' / folder / f'{k}.png')
  arguments = [f'--config.weights={run}', '--config.data.source=folder',
               f'--config.data.path={tmp_path / "photos"}']
  assert call('knn', *arguments, f'--workdir={tmp_path / "knn"}') == 0
  capsys.readouterr()
  assert call('embed', *arguments, f'--workdir={tmp_path / "embed"}') == 0
  assert '40 of 40 features were computed before' in capsys.readouterr().out
  found = np.load(tmp_path / 'embed/embeddings.npz')
  assert found['names'][[0, -1]].tolist() == ['a/0.png', 'b/9.png']


def test_interrupted_embedding_goes_on(run, tmp_path, monkeypatch, capsys):
  from byol_jax.evaluation import features
  monkeypatch.setattr(features, '_SECONDS', 0)  # parts stay small
  photos = tmp_path / 'photos'
  photos.mkdir()
  rng = np.random.default_rng(0)
  for k in range(100):
    Image.fromarray(rng.integers(0, 256, (15, 12, 3), np.uint8)).save(
        photos / f'{k:03d}.png')
  (photos / '050.png').write_bytes(b'not a picture')
  arguments = ['embed', f'--config.weights={run}', '--config.evaluation.batch_size=4',
               '--config.data.source=folder', f'--config.data.path={photos}']
  assert call(*arguments, f'--workdir={tmp_path / "whole"}') == 0
  shutil.rmtree(f'{run}/evaluations/features')
  write, written = features.Store._write, []
  def break_off(*arguments):
    write(*arguments)
    written.append(0)
    if len(written) == 2:
      raise KeyboardInterrupt
  monkeypatch.setattr(features.Store, '_write', break_off)
  with pytest.raises(KeyboardInterrupt):
    call(*arguments, f'--workdir={tmp_path / "broken"}')
  capsys.readouterr()
  assert call(*arguments, f'--workdir={tmp_path / "broken"}') == 0
  assert '64 of 100 features were computed before' in capsys.readouterr().out
  whole, gone_on = (dict(np.load(tmp_path / name / 'embeddings.npz'))
                    for name in ('whole', 'broken'))
  assert set(whole) == {'features', 'names'}  # a flat folder has no labels
  for name, array in whole.items():
    np.testing.assert_array_equal(gone_on[name], array)
  assert whole['features'].shape == (99, whole['features'].shape[1])
  assert '050.png' not in whole['names'] and whole['names'][51] == '052.png'
  # Parquet says the same
  parquet = pytest.importorskip('pyarrow.parquet')
  table = parquet.read_table(tmp_path / 'whole' / 'embeddings.parquet')
  assert table['name'].to_pylist() == whole['names'].tolist()
  np.testing.assert_array_equal(
      np.stack(table['feature'].to_numpy()), whole['features'])
  # a file that was mended, and one that changed under its name
  for name in ('050.png', '007.png'):
    Image.fromarray(rng.integers(0, 256, (15, 12, 3), np.uint8)).save(photos / name)
  assert call(*arguments, f'--workdir={tmp_path / "mended"}') == 0
  mended = np.load(tmp_path / 'mended' / 'embeddings.npz')['features']
  same = (np.delete(mended, 50, 0) == whole['features']).all(1)
  assert len(mended) == 100 and np.flatnonzero(~same).tolist() == [7]
