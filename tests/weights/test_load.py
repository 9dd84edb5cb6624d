"""Encoders out of runs whose checkpoints are damaged, going or diverged."""

import json
import shutil
import threading
import time

import jax
import numpy as np
import pytest

from byol_jax import main as main_lib
from byol_jax.config import keys as keys_lib
from byol_jax.config import schedule
from byol_jax.errors import UserError
from byol_jax.methods import names as method_names
from byol_jax.networks import architectures
from byol_jax.run import checkpoint
from byol_jax.training import build
from byol_jax.weights import find
from byol_jax.weights import load as weights_lib

STEPS = (10, 20, 30)


@pytest.fixture(name='saved', scope='module')
def _saved(tmp_path_factory):
  """A run of the smallest network, saved at three steps, to be copied."""
  workdir = tmp_path_factory.mktemp('weights') / 'run'
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(architectures.ARCHITECTURES, 'resnet8',
                  architectures.Architecture((1,), False, (8,), 8))
    config = keys_lib.base().unlock()
    config.network.update(name='resnet8', stem='small', precision='float32')
    config.data.image_size = 8
    images = np.zeros((2, 8, 8, 3), np.float32)
    params, state = build.make_model(config, 0, None).encoder.init(
        jax.random.PRNGKey(0), images, True)
    (workdir / 'checkpoints').mkdir(parents=True)
    (workdir / 'config.json').write_text(json.dumps(config.to_dict()))
    save(workdir, STEPS, params, state)
    yield workdir, params, state


def save(workdir, steps, params, state):
  opened = checkpoint.Checkpoints(workdir / 'checkpoints')
  meta = {'config': json.loads((workdir / 'config.json').read_text())}
  for step in steps:
    opened.save(step, {'online_params': params, 'online_state': state}, meta)
  opened.close()


@pytest.fixture(name='run')
def _run(saved, tmp_path):
  shutil.copytree(saved[0], tmp_path / 'runs' / 'run')
  return tmp_path / 'runs' / 'run'


def flip(run, step):
  """Damages a checkpoint without making a file disappear."""
  path = run / 'checkpoints' / str(step) / 'manifest' / 'metadata'
  path.write_text(path.read_text().replace('"crc32": ', '"crc32": 1'))


def cut(run, step):
  """What tensorstore tells of in a page."""
  for path in (run / 'checkpoints' / str(step) / 'state').rglob('d/*'):
    path.write_bytes(path.read_bytes()[:-20])


def warnings(caplog):
  return [record.getMessage() for record in caplog.records]


# ---------------------------------------------------------------------- damaged
# a hundred tracebacks on the stderr of somebody's program
@pytest.mark.filterwarnings('error::pytest.PytestUnraisableExceptionWarning')
@pytest.mark.parametrize('damage', [flip, cut])
def test_the_newest_sound_one_is_taken(run, damage, caplog, monkeypatch):
  monkeypatch.setattr(find, '_SECONDS_TO_REMOVE', 0.1)
  damage(run, 30)
  assert weights_lib.load(str(run), 'online').step == 20
  said, = warnings(caplog)
  assert 'checkpoint 30 of' in said and 'taking 20' in said
  assert '\n' not in said and len(said) < 400 and 'tensorstore_spec' not in said
  flip(run, 20)
  assert weights_lib.load(f'{run}/checkpoints', 'online').step == 10
  flip(run, 10)
  with pytest.raises(UserError, match='checkpoint 10 is damaged .* the others: none'):
    weights_lib.load(str(run), 'online')


def test_a_damaged_step_that_was_named_is_refused(run, caplog):
  flip(run, 30)
  with pytest.raises(UserError, match='checkpoint 30 is damaged .* the others: 10, 20'
                     ) as refused:
    weights_lib.load(f'{run}/checkpoints/30', 'online')
  assert '\n' not in str(refused.value) and not warnings(caplog)
  assert weights_lib.load(f'{run}/checkpoints/20/', 'online').step == 20


# ---------------------------------------------------------------- being removed
@pytest.mark.parametrize('named', [False, True])
def test_a_checkpoint_that_is_just_being_removed(run, named, caplog):
  folder = run / 'checkpoints' / '30'
  shutil.rmtree(folder / 'state')
  def finish():
    time.sleep(0.5)
    shutil.rmtree(folder)
  thread = threading.Thread(target=finish)
  thread.start()
  try:
    if named:
      with pytest.raises(UserError, match='the run removed it'):
        weights_lib.load(str(folder), 'online')
    else:
      assert weights_lib.load(str(run), 'online').step == 20
  finally:
    thread.join()
  assert not warnings(caplog)


def test_files_that_stay_missing(run, caplog, monkeypatch):
  monkeypatch.setattr(find, '_SECONDS_TO_REMOVE', 0.3)
  shutil.rmtree(run / 'checkpoints' / '30' / 'state')
  assert weights_lib.load(str(run), 'online').step == 20
  assert 'damaged, or being removed by the run (' in warnings(caplog)[0]


# -------------------------------------------------------------------- diverged
@pytest.mark.parametrize('kind', ['params', 'state'])
def test_an_encoder_that_has_diverged(saved, run, kind, capsys):
  trees = {'params': saved[1], 'state': saved[2]}
  leaves, structure = jax.tree.flatten(trees[kind])
  trees[kind] = structure.unflatten(
      [np.full(leaves[0].shape, np.inf, leaves[0].dtype), *leaves[1:]])
  save(run, (40,), **trees)
  with pytest.raises(UserError, match='encoder of step 40 has diverged, .* is not '
                     'finite; use an earlier checkpoint: 10, 20, 30'):
    weights_lib.load(str(run), 'online')
  assert main_lib.main(['main', '--config=configs/export.py', '--distributed=off',
                        f'--config.weights={run}']) == 2
  assert 'has diverged' in capsys.readouterr().err
  assert not (run / 'evaluations').exists()
  assert weights_lib.load(f'{run}/checkpoints/30', 'online').step == 30


@pytest.mark.parametrize('stored,meant', [
    ('float32', 'float32'), ('bfloat16', 'bfloat16'),
    (None, 'bfloat16'),  # by a version that knew of nothing else
    ('auto', 'float32'),  # on this machine
])
def test_a_config_of_an_older_version_means_what_it_meant(stored, meant):
  config = keys_lib.base().to_dict()
  del config['evaluation'], config['network']['precision']
  if stored:
    config['network']['precision'] = stored
  complete = weights_lib.complete(json.loads(json.dumps(config)), 'run')
  assert complete.network.precision == meant
  assert complete.evaluation.knn_k == 20


@pytest.mark.parametrize('method', method_names.METHODS)
def test_the_resolved_config_of_every_method_is_accepted(method):
  config = keys_lib.base().unlock()
  config.method.name = method
  config.network.precision = 'float32'
  resolved = schedule.resolve(config, 10_000)
  assert weights_lib.complete(resolved.to_dict(), 'run').to_dict() == resolved.to_dict()
