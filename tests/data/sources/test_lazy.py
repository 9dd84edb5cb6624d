"""Labels and names that are read late: once each, in any way of asking."""

import numpy as np
import pytest

from byol_jax.data.sources import lazy


def _labels(size=200):
  asked = []
  def read(index):
    asked.append(index)
    return index % 7
  return lazy.Labels(read, size, 7), asked


def test_a_label_is_read_once():
  labels, asked = _labels()
  labels.put(5, 5)
  assert labels[5] == 5 and not asked
  assert labels[np.array([8, 5, 9])].tolist() == [1, 5, 2] and sorted(asked) == [8, 9]
  assert labels[7:10].tolist() == [0, 1, 2] and sorted(asked) == [7, 8, 9]
  mask = np.zeros(200, bool)
  mask[[9, 199]] = True
  assert labels[mask].tolist() == [2, 3] and labels[-1] == 3
  assert len(asked) == 4
  assert np.asarray(labels).tolist() == [k % 7 for k in range(200)]
  assert sorted(asked + [5]) == list(range(200))


def test_it_looks_like_an_array():
  labels, asked = _labels(10)
  assert len(labels) == 10 and labels.dtype == np.int32 and labels.num_classes == 7
  assert not asked  # the records' features tell the number of classes
  assert labels[:].dtype == np.int32 and np.asarray(labels, np.int64).dtype == np.int64
  with pytest.raises(IndexError):
    labels[10]


def test_names():
  names = lazy.FileNames(lambda index: f'{index}.jpg', 150)
  assert len(names) == 150 and names[149] == names[-1] == '149.jpg'
  assert list(names) == [f'{k}.jpg' for k in range(150)]
  assert list(names.of([3, 1, 3])) == ['3.jpg', '1.jpg', '3.jpg']
  with pytest.raises(IndexError):
    names[150]


def test_an_error_comes_through():
  def read(index):
    if index == 70:
      raise OSError('the disk is gone')
    return index
  with pytest.raises(OSError, match='the disk is gone'):
    list(lazy.FileNames(read, 150))
