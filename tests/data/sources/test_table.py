"""A data set's own answers: how many, which classes, some of it."""

import numpy as np
import pytest

from byol_jax.data import bad
from byol_jax.data.sources import lazy
from byol_jax.data.sources import table
from byol_jax.errors import UserError

_LABELS = np.array([0, 2, 1, 0], np.int32)


def _images(labels=_LABELS, class_names=None):
  images = np.arange(4 * 2 * 2 * 3, dtype=np.uint8).reshape(4, 2, 2, 3)
  return table.Images(images, labels, class_names, 'images')


def _encoded(labels=_LABELS, class_names=None):
  names = ['a', 'b', 'c', 'd']
  return table.Encoded(
      lambda index: names[index].encode(), 4, labels, names, class_names, 'files',
      bad.BadImages(names, 'files', 3))


@pytest.mark.parametrize('make', [_images, _encoded])
def test_size_and_classes(make):
  assert make().size == 4
  assert table.num_classes(make()) == 3 and table.num_classes(make(None)) == 0
  assert table.num_classes(make(class_names=('x',) * 5)) == 5
  assert table.num_classes(make(lazy.Labels(int, 4, 7))) == 7
  assert table.described_classes(make()) == '3 classes'
  assert table.described_classes(make(class_names=('cat', 'dog', 'e' * 40))) == (
      f'3 classes (cat, dog, {"e" * 30})')
  assert table.described_classes(make(class_names=tuple('abcd'))) == (
      '4 classes (a, b, c, ...)')


def test_some_of_images():
  part = table.take(_images(), np.array([2, 0]))
  assert part.labels.tolist() == [1, 0] and part.size == 2
  np.testing.assert_array_equal(part.images, _images().images[[2, 0]])
  assert table.names_of(part, [1], 'test') == ['test[1]']


def test_some_of_encoded_images():
  whole = _encoded()
  whole.bad.add(1, 'empty')
  part = table.take(whole, np.array([3, 1, 1]))
  assert part.size == 3 and part.labels.tolist() == [0, 2, 2]
  assert [part.read(k) for k in range(3)] == [b'd', b'b', b'b']
  assert list(part.names) == table.names_of(part, range(3), '') == ['d', 'b', 'b']
  assert not part.bad and part.bad.limit == 3  # of its own, by its own numbers
  assert table.take(_encoded(None), np.array([0])).labels is None


def test_ids_are_no_labels():
  table.check_largest(99_999, 5, 'x')
  table.check_largest(200_000, 200_001, 'x')
  table.check_largest(2**31 - 1, None, 'x')
  for label, num_images in ((100_000, 5), (200_000, 200_000), (2**31, None)):
    with pytest.raises(UserError, match=f'x has a label {label}.*count from 0'):
      table.check_largest(label, num_images, 'x')


def test_some_of_decoded_images_keep_the_bad_ones():
  known = bad.BadImages(['a', 'b', 'c', 'd'], 'x', 3)
  known.add(2, 'damaged')
  some = table.take(_images()._replace(bad=known, names=list('abcd')), np.array([3, 2]))
  assert some.bad.reasons() == {1: 'damaged'} and list(some.names) == ['d', 'c']
  assert table.take(_images(), np.array([0])).bad is None
