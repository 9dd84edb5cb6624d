"""What a run does before its first step: precision, data, workdir, checkpoint."""

import contextlib
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest
from tiny import RESNET8

from byol_jax.config import keys as keys_lib
from byol_jax.data import fingerprint
from byol_jax.errors import UserError
from byol_jax.networks import architectures
from byol_jax.run import checkpoint
from byol_jax.run import workdir as workdir_lib
from byol_jax.tasks import begin


@pytest.fixture(name='config')
def _config(monkeypatch):
  monkeypatch.setitem(architectures.ARCHITECTURES, 'resnet8', RESNET8)
  config = keys_lib.base().unlock()
  config.data.update(source='fake', fake_images=40, fake_classes=4, image_size=8,
                     test_split='')
  config.network.update(
      name='resnet8', width=0.25, stem='half', precision='float32',
      projector_hidden_size=4, predictor_hidden_size=4, projection_size=4)
  config.train.update(batch_size=16, epochs=3.0, warmup_epochs=1.0)
  return config


# ------------------------------------------------------------------ devices, precision
def test_devices_that_cannot_share_the_batch(config, tmp_path):
  assert jax.device_count() == 8
  config.train.batch_size = 12
  with pytest.raises(UserError, match='train.batch_size'):
    begin.as_begun(config, str(tmp_path))


def test_what_is_announced(config, tmp_path, caplog):
  caplog.set_level('INFO', 'byol_jax')
  assert begin.as_begun(config, str(tmp_path)).network.precision == 'float32'
  assert ('8 local of 8 cpu devices; batch 16, 16 a process, 2 a device, float32'
          in caplog.text)


@pytest.mark.parametrize('began_with, expected', [
    (None, 'float32'),  # what a CPU takes
    ('float32', 'float32'), ('bfloat16', 'bfloat16'),
    ('', 'bfloat16'),  # a version without the key knew of nothing else
])
def test_auto_is_the_precision_that_the_run_began_with(config, tmp_path, began_with,
                                                       expected, caplog):
  caplog.set_level('INFO', 'byol_jax')
  config.network.precision = 'auto'
  if began_with is not None:
    network = {'precision': began_with} if began_with else {'width': 1}
    (tmp_path / 'config.json').write_text(json.dumps({'network': network}))
    (tmp_path / 'checkpoints' / '3').mkdir(parents=True)
  assert begin.as_begun(config, str(tmp_path)).network.precision == expected
  assert config.network.precision == 'auto'  # the argument stays
  assert ('(a new one would take float32 here)' in caplog.text) == (
      expected == 'bfloat16')


@pytest.mark.parametrize('began_with, unroll, rules', [
    (None, True, '0.2'), ({}, False, '0.1'),  # a version without the keys
    ({'train': {'unroll': True}, 'data': {'rules': '0.1'}}, True, '0.1')])
def test_a_run_keeps_the_ways_of_the_version_that_began_it(config, tmp_path, began_with,
                                                          unroll, rules, caplog):
  caplog.set_level('INFO', 'byol_jax')
  if began_with is not None:
    (tmp_path / 'config.json').write_text(json.dumps({'seed': 0} | began_with))
    (tmp_path / 'checkpoints' / '3').mkdir(parents=True)
  found = begin.as_begun(config, str(tmp_path))
  assert (found.train.unroll, found.data.rules) == (unroll, rules)
  assert ('train.unroll is False, as this run began' in caplog.text) != unroll


# ----------------------------------------------------------------------------- the data
def test_a_run_with_its_data(config, caplog):
  caplog.set_level('INFO', 'byol_jax')
  setup = begin.set_up(config, 'runs/x')
  assert setup.total_steps == 7  # 3 * 40 / 16, whole ones
  assert setup.test is None and setup.workdir == 'runs/x'
  assert setup.found == {'images': 40, 'classes': 4,
                         'fingerprint': fingerprint.fingerprint(setup.train)}
  assert setup.config.train.tau_base and setup.config.train.base_learning_rate
  assert (setup.feed.batch_size, setup.feed.seed) == (16, 0)
  assert setup.meta['config'] == setup.config.to_dict()
  assert setup.meta['data_found'] == setup.found
  assert 'bad_images' not in setup.meta  # nothing is decoded
  assert '40 training images of 4 classes, on the device; no test part' in caplog.text
  assert '3 epochs = 7 steps, 1 of warm-up' in caplog.text


