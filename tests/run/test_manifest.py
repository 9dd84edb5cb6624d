"""What a checkpoint says of itself."""

import copy
import json

import numpy as np
import pytest

from byol_jax.errors import UserError
from byol_jax.run import manifest
from byol_jax.run.manifest import DamagedError

ARRAYS = {'a.w': np.arange(6, dtype=np.float32).reshape(2, 3),
          'a.b': np.zeros(0, np.float32), 'step': np.int32(7),
          'h': np.ones((2, 2), np.float16).T}


def made():
  return json.loads(json.dumps(manifest.make(ARRAYS, {'config': {'x': (1, 2)}})))


def test_what_was_written_is_accepted():
  manifest.check(made())
  for name, array in ARRAYS.items():
    manifest.check_array(made(), name, np.asarray(array))
  assert manifest.leaves(made()) == {
      'a.w': ((2, 3), 'float32'), 'a.b': ((0,), 'float32'),
      'step': ((), 'int32'), 'h': ((2, 2), 'float16')}


def test_every_flipped_bit_of_an_array_is_found():
  said = made()
  for bit in range(ARRAYS['a.w'].nbytes * 8):
    flipped = ARRAYS['a.w'].copy()
    flipped.reshape(-1).view(np.uint8)[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DamagedError, match='a.w is not the array'):
      manifest.check_array(said, 'a.w', flipped)


@pytest.mark.parametrize('other', [
    ARRAYS['a.w'].reshape(3, 2), ARRAYS['a.w'].view(np.int32),
    ARRAYS['a.w'].astype(np.float64), ARRAYS['a.w'][:1]])
def test_the_same_bytes_under_another_shape_or_type_are_not_the_same(other):
  with pytest.raises(DamagedError):
    manifest.check_array(made(), 'a.w', other)


def test_every_changed_value_of_the_manifest_is_found():
  whole, changed = made(), 0
  def walk(node, path):
    if isinstance(node, dict):
      for key in node:
        yield from walk(node[key], path + [key])
    elif isinstance(node, list):
      for key, item in enumerate(node):
        yield from walk(item, path + [key])
    else:
      yield path
  for path in walk(whole, []):
    other = copy.deepcopy(whole)
    node = other
    for key in path[:-1]:
      node = node[key]
    node[path[-1]] = 'x' if isinstance(node[path[-1]], str) else node[path[-1]] + 1
    with pytest.raises(DamagedError):
      manifest.check(other)
    changed += 1
  assert changed > 15


@pytest.mark.parametrize('odd', [None, [], {}, 3, 'x', {'sha256': 'x'}])
def test_what_is_no_manifest_is_damage(odd):
  with pytest.raises(DamagedError):
    manifest.check(odd)


def test_another_format_is_not_damage():
  body = made() | {'format': 2}
  del body['sha256']
  with pytest.raises(UserError, match='has format 2, this byol_jax reads format 1'):
    manifest.check(body | {'sha256': manifest._sha256(body)})


def test_the_first_differences_are_named():
  saved = {f'p{i}': ((i,), 'float32') for i in range(9)}
  assert manifest.differences(saved, saved) == ''
  assert manifest.differences(saved, saved | {'p1': ((1,), 'bfloat16')}) == (
      'p1: float32[1] / bfloat16[1]')
  lines = manifest.differences(saved, {'q': ((), 'int32')}).split('\n  ')
  assert lines[0] == 'q: missing / int32[]'
  assert lines[1] == 'p0: float32[0] / missing'
  assert lines[-1] == 'and 5 more' and len(lines) == 6
