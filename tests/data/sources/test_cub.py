"""CUB-200-2011 as its folder comes, split for metric learning."""

import numpy as np
import pytest

from byol_jax.data.sources import open as open_lib
from byol_jax.errors import UserError


def test_halves_of_the_classes(tmp_path):
  (tmp_path / 'images.txt').write_text('1 001.A/a.jpg\n2 100.B/b.jpg\n3 101.C/c.jpg\n'
                                       '4 200.D/d.jpg\n')
  (tmp_path / 'image_class_labels.txt').write_text('1 1\n2 100\n3 101\n4 200\n')
  (tmp_path / 'images/101.C').mkdir(parents=True)
  (tmp_path / 'images/101.C/c.jpg').write_bytes(b'c')
  train, test = (open_lib.open_part('cub', split, path=str(tmp_path))
                 for split in ('train', 'test'))
  assert list(train.names) == ['001.A/a.jpg', '100.B/b.jpg']
  np.testing.assert_array_equal(train.labels, [0, 99])
  np.testing.assert_array_equal(test.labels, [0, 99])
  assert test.read(0) == b'c'


@pytest.mark.parametrize('labels, message', [
    ('1 1\n', 'image 2 of images.txt has no line'),
    ('1 1\n2 x\n', "has 'x' in the place of a whole number")])
def test_mistakes(tmp_path, labels, message):
  (tmp_path / 'images.txt').write_text('1 001.A/a.jpg\n2 100.B/b.jpg\n')
  (tmp_path / 'image_class_labels.txt').write_text(labels)
  with pytest.raises(UserError, match=message):
    open_lib.open_part('cub', path=str(tmp_path))
  (tmp_path / 'image_class_labels.txt').write_text('1 1\n2 100\n')
  assert open_lib.open_part('cub', 'test', path=str(tmp_path)) is None
