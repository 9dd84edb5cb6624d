"""Files that say what is relevant."""

import numpy as np
import pytest

from byol_jax.errors import UserError
from byol_jax.retrieval import judgements

QUERIES, GALLERY = ['a', 'b'], ['x', 'y', 'z']


def test_csv_and_parquet_say_the_same(tmp_path):
  pyarrow = pytest.importorskip('pyarrow')
  from pyarrow import parquet
  (tmp_path / 'p.csv').write_text('Item,query,grade\nz,a,2\nx,b,0.5\n')
  parquet.write_table(pyarrow.table({
      'item': ['z', 'x'], 'query': ['a', 'b'], 'grade': [2, .5]}),
      tmp_path / 'p.parquet')
  for name in ('p.csv', 'p.parquet'):
    found = judgements.read(str(tmp_path / name), QUERIES, GALLERY)
    assert found.queries.tolist() == [0, 1] and found.items.tolist() == [2, 0]
    np.testing.assert_array_equal(found.weights, [2, .5])


@pytest.mark.parametrize('text,message', [
    ('query,picture\na,x\n', 'has the columns query, picture, none of them for the item'),
    ('query,item\nc,x\n', "first unknown name: 'c'"),
    ('query,item\n', 'has no row'),
    ('query,item,weight\na,x,-1\n', "row 2, has the weight '-1'"),
    ('query,item,weight\na,x,nan\n', 'must be a number of at least 0'),
    ('query,item,weight\na,x\n', 'is no table'),
    ('', 'is no table'),
])
def test_mistakes(tmp_path, text, message):
  (tmp_path / 'p.csv').write_text(text)
  with pytest.raises(UserError, match=message):
    judgements.read(str(tmp_path / 'p.csv'), QUERIES, GALLERY)


def test_files_that_cannot_be_read(tmp_path):
  (tmp_path / 'p.parquet').write_bytes(b'no table')
  for name, message in (('p.parquet', 'is no table'), ('q.csv', 'cannot read')):
    with pytest.raises(UserError, match=message):
      judgements.read(str(tmp_path / name), QUERIES, GALLERY)
