"""Checkpoints round trip bit by bit, and nothing wrong is restored silently."""

import os
import subprocess
import sys
import textwrap
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.run.checkpoint import Checkpoints
from byol_jax.storage import retry


class State(NamedTuple):
  step: Any
  key: Any
  params: Any
  probe: Any
  opt_state: Any


def make_state(seed=0, probe=None, size=3):
  rng = np.random.default_rng(seed)
  params = {
      'encoder/~/conv.1': {'w': jnp.asarray(rng.standard_normal((2, size)),
                                            jnp.float32)},
      'projector/linear': {'w': jnp.asarray(rng.standard_normal(size),
                                            jnp.bfloat16),
                           'b': jnp.zeros((0, 4))},
  }
  return State(jnp.int32(seed), jax.random.PRNGKey(seed), params, probe,
               optax.sgd(.1, momentum=.9).init(params))


def assert_same_bits(actual, expected):
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
    assert type(a) is np.ndarray
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    assert a.tobytes() == np.asarray(b).tobytes()


@pytest.fixture
def checkpoints(tmp_path):
  opened = Checkpoints(tmp_path / 'a' / 'checkpoints', max_to_keep=2)
  yield opened
  opened.close()


def test_round_trip(checkpoints):
  assert checkpoints.latest() is None
  state = make_state(7)
  # NaN with a payload, -0 and subnormals are bits too
  odd = np.array([0x7fc00123, 0x80000000, 1], np.uint32).view(np.float32)
  state.params['projector/linear']['w'] = jnp.asarray(odd)
  checkpoints.save(7, state, {'seed': 3, 'config': {'a': [1, None]}})
  checkpoints.wait()
  assert checkpoints.latest() == 7
  assert_same_bits(checkpoints.open(7).restore(state), state)
  assert_same_bits(checkpoints.open(7).restore(jax.eval_shape(lambda: state)), state)
  assert checkpoints.open(7).meta == {'seed': 3, 'config': {'a': [1, None]}}


def test_another_session_restores_and_old_ones_go(tmp_path):
  first = Checkpoints(tmp_path, max_to_keep=2)
  for step in (1, 2, 3):
    first.save(step, make_state(step), {})
  first.close()
  second = Checkpoints(tmp_path, max_to_keep=2)
  assert second.latest() == 3
  assert_same_bits(second.open(2).restore(make_state()), make_state(2))
  with pytest.raises(UserError, match=r'no checkpoint of step 1 .*\[2, 3\]'):
    second.open(1)
  second.save(3, make_state(99), {})    # saved already: stays as it is
  second.wait()
  assert_same_bits(second.open(3).restore(make_state()), make_state(3))
  second.close()


def test_donation_and_changes_after_save_do_not_reach_the_disk(checkpoints):
  pmapped = jax.pmap(
      lambda s, _: jax.tree.map(lambda x: x + x.dtype.type(1), s),
      axis_name='i', in_axes=(None, 0), out_axes=None, donate_argnums=0)
  update = lambda state: pmapped(state, np.zeros(jax.device_count()))
  state = update(make_state(1))
  array = np.arange(50_000, dtype=np.float32)
  expected = jax.tree.map(np.array, (state, array))
  checkpoints.save(1, (state, array), {})
  for _ in range(5):
    state = update(state)
  array[:] = -1
  checkpoints.wait()
  assert_same_bits(checkpoints.open(1).restore(expected), expected)


def test_sharded_arrays_are_refused(checkpoints):
  if jax.device_count() < 2:
    pytest.skip('needs two devices')
  mesh = jax.sharding.Mesh(jax.devices()[:2], 'i')
  def shard(*axes):
    return jax.device_put(
        np.arange(4, dtype=np.float32),
        jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes)))
  with pytest.raises(ValueError, match='replicated'):
    checkpoints.save(1, {'x': shard('i')}, {})
  checkpoints.save(1, {'x': shard()}, {})
  checkpoints.wait()
  assert_same_bits(checkpoints.open(1).restore({'x': np.zeros(4, np.float32)}),
                   {'x': np.arange(4, dtype=np.float32)})