def test_what_nothing_reads_is_said(config, caplog):
  """A study changes the method, not what its base file says of a target."""
  config.train.update(tau_base=0.5, target_init='copy')
  begin.set_up(config, 'runs/x')
  assert 'nothing reads' not in caplog.text
  config.method.target = 'stopped'
  begin.set_up(config, 'runs/x')
  assert ('BYOL has no target network here, and nothing reads config key '
          'train.target_init, train.tau_base\n') in caplog.text
  caplog.clear()
  config.method.update(target='auto', temperature=0.5)
  begin.set_up(config, 'runs/x')
  assert 'method.temperature is 0.5, but with method.beta = 0 there' in caplog.text
  caplog.clear()
  config.method.update(name='moco', queue=48)
  begin.set_up(config, 'runs/x')
  assert 'nothing reads' not in caplog.text
  warning = ('config key method.queue is %d, more keys than the 40 images make in an '
             'epoch: each image is among its own negatives')
  assert warning % 48 in caplog.text
  caplog.clear()
  config.method.symmetric = True  # two keys an image
  begin.set_up(config, 'runs/x')
  assert 'negatives' not in caplog.text
  config.method.queue = 96
  begin.set_up(config, 'runs/x')
  assert warning % 96 in caplog.text


def test_checkpoints_hold_the_bad_images(config, tmp_path):
  for k in range(40):
    Image.new('RGB', (8, 8)).save(tmp_path / f'{k:02d}.png')
  config.data.update(source='folder', path=str(tmp_path), resident='no')
  setup = begin.set_up(config, 'runs/x')
  assert setup.meta['bad_images'] == {}
  setup.feed.bad().add(7, 'damaged')
  assert setup.meta['bad_images'] == {'7': 'damaged'}
  assert setup.found['classes'] == 0


# ---------------------------------------------------------------------------- workdir
def test_a_workdir_of_another_run_is_refused(config, tmp_path):
  setup = begin.set_up(config, str(tmp_path / 'run'))
  with contextlib.ExitStack() as stack:
    folder, checkpoints = begin.open_workdir(setup, stack)
    assert folder == setup.workdir and checkpoints.latest() is None
    assert (tmp_path / 'run' / 'checkpoints').is_dir()
    workdir_lib.record(folder, setup.config.to_dict(), setup.found)
  (tmp_path / 'run' / 'checkpoints' / '3').mkdir()
  config.log.every_steps += 1  # such a key may change
  with contextlib.ExitStack() as stack:
    begin.open_workdir(begin.set_up(config, setup.workdir), stack)
  config.data.fake_images = 41
  with contextlib.ExitStack() as stack:
    with pytest.raises(UserError, match=r'data.fake_images \(40 there, 41 now\)'):
      begin.open_workdir(begin.set_up(config, setup.workdir), stack)


# ------------------------------------------------------------------------- checkpoints
def _restore(tmp_path, meta):
  like = {'w': jax.ShapeDtypeStruct((3,), np.float32)}
  with contextlib.closing(checkpoint.Checkpoints(tmp_path / 'checkpoints')) as there:
    return begin.restore(there, like, meta, 'runs/x')


