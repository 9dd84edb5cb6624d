"""In-shop Clothes Retrieval as its folder comes."""

import numpy as np
import pytest

from byol_jax.data.sources import open as open_lib
from byol_jax.errors import UserError


@pytest.mark.parametrize('where', ['Eval', ''])
def test_a_product_has_one_number_in_all_parts(tmp_path, where):
  (tmp_path / where).mkdir(exist_ok=True)
  (tmp_path / where / 'list_eval_partition.txt').write_text(
      '5\nimage_name item_id evaluation_status\n' + ''.join(
          f'img/{name}.jpg {item} {part}\n' for name, item, part in (
              ('a', 'id_7', 'train'), ('b', 'id_9', 'query'), ('c', 'id_8', 'query'),
              ('d', 'id_8', 'gallery'), ('e', 'id_9', 'gallery'))))
  (tmp_path / 'Img/img').mkdir(parents=True)
  (tmp_path / 'Img/img/d.jpg').write_bytes(b'd')
  parts = {part: open_lib.open_part('inshop', part, path=str(tmp_path))
           for part in ('train', 'query', 'gallery')}
  np.testing.assert_array_equal(parts['query'].labels, [2, 1])
  np.testing.assert_array_equal(parts['gallery'].labels, [1, 2])
  assert parts['gallery'].read(0) == b'd'
  assert open_lib.open_part('inshop', 'test', path=str(tmp_path)) is None
  with pytest.raises(UserError, match='train, query, gallery'):
    open_lib.open_part('inshop', 'val', path=str(tmp_path))