def other_dtype():
  state = make_state()
  return state._replace(params=jax.tree.map(
      lambda x: x.astype(jnp.float16), state.params))


@pytest.mark.parametrize('like, message', [
    (make_state(size=4), r'params\.encoder/~/conv\.1\.w: '
                         r'float32\[2, 3\] / float32\[2, 4\]'),
    (make_state(size=1), r'float32\[2, 3\] / float32\[2, 1\]'),
    (other_dtype(), r'projector/linear\.w: bfloat16\[3\] / float16\[3\]'),
    (make_state()._replace(step=np.int64(0)), r'step: int32\[\] / int64\[\]'),
    (make_state()._replace(key=None), r'key: uint32\[2\] / missing'),
    (make_state(probe={'c': {'w': np.zeros(2)}}),
     r'probe\.c\.w: missing / float64\[2\]'),
])
def test_another_network_is_refused(checkpoints, like, message):
  checkpoints.save(0, make_state(), {})
  checkpoints.wait()
  with pytest.raises(UserError, match=message):
    checkpoints.open(0).restore(like)


def test_only_the_first_differences_are_listed(checkpoints):
  checkpoints.save(0, {f'layer_{i:02}': np.zeros(2, np.float32) for i in range(20)}, {})
  checkpoints.wait()
  with pytest.raises(UserError, match='layer_04.*\n.*and 15 more') as error:
    checkpoints.open(0).restore({f'layer_{i:02}': np.zeros(3, np.float32) for i in range(20)})
  assert 'layer_05' not in str(error.value)


def test_what_a_killed_save_left_is_ignored_and_removed(tmp_path):
  left = tmp_path / '9.orbax-checkpoint-tmp'
  left.mkdir(parents=True)
  (tmp_path / 'notes.txt').write_text('mine')
  reader = Checkpoints(tmp_path, read_only=True)
  assert reader.latest() is None
  reader.close()
  assert left.exists()    # it may be a running run's
  with pytest.raises(ValueError, match='opened to be read'):
    reader.save(1, make_state(), {})
  writer = Checkpoints(tmp_path)
  writer.save(1, make_state(), {})
  writer.close()
  assert sorted(os.listdir(tmp_path)) == ['1', 'notes.txt']


def test_impossible_directories(tmp_path):
  with pytest.raises(UserError, match='no checkpoints in'):
    Checkpoints(tmp_path / 'gone', read_only=True)
  assert not (tmp_path / 'gone').exists()
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match='cannot open the checkpoints in'):
    Checkpoints(tmp_path / 'file' / 'checkpoints')


def test_quiet_and_relative(tmp_path):
  code = textwrap.dedent('''
      import numpy as np
      from byol_jax.run.checkpoint import Checkpoints
      tree = {'a/b': {'w': np.ones(3, np.float32)}}
      for step in (1, 2):
        c = Checkpoints('runs/x', max_to_keep=1)
        c.save(step, tree, {})
        c.close()
      c = Checkpoints('runs/x', read_only=True)
      c.open(c.latest()).restore(tree)
      c.close()
  ''')
  path = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get('PYTHONPATH')]))
  done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, timeout=120,
                        check=True, capture_output=True, text=True,
                        env=os.environ | {'PYTHONPATH': path})
  assert done.stdout + done.stderr == ''
  assert os.listdir(tmp_path / 'runs' / 'x') == ['2']