def test_the_newest_checkpoint_if_it_is_of_this_run(tmp_path, config):
  meta = {'config': config.to_dict(), 'data_found': {'images': 40}}
  assert _restore(tmp_path, meta) == (None, None)
  with contextlib.closing(checkpoint.Checkpoints(tmp_path / 'checkpoints')) as there:
    for step in (2, 4):
      there.save(step, {'w': np.full(3, step, np.float32)}, meta)
  config.log.every_steps += 1
  saved, state = _restore(tmp_path, meta | {'config': config.to_dict()})
  assert saved.step == 4 and np.asarray(state['w']).tolist() == [4, 4, 4]
  with pytest.raises(UserError, match='data of the checkpoint of step 4 in workdir '
                     'runs/x has changed: images 40 there, 41 now'):
    _restore(tmp_path, meta | {'data_found': {'images': 41}})
  config.train.tau_base = 0.5
  with pytest.raises(UserError, match='step 4 .*another config: train.tau_base'):
    _restore(tmp_path, meta | {'config': config.to_dict()})


# --------------------------------------------------------------------------- the state
@pytest.fixture(name='put')
def _put(tmp_path, monkeypatch):
  """Puts a state of 28 bytes on the devices; returns (state, shared, bytes needed)."""
  needed = []
  monkeypatch.setattr(workdir_lib, 'check_space',
                      lambda path, size: needed.append((path, size)))
  def init():
    return {'w': jnp.arange(6.), 'step': jnp.int32(0)}
  def put(setup, saved=None, state=None):
    setup = setup._replace(program=setup.program._replace(init=init))
    (tmp_path / 'out').mkdir(exist_ok=True)
    state, shared = begin.put_on_devices(setup, str(tmp_path / 'out'), saved, state)
    (path, size), = needed
    assert path == setup.workdir
    return state, shared, size
  return put


def test_a_new_state_goes_to_every_device(config, put, tmp_path):
  setup = begin.set_up(config, 'runs/x')
  state, shared, needed = put(setup)
  assert state['w'].tolist() == list(range(6)) and int(state['step']) == 0
  assert set(shared) == {'key', 'images', 'labels'}
  np.testing.assert_array_equal(shared['images'], setup.train.images)
  np.testing.assert_array_equal(shared['key'], jax.random.PRNGKey(config.seed))
  for x in jax.tree.leaves((state, shared)):
    assert len(x.addressable_shards) == 8
  assert needed == (50 << 20) + 2 * 28  # two checkpoints, for a moment
  said = json.loads((tmp_path / 'out' / 'config.json').read_text())
  assert said['data_found'] == setup.found and said['train']['epochs'] == 3


def test_a_state_that_was_saved_with_the_bad_images_of_before(config, put, tmp_path,
                                                              caplog):
  caplog.set_level('INFO', 'byol_jax')
  (tmp_path / 'photos').mkdir()
  for k in range(40):
    Image.new('RGB', (8, 8)).save(tmp_path / 'photos' / f'{k:02d}.png')
  config.data.update(source='folder', path=str(tmp_path / 'photos'), resident='no')
  setup = begin.set_up(config, 'runs/x')
  saved = types.SimpleNamespace(step=4, meta={'bad_images': {'7': 'damaged'}})
  state, shared, needed = put(
      setup, saved, {'w': np.full(6, 3, np.float32), 'step': np.int32(4)})
  assert state['w'].tolist() == [3] * 6 and int(state['step']) == 4
  assert set(shared) == {'key'} and needed == (50 << 20) + 28
  assert setup.feed.bad().reasons() == {7: 'damaged'}
  assert 'resuming runs/x at step 4' in caplog.text


def test_a_queue_needs_a_target(config, tmp_path):
  config.method.update(name='moco', queue=16)
  config.train.update(tau_base=0.0, tau_end=0.0)
  with pytest.raises(UserError, match='train.tau_base and train.tau_end are 0: the'):
    begin.as_begun(config, str(tmp_path / 'new'))
  # a run of an older version goes on
  (tmp_path / 'old' / 'checkpoints' / '4').mkdir(parents=True)
  (tmp_path / 'old' / 'config.json').write_text(json.dumps(config.to_dict()))
  assert begin.as_begun(config, str(tmp_path / 'old')).train.tau_end == 0
