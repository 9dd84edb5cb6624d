"""A directory belongs to one config."""

import errno
import json
import os

import pytest

from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.run import workdir
from byol_jax.storage import files as files_lib


def test_what_may_change_and_what_may_not(tmp_path):
  config = {'a': {'b': 1, 'c': (1, 2)}, 'log': {'every': 5}}
  def claim(config, found=1):
    workdir.compare(tmp_path, tmp_path, config, {'images': found},
                    ['log.every', 'log.new'], {'new': 7})
    workdir.record(tmp_path, config, {'images': found})
  claim(config)
  claim({'seed': 1})  # the first command was wrong, and has left nothing else
  claim(config)
  (tmp_path / 'checkpoints').mkdir()
  claim({'seed': 1})
  claim(config)
  (tmp_path / 'checkpoints/10').mkdir()
  claim(config)
  claim(config | {'log': {'every': 6, 'new': 1}})
  with pytest.raises(UserError, match=r'another config: a.b \(1 there, 2 now\)'):
    claim(config | {'a': {'b': 2, 'c': (1, 2)}})
  with pytest.raises(UserError, match=r'data .* has changed: images 1 there, 2'):
    claim(config, 2)
  # a version later there is one key more, with its default or with another value
  claim(config | {'new': 7})
  (tmp_path / 'config.json').write_text(json.dumps(config | {'data_found': {
      'images': 1}}))
  with pytest.raises(UserError, match=r'another config: new \(7 there, 8 now\)'):
    claim(config | {'new': 8})
  for damaged in ('{', '[]', 'null'):
    (tmp_path / 'config.json').write_text(damaged)
    with pytest.raises(UserError, match='config.json is damaged'):
      claim(config)

  (tmp_path / 'checkpoints/10').rmdir()
  for kept in ('results.json', 'progress.json'):
    (tmp_path / 'config.json').write_text('{"seed": 2}')
    (tmp_path / kept).write_text('{}')
    with pytest.raises(workdir.AnotherRun, match='seed'):
      claim({'seed': 1})
    (tmp_path / kept).unlink()
  claim({'seed': 1})


def test_a_look_at_what_has_begun(tmp_path):
  config = {'network': {'precision': 'float32'}, 'log': {'every': 5}}
  workdir.record(str(tmp_path), config, {'images': 1})
  assert workdir.old_config(str(tmp_path)) == {}  # nothing is kept
  (tmp_path / 'checkpoints/10').mkdir(parents=True)
  assert workdir.old_config(str(tmp_path)) == {
      'network.precision': 'float32', 'log.every': 5, 'data_found.images': 1}
  for damaged in ('', '{', '[]', '\0'):
    (tmp_path / 'config.json').write_text(damaged)
    assert workdir.old_config(str(tmp_path)) == {}
  assert workdir.old_config(str(tmp_path / 'missing')) == {}


def test_space_for_two_checkpoints(tmp_path):
  workdir.check_space(tmp_path, 1)
  with pytest.raises(UserError, match='MiB free, the checkpoints'):
    workdir.check_space(tmp_path, 1 << 60)


def test_a_failing_disk_is_not_the_users_mistake(tmp_path, monkeypatch):
  for number, kind in ((errno.EIO, TransientError), (errno.ENOSPC, TransientError),
                       (errno.EACCES, UserError), (errno.EROFS, UserError)):
    def fail(path, value, number=number):
      raise OSError(number, os.strerror(number))
    monkeypatch.setattr(files_lib, 'write_json', fail)
    with pytest.raises(kind, match=os.strerror(number)):
      workdir.record(tmp_path, {}, {})


def test_an_environment_that_changed_is_told_and_no_other_run(caplog):
  old = {'seed': 0, 'environment.XLA_FLAGS': '', 'environment.NVIDIA_TF32_OVERRIDE': '0'}
  new = {'XLA_FLAGS': '--xla_fast', 'NVIDIA_TF32_OVERRIDE': '0'}
  workdir.require_same(old, {'seed': 0, 'environment': new}, 'it', (), {})
  workdir.warn_of_environment(old, new)
  line, = caplog.messages
  assert "XLA_FLAGS is '--xla_fast', and was ''" in line
  caplog.clear()
  workdir.warn_of_environment({'seed': 0}, new)  # of an older version
  assert not caplog.messages


@pytest.mark.parametrize('new, names_it', [
    ({'train': {'epochs': 200}, 'seed': 0}, True),
    ({'train': {'epochs': 100}, 'seed': 1}, False)])
def test_a_longer_run_may_begin_with_this_one(new, names_it):
  with pytest.raises(workdir.AnotherRun) as error:
    workdir.require_same({'train.epochs': 100, 'seed': 0}, new,
                         'the checkpoint of step 7 in workdir runs/a', (), {},
                         run='runs/a')
  assert str(error.value).endswith('--config.init_from=runs/a') == names_it


def test_all_keys_that_differ_are_named_in_one_line():
  with pytest.raises(workdir.AnotherRun) as error:
    workdir.require_same({key: 1 for key in 'abcdef'}, {key: 2 for key in 'abcdef'},
                         'workdir runs/a', (), {})
  assert str(error.value) == (
      'workdir runs/a holds a run with another config: a (1 there, 2 now), b (1 there, '
      '2 now), c (1 there, 2 now), d (1 there, 2 now), e, f; name another --workdir, or '
      'use the same values')
  assert str(error.value).startswith(f'{error.value.difference}; ')