def test_two_processes_save_and_restore_a_pmap_state(tmp_path):
  code = textwrap.dedent(f'''
      import sys
      import jax
      jax.config.update('jax_platforms', 'cpu')
      jax.distributed.initialize('localhost:' + sys.argv[2], 2, int(sys.argv[1]))
      from jax.experimental import multihost_utils
      import numpy as np
      from byol_jax.run.checkpoint import Checkpoints
      f = jax.pmap(lambda s, x: s + jax.lax.psum(x, 'i'), axis_name='i',
                   in_axes=(None, 0), out_axes=None)
      n = jax.local_device_count()
      state = {{'a/w': f(np.ones(3, np.float32), np.ones((n, 3), np.float32))}}
      assert (jax.process_count(), jax.device_count()) == (2, 4)
      total = 1 + jax.device_count()
      c = Checkpoints({str(tmp_path / 'x')!r}, max_to_keep=2)
      c.save(1, state, {{'a': 1}})
      c.wait()
      multihost_utils.sync_global_devices('process 0 has written')
      assert c.latest() == 1 and c.open(1).meta == {{'a': 1}}
      restored = c.open(1).restore(state)['a/w']
      assert isinstance(restored, np.ndarray) and (restored == total).all()
      f({{'a/w': restored}}['a/w'], np.ones((n, 3), np.float32))
      c.close()
  ''')
  import socket
  with socket.socket() as s:
    s.bind(('localhost', 0))
    port = str(s.getsockname()[1])
  env = os.environ | {'XLA_FLAGS': '', 'JAX_NUM_CPU_DEVICES': '2'}
  processes = [
      subprocess.Popen([sys.executable, '-c', code, str(i), port], env=env,
                       stderr=subprocess.PIPE, text=True) for i in (0, 1)]
  try:
    errors = [process.communicate(timeout=120)[1] for process in processes]
  finally:
    for process in processes:
      process.kill()
  assert [process.returncode for process in processes] == [0, 0], errors


def two_steps(path):
  opened = Checkpoints(path)
  for step in (1, 2):
    opened.save(step, make_state(step), {'config': {}})
  opened.wait()
  return opened


def test_storage_that_cannot_be_read_is_not_damage(tmp_path, monkeypatch):
  """A good checkpoint is not set aside because the network was away."""
  opened = two_steps(tmp_path)
  monkeypatch.setattr(retry, 'CHECKPOINT', retry.Policy((0.01, 0.01)))
  away = [True]
  def failing(method):
    def act(*args, **kwargs):
      if away[0]:
        raise TimeoutError(110, 'timed out')
      return method(*args, **kwargs)
    return act
  kind = type(opened._directory)
  for name in ('read_bytes', 'open'):
    monkeypatch.setattr(kind, name, failing(getattr(kind, name)))
  with pytest.raises(TransientError, match='2 cannot be read now'):
    opened.restore_latest(make_state())
  assert opened.steps() == [1, 2]
  away[0] = False
  found, state = opened.restore_latest(make_state())
  assert found.step == 2
  assert_same_bits(state, make_state(2))
  opened.close()


def test_closing_reports_a_failed_save_and_does_not_raise(tmp_path, caplog,
                                                          monkeypatch):
  opened = two_steps(tmp_path)
  def fail():
    raise ValueError('no space left')
  monkeypatch.setattr(opened._manager.orbax, 'wait_until_finished', fail)
  opened.close()
  assert 'could not save (no space left)' in caplog.text


def test_what_tells_checkpoints_apart(tmp_path):
  opened = two_steps(tmp_path)
  digests = [opened.open(step).digest for step in (1, 2, 2)]
  assert digests[0] != digests[1] == digests[2]
  opened.close()


def test_a_run_of_which_all_is_damaged_never_begins_again(tmp_path):
  two_steps(tmp_path).close()
  for step in (1, 2):
    (tmp_path / str(step) / '_CHECKPOINT_METADATA').write_text('[]')
  for _ in range(2):  # also when all was set aside before
    opened = Checkpoints(tmp_path)
    assert opened.steps() == []
    with pytest.raises(UserError, match='every checkpoint in .* is damaged'):
      opened.restore_latest(make_state())
    opened.close()
