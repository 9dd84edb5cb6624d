"""Shards are written whole or not at all."""

import json
import os

import pytest

from byol_jax.data.records import descriptions
from byol_jax.data.records import shards
from byol_jax.data.records import writing
from byol_jax.errors import UserError

pytest.importorskip('array_record')
_FILE = 'images-00000-of-00001.array_record'


def _records(*names):
  for k, name in enumerate(names):
    if name is None:
      raise KeyboardInterrupt
    yield name, k, name.encode() * 100


def test_a_shard_and_what_is_said_of_it(tmp_path):
  path = str(tmp_path / _FILE)
  left_out = {}
  finish = writing.write_shard(path, _records('a', 'b'), left_out, 'print', 'how')
  left_out['c'] = 'empty'  # read at the end
  temporary, = os.listdir(tmp_path)  # which is cleared away if it stays
  assert descriptions.OURS.fullmatch(temporary) and temporary.endswith('.tmp')
  finish()
  said = descriptions.read_sidecar(path)
  assert said == {
      'fingerprint': 'print', 'settings': 'how', 'names': ['a', 'b'], 'labels': [0, 1],
      'left_out': {'c': 'empty'}, 'bytes': os.path.getsize(path),
      'sha256': writing.digest(path)}
  read = shards.reader([path])
  assert [read(0, k) for k in (1, 0)] == [b'b' * 100, b'a' * 100]


def test_what_is_broken_off_leaves_nothing(tmp_path):
  with pytest.raises(KeyboardInterrupt):
    writing.write_shard(str(tmp_path / _FILE), _records('a', None), {}, '')
  with pytest.raises(UserError, match='prepare.output: .*No such file'):
    writing.write_shard(str(tmp_path / 'no' / _FILE), _records('a'), {}, '')
  assert not os.listdir(tmp_path)


def test_the_whole_is_described_last(tmp_path):
  for name in ('images-00000-of-00002.array_record', 'images-00001-of-00002.json.tmp',
               'mine.json'):
    (tmp_path / name).write_text('{}')
  writing.write_shard(str(tmp_path / _FILE), _records('a', 'b'), {}, '')()
  whole = writing.finish(str(tmp_path), [_FILE], fingerprint='f', short_side=0,
                         class_names=None)
  assert sorted(os.listdir(tmp_path)) == [
      _FILE, 'images-00000-of-00001.json', 'metadata.json', 'mine.json']
  assert whole['images'] == 2 and whole['version'] == descriptions.VERSION
  assert descriptions.read_metadata(str(tmp_path)) == whole
  assert json.loads((tmp_path / 'metadata.json').read_text()) == whole
  (tmp_path / 'empty').mkdir()
  writing.write_shard(str(tmp_path / 'empty' / _FILE), [], {'x': 'damaged'}, '')()
  with pytest.raises(UserError, match=r"not one image .*'x' \(damaged\)"):
    writing.finish(str(tmp_path / 'empty'), [_FILE])
