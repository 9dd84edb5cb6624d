"""Which images teach, which choose and which test."""

import numpy as np
import pytest

from byol_jax.data.sources import table
from byol_jax.evaluation import splits


def images(num):
  return table.Images(np.zeros((num, 2, 2, 3), np.uint8), np.arange(num) % 4, None, 'x')


def test_holdout_is_stratified_and_seeded():
  labels = np.repeat([0, 1, 2, 3], [100, 40, 2, 1])
  kept, held_out = splits.holdout_rows(labels, .1, 0, 'a.key')
  assert sorted([*kept, *held_out]) == list(range(len(labels)))
  assert np.bincount(labels[held_out]).tolist() == [10, 4, 1]
  again = splits.holdout_rows(labels, .1, 0, 'a.key')[1]
  other = splits.holdout_rows(labels, .1, 1, 'a.key')[1]
  assert np.array_equal(held_out, again)
  assert not np.array_equal(held_out, other)
  # half of everything, yet no class is lost to the classifier
  assert set(labels[splits.holdout_rows(labels, .9, 0, 'a.key')[0]]) == {0, 1, 2, 3}


def test_labelled_rows_are_a_share_of_every_class():
  labels = np.repeat([0, 1, 2], [100, 40, 2])
  rows = splits.labelled_rows(labels, .1, seed=0)
  assert np.bincount(labels[rows]).tolist() == [10, 4, 1]
  assert splits.labelled_rows(labels, 1, seed=0).tolist() == list(range(142))


def test_all_images_where_there_is_a_test_part():
  train, test = images(30), images(20)
  split = splits.Split(train, test, most=None, seed=0)
  assert split.train[0] is train and split.test[0] is test
  assert split.train[1].tolist() == list(range(30))
  assert split.test[1].tolist() == list(range(20))
  assert split.description(19) == '19 test images'
  few = splits.Split(train, test, most=10, seed=0)
  assert [len(rows) for _, rows in (few.train, few.test)] == [10, 10]


@pytest.mark.parametrize('pretrained_on, words', [
    (True, ' but seen, without labels, in pretraining'), (False, '')])
def test_without_a_test_part_a_tenth_is_held_out(pretrained_on, words):
  data = images(50)
  split = splits.Split(data, None, most=None, seed=0, pretrained_on=pretrained_on)
  assert len(split.test[1]) == 5
  assert sorted([*split.train[1], *split.test[1]]) == list(range(50))
  assert split.description(5) == (
      f'no test part: 5 training images, held out from the classifiers{words}')
  other = splits.Split(data, None, most=None, seed=1)
  assert split.test[1].tolist() != other.test[1].tolist()
