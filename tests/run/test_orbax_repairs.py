"""What orbax does not survive, or does to a process, and what is done about it."""

import asyncio
import json
import logging
import os
import shutil

from etils import epath
import numpy as np
import pytest

from byol_jax.run import orbax_repairs
from byol_jax.run.manifest import DamagedError

ARRAYS = {'w': np.arange(12, dtype=np.float32).reshape(3, 4),
          'none': np.zeros((0, 2), np.float32), 'step': np.array(7, np.int32)}
LEAVES = {name: (array.shape, str(array.dtype)) for name, array in ARRAYS.items()}


@pytest.fixture(name='folder')
def _folder(tmp_path):
  return epath.Path(tmp_path / 'checkpoints')


@pytest.fixture(name='manager')
def _manager(folder):
  folder.mkdir()
  manager = orbax_repairs.Manager(folder, max_to_keep=None, keep_every=None, writes=True)
  for step in (1, 2):
    manager.save(step, ARRAYS, {'said': step})
    manager.orbax.wait_until_finished()
  yield manager
  manager.close()


def test_what_was_saved_is_read(manager):
  assert manager.read_manifest(2) == {'said': 2}
  read = manager.read_arrays(2, LEAVES)
  assert list(read) == list(ARRAYS)  # the empty one, too, which orbax refuses
  for name, array in ARRAYS.items():
    np.testing.assert_array_equal(read[name], array, strict=True)
  assert list(manager.read_arrays(1, {'step': LEAVES['step']})) == ['step']
  assert manager.read_arrays(1, {}) == {}
  with pytest.raises(DamagedError, match='more is missing'):
    manager.read_arrays(1, {'more': LEAVES['step'], 'w': LEAVES['w']})


def test_a_step_below_the_latest_is_saved_too(manager, folder):
  (folder / '1').rmtree()
  manager.orbax.reload()
  manager.save(1, ARRAYS, {'said': 'again'})
  manager.orbax.wait_until_finished()
  assert manager.read_manifest(1) == {'said': 'again'}


def test_odd_names_and_files_are_no_steps(manager, folder):
  del manager
  for name in ('007', '3 ', 'x', '-4', '5.5', '6.orbax-checkpoint-tmp-1'):
    (folder / name).mkdir()
  (folder / '8').write_text('a file')
  assert orbax_repairs.steps(folder) == [1, 2]
  assert orbax_repairs.steps(folder / 'nowhere') == []
  assert orbax_repairs.is_being_written(folder, None)
  assert orbax_repairs.is_being_written(folder, 6)
  assert not orbax_repairs.is_being_written(folder, 2)


def test_a_failed_save_is_an_oserror_and_another_one_works(manager, folder):
  before = manager.orbax
  (folder / '9.orbax-checkpoint-tmp-1').mkdir()
  with pytest.raises(OSError, match='^no space$'):
    with manager.failures():
      raise ValueError('no\nspace')
  assert manager.orbax is not before
  assert not orbax_repairs.is_being_written(folder, 9)
  manager.save(3, ARRAYS, {})
  manager.orbax.wait_until_finished()
  assert orbax_repairs.steps(folder) == [1, 2, 3]


def test_readers_leave_what_is_being_written(manager, folder):
  del manager
  (folder / '9.orbax-checkpoint-tmp-1').mkdir()
  reader = orbax_repairs.Manager(folder, max_to_keep=1, keep_every=None, writes=False)
  reader.clean()
  reader.close()
  assert orbax_repairs.is_being_written(folder, 9)
  assert orbax_repairs.steps(folder) == [1, 2]


def test_an_array_that_would_fill_the_memory_is_not_read(manager, folder):
  import tensorstore
  store = tensorstore.KvStore.open({
      'driver': 'ocdbt', 'base': f'file://{folder}/2/state/'}).result()
  said = json.loads(store.read('w/.zarray').result().value)
  store.write('w/.zarray', json.dumps(said | {'chunks': [40_000, 20_000]})).result()
  with pytest.raises(DamagedError, match='w is not stored as byol_jax stores it'):
    manager.read_arrays(2, LEAVES)


@pytest.mark.parametrize('item, name', [('manifest', 'metadata'),
                                        ('state', '_METADATA')])
@pytest.mark.parametrize('text', ['[]', '[' * 100_000, '{', ' ' * (9 << 20) + '{}'],
                         ids=['a list', 'a nest', 'cut short', 'too large'])
def test_json_that_orbax_does_not_survive(manager, folder, item, name, text):
  (folder / '2' / item / name).write_text(text)
  with pytest.raises(DamagedError, match=f'{item}/{name} is damaged'):
    manager.read_manifest(2)
  assert manager.read_manifest(1) == {'said': 1}


def test_what_would_end_the_opening_of_all(manager, folder):
  del manager
  assert orbax_repairs.unopenable(folder / '2') is None
  path = folder / '2' / '_CHECKPOINT_METADATA'
  path.write_text('[]')
  assert orbax_repairs.unopenable(folder / '2') == '_CHECKPOINT_METADATA'
  path.unlink()  # orbax can do without
  assert orbax_repairs.unopenable(folder / '2') is None


def test_bytes_that_cannot_be_read_are_told_from_damage(manager, folder, monkeypatch):
  del manager
  assert orbax_repairs.why_unreadable(folder / '2') is None
  assert orbax_repairs.why_unreadable(folder / 'gone') is None
  read = type(folder).read_bytes
  def fail(path):
    if path.name == '_METADATA':
      raise TimeoutError(110, 'timed out')
    return read(path)
  monkeypatch.setattr(type(folder), 'read_bytes', fail)
  assert isinstance(orbax_repairs.why_unreadable(folder / '2'), TimeoutError)
  shutil.rmtree(folder / '2' / 'state')
  assert orbax_repairs.why_unreadable(folder / '2') is None


def test_silence(monkeypatch):
  policy, level = asyncio.get_event_loop_policy(), logging.getLogger('asyncio').level
  filters = logging.getLogger('absl').filters
  monkeypatch.setattr(logging.getLogger('absl'), 'filters', list(filters))
  try:
    orbax_repairs.silence()
    loop = asyncio.new_event_loop()
    loop.close()
    assert loop.call_soon_threadsafe(print) is None  # would raise
    keep = logging.getLogger('absl').filters[-1]
    record = lambda path: logging.LogRecord('absl', 40, path, 1, 'x', (), None)
    assert not keep(record(os.path.join('', 'lib', 'orbax', 'checkpoint', 'a.py')))
    assert keep(record(os.path.join('', 'lib', 'jax', 'a.py')))
  finally:
    asyncio.set_event_loop_policy(policy)
    logging.getLogger('asyncio').setLevel(level)


@pytest.fixture
def policy():
  """A caller's policy: `silence` of an earlier test may have changed the process's."""
  before = asyncio.get_event_loop_policy()
  asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
  yield asyncio.get_event_loop_policy()
  asyncio.set_event_loop_policy(before)


def test_loops_forgive_while_arrays_are_read(policy):
  """And no longer: the policy is that of the caller's program."""
  with orbax_repairs._forgiving_loops():
    loop = asyncio.new_event_loop()
    called = []
    loop.call_soon_threadsafe(called.append, 1)
    loop.call_soon_threadsafe(loop.stop)
    loop.run_forever()
  assert called == [1]
  loop.close()
  assert loop.call_soon_threadsafe(print) is None
  assert asyncio.get_event_loop_policy() is policy
  other = asyncio.new_event_loop()
  other.close()
  with pytest.raises(RuntimeError, match='closed'):
    other.call_soon_threadsafe(print)
