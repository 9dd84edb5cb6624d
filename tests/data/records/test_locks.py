"""Locks of a folder of prepared data."""

import fcntl

import pytest

from byol_jax.data.records import locks
from byol_jax.errors import UserError


@pytest.mark.parametrize('one, other, is_free', [
    ('', '', False), ('', '1-of-2', False), ('1-of-2', '', False),
    ('1-of-2', '1-of-2', False), ('1-of-2', '2-of-2', True)])
def test_who_works_beside_whom(tmp_path, one, other, is_free):
  for _ in range(2):  # a lock that was held is free again
    with locks.alone(str(tmp_path / 'out'), one):
      if is_free:
        with locks.alone(str(tmp_path / 'out'), other):
          pass
      else:
        with pytest.raises(UserError, match='is being written by process'):
          with locks.alone(str(tmp_path / 'out'), other):
            pass


def test_a_file_system_without_locks(tmp_path, monkeypatch, caplog):
  def none(*_):
    raise OSError(37, 'No locks available')
  monkeypatch.setattr(fcntl, 'flock', none)
  with locks.alone(str(tmp_path)), locks.ending(str(tmp_path / 'train')):
    pass
  assert 'No locks available' in caplog.text
