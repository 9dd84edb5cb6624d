"""The embedded data: licensed, small, and what its script makes."""

import os

import numpy as np
import pytest

import byol_jax.data
from byol_jax.data.samples import make_fashion_sample
from byol_jax.data.sources import open as open_lib

_FOLDER = os.path.join(os.path.dirname(byol_jax.data.__file__), 'samples')
_DEBIAN = '/usr/share/datasets/fashion-mnist'


def test_size_and_licence():
  size = os.path.getsize(os.path.join(_FOLDER, 'fashion_sample.npz'))
  assert size <= 6_000_000
  with open(os.path.join(_FOLDER, 'LICENSE.fashion-mnist')) as file:
    text = file.read()
  for part in ('Zalando SE', 'Permission is hereby granted', 'zalandoresearch',
               'make_fashion_sample.py'):
    assert part in text


def test_choose_is_balanced_and_repeatable():
  labels = np.arange(100, dtype=np.uint8) % 4
  chosen = make_fashion_sample.choose(labels, 5, seed=1)
  np.testing.assert_array_equal(np.bincount(labels[chosen]), [5] * 4)
  assert (np.diff(chosen) > 0).all()
  np.testing.assert_array_equal(
      chosen, make_fashion_sample.choose(labels, 5, seed=1))
  assert (chosen != make_fashion_sample.choose(labels, 5, seed=2)).any()


@pytest.mark.skipif(not os.path.isdir(_DEBIAN),
                    reason='Debian package dataset-fashion-mnist not installed')
def test_script_makes_this_file(tmp_path):
  made = str(tmp_path / 'made.npz')
  make_fashion_sample.save(made, make_fashion_sample.make(_DEBIAN))
  for split in ('train', 'test'):
    ours = open_lib.open_part('fashion_sample', split)
    theirs = open_lib.open_part('npz', split, path=made)
    np.testing.assert_array_equal(ours.images, theirs.images)
    np.testing.assert_array_equal(ours.labels, theirs.labels)
