"""A fingerprint knows data again: the digests below are those of version 0.1."""

import os

import numpy as np
import pytest

from byol_jax.data import bad
from byol_jax.data import fingerprint
from byol_jax.data.sources import lazy
from byol_jax.data.sources.table import Encoded
from byol_jax.data.sources.table import Images

_IMAGES = np.arange(5 * 4 * 3 * 3, dtype=np.uint8).reshape(5, 4, 3, 3)
_LABELS = np.array([0, 1, 2, 1, 0], np.int32)


def _encoded(**changes):
  names = ['a/1.jpg', 'b/\udcff.jpg']
  return Encoded(None, 2, np.array([0, 1]), names, None, 'x',
                 bad.BadImages(names, 'x'))._replace(**changes)


@pytest.mark.parametrize('data, digest', [
    (Images(_IMAGES, None, None, 'x'), '320db7793fd823b4'),
    (Images(_IMAGES, _LABELS, None, 'x'), '6e10d6995c2b18a7'),
    (_encoded(), 'be5a76028c5bd3f8'),
    (_encoded(labels=None), 'fc7ae85a758a849c'),
    (_encoded(identity='abc'), '248973d406bc1b85'),
])
def test_what_began_with_version_0_1_goes_on(data, digest):
  assert fingerprint.fingerprint(data) == digest
  assert fingerprint.fingerprint(data._replace(name='elsewhere')) == digest


def test_other_data_is_known():
  prints = [fingerprint.fingerprint(data) for data in (
      Images(_IMAGES, None, None, 'x'), Images(_IMAGES[::-1], None, None, 'x'),
      Images(_IMAGES.reshape(5, 3, 4, 3), None, None, 'x'),
      Images(_IMAGES, _LABELS[::-1], None, 'x'), _encoded(names=['b', 'a']),
      _encoded(names=['a', 'b']), _encoded(identity='b'))]
  assert len(set(prints)) == len(prints)
  late = _encoded(labels=lazy.Labels(pytest.fail, 2, 3), identity='b')
  fingerprint.fingerprint(late)  # reads none


def test_the_state_of_files(tmp_path):
  (tmp_path / 'a').write_bytes(b'123')
  os.utime(tmp_path / 'a', ns=(7, 7))
  data = _encoded(names=['a', 'none', 'a\0b'], root=str(tmp_path))
  assert fingerprint.file_states(data, range(3)) == [[3, 7], None, None]
  assert fingerprint.file_states(data, [1]) == [None]
  assert fingerprint.file_states(_encoded(), range(2)) == []
  assert fingerprint.file_states(Images(_IMAGES, None, None, 'x'), range(2)) == []


def test_files_of_the_same_names(tmp_path):
  def opened(folder, sizes, fill=b'x'):
    for name, size in sizes.items():
      (tmp_path / folder).mkdir(exist_ok=True)
      (tmp_path / folder / name).write_bytes(fill * size)
    names = list(sizes)
    return Encoded(lambda i: (tmp_path / folder / names[i]).read_bytes(), len(names),
                   None, names, None, folder, bad.BadImages(names, folder),
                   root=str(tmp_path / folder))
  one = fingerprint.files(opened('one', {'a': 5, 'b': 6}))
  assert fingerprint.files(opened('copy', {'a': 5, 'b': 6})) == one != ''
  assert fingerprint.files(opened('larger', {'a': 5, 'b': 7})) != one
  assert fingerprint.files(opened('other', {'a': 5, 'b': 6}, b'y')) != one
  assert fingerprint.files(_encoded()) == ''  # records are known by what they hold
