"""Many ArrayRecord files: any record of any, few of them open at a time."""

from concurrent import futures
import os
import resource

import numpy as np
import pytest

from byol_jax.data.records import shards
from byol_jax.errors import UserError

pytest.importorskip('array_record')


@pytest.fixture(name='files')
def _files(tmp_path):
  """Ten files of four records."""
  files = [str(tmp_path / f'{k}.array_record') for k in range(10)]
  for k, file in enumerate(files):
    writer = shards.module().ArrayRecordWriter(file, 'group_size:1')
    for i in range(4):
      writer.write(f'{k}.{i}'.encode())
    writer.close()
  return files


def _damaged(file, k, error):
  return UserError(f'{k} of {os.path.basename(file)}: {type(error).__name__}')


def test_at_most_a_quarter_of_the_files_are_shards(files, tmp_path, monkeypatch):
  limits = [(16, 16)]
  monkeypatch.setattr(resource, 'getrlimit', lambda _: limits[-1])
  monkeypatch.setattr(resource, 'setrlimit', lambda _, limit: limits.append(limit))
  read = shards.by_number(files, [4] * 10, shards.reader(files), _damaged)
  wanted = np.random.default_rng(0).integers(0, 40, 3000).tolist()
  with futures.ThreadPoolExecutor(8) as pool:
    for k, data in zip(wanted, pool.map(read, wanted)):
      assert data == f'{k // 4}.{k % 4}'.encode()
  links = [os.path.join('/proc/self/fd', fd) for fd in os.listdir('/proc/self/fd')]
  targets = [os.readlink(link) for link in links if os.path.islink(link)]
  assert sum(str(tmp_path) in target for target in targets) == 4
  # the limit of the system, 1,252 shards: raised where that is allowed
  limits.append((1024, 2**20))
  assert shards._most_open(1252) == 1252 and limits[-1] == (5008, 2**20)
  limits.append((1024, 4096))
  assert shards._most_open(1252) == 1024 and limits[-1] == (4096, 4096)


def test_records_are_counted_over_files_that_are_taken_in_part(files):
  read = shards.by_number(files[:3], [2, 0, 1], shards.reader(files), _damaged,
                          skipped=[1, 0, 3])
  assert [read(k) for k in range(3)] == [b'0.1', b'0.2', b'2.3']


def test_damage_is_named(files):
  read = shards.by_number(files, [4] * 10, shards.reader(files), _damaged)
  os.remove(files[1])
  with pytest.raises(UserError, match='2 of 1.array_record: RuntimeError'):
    read(6)
  with pytest.raises(UserError, match='4 of 9.array_record'):
    shards.by_number(files, [4] * 9 + [5], shards.reader(files), _damaged)(40)
  def refuse(*_):
    raise PermissionError(13, 'Permission denied')
  with pytest.raises(UserError, match='cannot read .*0.array_record: .*Permission'):
    shards.by_number(files, [4], refuse, _damaged)(0)
