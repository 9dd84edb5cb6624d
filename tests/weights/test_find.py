"""The checkpoint that a path names, and what a path is that names none."""

import shutil
import threading
import time

import numpy as np
import pytest

from byol_jax.errors import UserError
from byol_jax.run import checkpoint
from byol_jax.weights import find


@pytest.fixture(name='run')
def _run(tmp_path):
  run = tmp_path / 'runs' / 'run'
  checkpoints = checkpoint.Checkpoints(run / 'checkpoints')
  for step in (10, 20, 30):
    checkpoints.save(step, {'w': np.full(3, step, np.float32)}, {})
  checkpoints.close()
  (run / 'config.json').write_text('{"task": "pretrain"}')
  return run


@pytest.mark.parametrize('path, folder, step', [
    ('runs/a', 'runs/a/checkpoints', None), ('runs/a/', 'runs/a/checkpoints', None),
    ('runs/a/checkpoints', 'runs/a/checkpoints', None),
    ('runs/a/checkpoints/20/', 'runs/a/checkpoints', 20),
    ('runs/20', 'runs/20/checkpoints', None), ('/', '/checkpoints', None),
    ('gs://b/a/checkpoints/7', 'gs://b/a/checkpoints', 7)])
def test_the_folder_and_the_step_that_a_path_names(path, folder, step):
  assert find.parse(path) == (folder, step)


def test_the_newest_is_opened_but_for_those_that_are_no_good(run):
  for path, without, wanted in (
      (run, (), 30), (run / 'checkpoints', (30,), 20), (run / 'checkpoints/10', (), 10)):
    checkpoints, step = find.opened(str(path), 'weights', without=without)
    assert step == wanted and checkpoints.open(step).leaves
    checkpoints.close()


def test_one_that_is_being_written_is_waited_for(run, caplog, monkeypatch):
  folder = run / 'checkpoints'
  (folder / '30').rename(folder / '30.orbax-checkpoint-tmp-1')
  def finish():
    time.sleep(0.3)
    (folder / '30.orbax-checkpoint-tmp-1').rename(folder / '30')
  thread = threading.Thread(target=finish)
  thread.start()
  with caplog.at_level('INFO', 'byol_jax'):
    checkpoints, step = find.opened(str(folder / '30'), 'weights')
  thread.join()
  checkpoints.close()
  assert step == 30 and 'is being written; waiting' in caplog.text
  (folder / '40.orbax-checkpoint-tmp-1').mkdir()
  monkeypatch.setattr(find, '_SECONDS_TO_WRITE', 0.1)
  with pytest.raises(UserError, match='left unfinished, .* another one: 10, 20, 30'):
    find.opened(str(folder / '40'), 'weights')


def test_one_that_is_gone_and_one_that_is_damaged(run, monkeypatch):
  monkeypatch.setattr(find, '_SECONDS_TO_REMOVE', 0.1)
  checkpoints, step = find.opened(str(run), 'weights')
  error = checkpoint.DamagedError('hm')
  assert not find.is_gone(checkpoints, step, error)
  error.__cause__ = FileNotFoundError()
  assert not find.is_gone(checkpoints, step, error)
  shutil.rmtree(run / 'checkpoints' / '30')
  assert find.is_gone(checkpoints, step, error)
  checkpoints.close()


@pytest.mark.parametrize('name, config, kind', [
    ('a.safetensors', None, 'file'), ('A.SAFETENSORS', None, 'file'),
    ('a.pkl', None, 'deepmind'), ('a.pth', None, 'torch'), ('nothing', None, 'run'),
    ('theirs', '{"architectures": ["ResNetModel"]}', 'folder'),
    ('timm', '{"architecture": "resnet18"}', 'folder'),
    ('evaluation', '{"task": "knn"}', 'run'), ('photos.tar', 'no json', 'run')])
def test_what_kind_a_path_is(tmp_path, name, config, kind):
  if config is not None:
    (tmp_path / name).mkdir()
    (tmp_path / name / 'config.json').write_text(config)
  assert find.form(str(tmp_path / name)) == kind
  if config is not None:
    (tmp_path / name / 'model.safetensors').write_bytes(b'')
    assert find.form(str(tmp_path / name)) == 'folder'
    (tmp_path / name / 'checkpoints').mkdir()
    assert find.form(str(tmp_path / name)) == 'run'


def test_what_a_path_is_that_has_no_checkpoint(run):
  def refused(path):
    with pytest.raises(UserError) as error:
      find.opened(str(path), 'weights')
    said = str(error.value)
    assert said.startswith(f'config key weights is {str(path)!r}: ')
    assert '\n' not in said
    return said
  root = run.parent
  assert 'no such file or folder' in refused(root / 'nowhere')
  assert 'no such file or folder' in refused(root / 'nowhere' / 'checkpoints')
  assert f'it holds runs: name one of them: {run}' in refused(root)
  assert 'must be fetched before' in refused('hf-hub:timm/resnet18.a1_in1k')
  evaluation = run / 'evaluations' / 'finetune-30'
  (evaluation / 'checkpoints' / 'stage').mkdir(parents=True)
  (evaluation / 'config.json').write_text('{"task": "finetune"}')
  for path in (evaluation, evaluation.parent):
    assert refused(path).endswith(f'name the run that it belongs to, {run}')
  shutil.copytree(evaluation, root / 'elsewhere')
  assert 'name the weights that it measured' in refused(root / 'elsewhere')
  (root / 'arrays.npz').write_bytes(b'PK')
  assert 'neither a run nor an encoder' in refused(root / 'arrays.npz')
  (root / 'encoder.onnx').write_bytes(b'')
  assert 'it is an ONNX file' in refused(root / 'encoder.onnx')
  (root / 'exported').mkdir()
  (root / 'exported' / 'encoder.safetensors').write_bytes(b'')
  assert f'name {root}/exported/encoder.safetensors' in refused(root / 'exported')
  (root / 'photos').mkdir()
  assert 'not the workdir of a run' in refused(root / 'photos')
  assert 'there are: 10, 20, 30' in refused(run / 'checkpoints' / '15')
  (root / 'new' / 'checkpoints').mkdir(parents=True)
  assert 'there is no checkpoint in' in refused(root / 'new')
  (root / 'new' / 'checkpoints' / '10.damaged').mkdir()
  assert '10.damaged is damaged' in refused(root / 'new')


def test_a_run_may_lie_in_a_folder_called_evaluations(run, tmp_path):
  (tmp_path / 'evaluations').mkdir()
  run = run.rename(tmp_path / 'evaluations' / 'run')
  checkpoints, step = find.opened(str(run), 'weights')
  checkpoints.close()
  assert step == 30
