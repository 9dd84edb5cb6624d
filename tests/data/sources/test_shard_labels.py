"""Labels that are texts: numbers from 0, or names, as the training part has them."""

import numpy as np
import pytest

from byol_jax.data.sources import shard_labels
from byol_jax.errors import UserError


def _numbered(texts, which=None, split='train', names=None):
  which = np.arange(len(texts)) if which is None else np.array(which)
  return shard_labels.numbered(texts, which, 'here', split, names)


def test_numbers_stay_and_names_are_sorted():
  found, names = _numbered(['7', '0', '7'], [0, 1, 1, 2])
  assert found.tolist() == [7, 0, 0, 7] and found.dtype == np.int32 and names is None
  found, names = _numbered(['dog', 'cat', 'dog'], [0, 1, 2, 1])
  assert found.tolist() == [1, 0, 1, 0] and names == ('cat', 'dog')
  found, _ = _numbered(['dog'], split='test', names=('cat', 'dog', 'emu'))
  assert found.tolist() == [1]
  assert _numbered(['-1']) == (None, None)  # hidden
  assert _numbered(['3', 'unused'], [0])[0].tolist() == [3]


@pytest.mark.parametrize('texts, more, match', [
    (['0', '1.5'], {}, "label '1.5': labels are whole"),
    (['0', '-2'], {}, 'label -2: labels count from 0'),
    (['123456789'], {}, 'label 123456789 for 1 images'),
    (['cat'], {'split': 'test'}, "label 'cat', but the training part has numbers"),
    (['cow'], {'split': 'test', 'names': ('cat',)}, "'cow', which is not one of the 1")])
def test_what_is_no_label_is_refused(texts, more, match):
  with pytest.raises(UserError, match=match):
    _numbered(texts, **more)
