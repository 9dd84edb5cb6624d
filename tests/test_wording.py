"""Counts and lists in messages."""

import pytest

from byol_jax import wording


@pytest.mark.parametrize('number, what, said', [
    (1, 'shard', '1 shard'), (0, 'shard', '0 shards'), (2, 'class', '2 classes'),
    (1, 'class', '1 class'), (3, 'query', '3 queries'), (4, 'batch', '4 batches'),
    (2, 'training image', '2 training images'), (2, 'way', '2 ways')])
def test_a_number_with_its_noun(number, what, said):
  assert wording.count(number, what) == said


def test_the_form_of_a_number():
  assert wording.count(12345, 'image', ',') == '12,345 images'
  assert wording.count(1.0, 'epoch', 'g') == '1 epoch'
  assert wording.count(1.5, 'epoch', 'g') == '1.5 epochs'


def test_the_first_of_many():
  assert wording.some('ab', 2) == 'a, b'
  assert wording.some('abc', 2) == 'a, b and 1 more'
  assert wording.quoted(['a', "it's"], 5) == "'a', \"it's\""
  assert wording.some([], 2) == ''
