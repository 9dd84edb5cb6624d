"""What every evaluation on frozen features asks of its inputs."""

import numpy as np
import pytest

from byol_jax.errors import UserError
from byol_jax.evaluation import checks


def test_what_is_right_passes():
  x, y = checks.check_labelled(np.ones((3, 2)), np.array([0, 1, 2]), 3, 'test')
  assert (x.dtype, y.dtype) == (np.float32, np.int32)
  checks.check_finite(np.ones((2, 3, 4)))
  checks.check_classes(np.array([1, 1, 2]))


@pytest.mark.parametrize('x, y, words', [
    (np.ones((0, 2)), [], 'non-empty'), (np.ones(3), [0, 0, 0], 'non-empty'),
    (np.ones((3, 2)), [0, 1], '3 test features, but labels'),
    (np.ones((2, 2)), [0, 3], r'lie in \[0, 3\]'),
    (np.ones((2, 2)), [-1, 1], r'lie in \[-1, 1\]'),
    (np.array([[1], [np.nan]]), [0, 1], '1 of 2 test features are not finite'),
    (np.array([[1e16], [1]]), [0, 1], 'first: image 0')],
    ids=['empty', 'flat', 'unequal', 'large label', 'negative label', 'nan', 'huge'])
def test_what_is_wrong_is_named(x, y, words):
  with pytest.raises(UserError, match=words):
    checks.check_labelled(x, np.array(y, int), 3, 'test')


@pytest.mark.parametrize('labels', [[], [2, 2]], ids=['none', 'one class'])
def test_nothing_to_tell_apart(labels):
  with pytest.raises(UserError, match='one class only'):
    checks.check_classes(np.array(labels, int))
