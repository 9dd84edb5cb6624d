"""Files of features, as other programs read them."""

import numpy as np
import pytest

from byol_jax.errors import TransientError
from byol_jax.evaluation import embed

X = np.arange(6, dtype=np.float32).reshape(3, 2)
NAMES = ['a/1.png', 'b/2.png', 'b/3.png']


def test_both_formats_say_the_same(tmp_path):
  written = embed.write(str(tmp_path), ['npz', 'parquet'], X, NAMES,
                        np.array([0, 1, 1]), ('cat', 'dog'))
  assert written == [str(tmp_path / name) for name in embed.FILES.values()]
  with np.load(written[0], allow_pickle=False) as file:
    assert set(file) == {'features', 'names', 'labels', 'class_names'}
    np.testing.assert_array_equal(file['features'], X)
    assert file['names'].tolist() == NAMES and file['labels'].dtype == np.int32
  table = pytest.importorskip('pyarrow.parquet').read_table(written[1])
  assert table['class'].to_pylist() == ['cat', 'dog', 'dog']
  assert table['name'].to_pylist() == NAMES
  np.testing.assert_array_equal(np.stack(table['feature'].to_numpy()), X)


def test_names_that_are_no_utf8(tmp_path):
  names = ['caf\udce9/1.png', 'b/2.png', 'b/3.png']
  written = embed.write(str(tmp_path), ['npz', 'parquet'], X, names,
                        np.array([0, 1, -1]), ('caf\udce9', 'b'))
  expected = ['caf\\udce9/1.png', 'b/2.png', 'b/3.png']
  with np.load(written[0], allow_pickle=False) as file:
    assert file['names'].tolist() == expected
  table = pytest.importorskip('pyarrow.parquet').read_table(written[1])
  assert table['name'].to_pylist() == expected
  assert table['class'].to_pylist() == ['caf\\udce9', 'b', None]


def test_without_labels(tmp_path):
  path, = embed.write(str(tmp_path), ['npz'], X, NAMES, None, None)
  with np.load(path, allow_pickle=False) as file:
    assert set(file) == {'features', 'names'}


def test_a_folder_that_cannot_be_written(tmp_path):
  with pytest.raises(TransientError, match='make room, and the same command goes on'):
    embed.write(str(tmp_path / 'none'), ['npz'], X, NAMES, None, None)
