"""The JSON files beside prepared shards: checked before anything else trusts them."""

import json

import pytest

from byol_jax.data.records import descriptions
from byol_jax.errors import UserError

_SHARD = {'fingerprint': 'f', 'names': ['a', 'b'], 'labels': [0, 1], 'left_out': {},
          'bytes': 5, 'sha256': 's'}
_ENTRY = {'file': 'x.array_record', 'images': 2, 'bytes': 5, 'sha256': 's'}


def _write(folder, **changes):
  (folder / 'x.array_record').write_bytes(b'12345')
  (folder / 'x.json').write_text(json.dumps(_SHARD | changes))
  return str(folder)


def test_a_sidecar_that_fits_its_shard(tmp_path):
  assert descriptions.check_shard(_write(tmp_path), _ENTRY) == _SHARD
  assert descriptions.read_sidecar(str(tmp_path / 'none.array_record')) is None


@pytest.mark.parametrize('changes, words', [
    ({'names': None}, "x.json' is damaged: it has no 'names'"),
    ({'labels': [0]}, 'its labels do not fit'), ({'labels': [0, -2]}, 'do not fit'),
    ({'labels': [0, 2**31]}, 'do not fit'), ({'labels': [0, 'b']}, 'do not fit'),
    ({'sha256': 'other'}, 'of another data set than metadata.json'),
    ({'names': ['a'], 'labels': None}, 'of another data set than metadata.json')])
def test_a_sidecar_that_does_not_fit(tmp_path, changes, words):
  with pytest.raises(UserError, match=words):
    descriptions.check_shard(_write(tmp_path, **changes), _ENTRY)


def test_a_shard_that_is_missing_or_cut(tmp_path):
  folder = _write(tmp_path)
  (tmp_path / 'x.array_record').write_bytes(b'1234')
  with pytest.raises(UserError, match='has 4 bytes, not 5'):
    descriptions.check_shard(folder, _ENTRY)
  (tmp_path / 'x.array_record').unlink()
  with pytest.raises(UserError, match='or its .json is missing'):
    descriptions.check_shard(folder, _ENTRY)


@pytest.mark.parametrize('text, words', [
    ('', 'damaged'), ('{', 'damaged'), ('[]', 'not a JSON object'),
    ('{"version": 2}', 'was prepared in version 2, this program reads 1'),
    ('{"version": 1}', "it has no 'fingerprint'")])
def test_a_description_that_cannot_be_used(tmp_path, text, words):
  assert descriptions.read_metadata(str(tmp_path)) is None
  (tmp_path / 'metadata.json').write_text(text)
  with pytest.raises(UserError, match=words):
    descriptions.read_metadata(str(tmp_path))
