"""Ids as labels; lists and arrays with them are in test_list.py and test_npz.py."""

import numpy as np
import pytest

from byol_jax.data.sources import labels
from byol_jax.errors import UserError


@pytest.mark.parametrize('ids, numbers, names', [
    ([0, 1, 2, 1], [0, 1, 2, 1], None), ([0, 2, 2], [0, 1, 1], ('0', '2')),
    ([-1, -1], [-1, -1], None), ([2**60, -1, 7], [1, -1, 0], ('7', str(2**60)))])
def test_numbers(ids, numbers, names):
  found = labels.number(np.array(ids), 'them', None)
  assert found[0].tolist() == numbers and found[1] == names


def test_other_parts_have_the_training_parts_numbers():
  assert labels.number(np.array([9, 5]), 'them', ('5', '7', '9'))[0].tolist() == [2, 0]
  with pytest.raises(UserError, match='them has the label 6'):
    labels.number(np.array([6]), 'them', ('5', '7'))
