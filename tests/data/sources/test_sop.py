"""Stanford Online Products as its folder comes."""

import numpy as np

from byol_jax.data.sources import open as open_lib


def test_products_are_numbered_within_a_part(tmp_path):
  for split, ids in (('train', (1, 1, 2)), ('test', (11319, 11320, 11319))):
    (tmp_path / f'Ebay_{split}.txt').write_text(
        'image_id class_id super_class_id path\n' + ''.join(
            f'{i} {product} 1 bicycle_final/{split}_{i}.JPG\n'
            for i, product in enumerate(ids)))
  (tmp_path / 'bicycle_final').mkdir()
  (tmp_path / 'bicycle_final/test_2.JPG').write_bytes(b'a picture')
  train, test = (open_lib.open_part('sop', split, path=str(tmp_path))
                 for split in ('train', 'test'))
  np.testing.assert_array_equal(train.labels, [0, 0, 1])
  np.testing.assert_array_equal(test.labels, [0, 1, 0])
  assert test.read(2) == b'a picture'
