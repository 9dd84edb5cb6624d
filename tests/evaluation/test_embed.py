"""Files of features, as other programs read them."""

import numpy as np
import pytest

from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.evaluation import embed

X = np.arange(6, dtype=np.float32).reshape(3, 2)
NAMES = ['a/1.png', 'b/2.png', 'b/33.png']
BOTH = ('npz', 'parquet')


def writer(folder, formats=BOTH, class_names=None, **options):
  return embed.Writer(str(folder), formats, 2, class_names=class_names, **(
      {'half': False, 'has_labels': class_names is not None} | options))


def test_both_formats_say_the_same(tmp_path):
  pytest.importorskip('pyarrow')
  with writer(tmp_path, class_names=('cat', 'dog')) as out:
    out.add(X[:1], NAMES[:1], np.array([0]))  # the longest name comes last
    out.add(X[1:1], [], np.array([], int))
    out.add(X[1:], NAMES[1:], np.array([1, 1]))
    assert not (tmp_path / 'embeddings.npz').exists()
  assert out.paths == [str(tmp_path / name) for name in embed.FILES.values()]
  assert {path.name for path in tmp_path.iterdir()} == set(embed.FILES.values())
  with np.load(out.paths[0], allow_pickle=False) as file:
    assert set(file) == {'features', 'names', 'labels', 'class_names'}
    assert file['features'].dtype == np.float32
    np.testing.assert_array_equal(file['features'], X)
    assert file['names'].tolist() == NAMES and file['labels'].dtype == np.int32
    assert file['labels'].tolist() == [0, 1, 1]
    assert file['class_names'].tolist() == ['cat', 'dog']
  table = pytest.importorskip('pyarrow.parquet').read_table(out.paths[1])
  assert table['class'].to_pylist() == ['cat', 'dog', 'dog']
  assert table['name'].to_pylist() == NAMES
  np.testing.assert_array_equal(np.stack(table['feature'].to_numpy()), X)
  for path in out.paths:
    np.testing.assert_array_equal(np.concatenate(list(embed.read(path))), X)


def test_float16(tmp_path):
  with writer(tmp_path, half=True) as out:
    out.add(X + .1, NAMES, None)
  for path in out.paths:
    found, = embed.read(path)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, (X + .1).astype(np.float16))
  kept = (tmp_path / 'embeddings.npz').read_bytes()
  with pytest.raises(UserError, match='a feature is 70000: float16 holds up to 65504'):
    with writer(tmp_path, half=True) as out:
      out.add(X, NAMES, None)
      out.add(np.full((1, 2), 70000, np.float32), NAMES[:1], None)
  assert (tmp_path / 'embeddings.npz').read_bytes() == kept  # whole or not at all
  assert {path.name for path in tmp_path.iterdir()} == set(embed.FILES.values())


def test_no_image(tmp_path):
  with writer(tmp_path, class_names=('cat',)):
    pass
  with np.load(tmp_path / 'embeddings.npz', allow_pickle=False) as file:
    assert file['features'].shape == (0, 2) and file['names'].shape == (0,)
  assert not sum(map(len, embed.read(str(tmp_path / 'embeddings.parquet'))))


def test_names_that_are_no_utf8(tmp_path):
  with writer(tmp_path, class_names=('caf\udce9', 'b')) as out:
    out.add(X, ['caf\udce9/1.png', *NAMES[1:]], np.array([0, 1, -1]))
  expected = ['caf\\udce9/1.png', *NAMES[1:]]
  with np.load(out.paths[0], allow_pickle=False) as file:
    assert file['names'].tolist() == expected
  table = pytest.importorskip('pyarrow.parquet').read_table(out.paths[1])
  assert table['name'].to_pylist() == expected
  assert table['class'].to_pylist() == ['caf\\udce9', 'b', None]


def test_without_labels(tmp_path):
  with writer(tmp_path, ['npz']) as out:
    out.add(X, NAMES, None)
  with np.load(*out.paths, allow_pickle=False) as file:
    assert set(file) == {'features', 'names'}


def test_a_folder_that_cannot_be_written(tmp_path):
  with pytest.raises(TransientError, match='make room, and the same command goes on'):
    writer(tmp_path / 'none', ['npz'])


def test_a_full_disk(tmp_path, monkeypatch):
  """Fails at the end, too, when all is written together."""
  from byol_jax.storage import files
  def full(*_):
    raise OSError(28, 'No space left on device')
  monkeypatch.setattr(files, 'to_disk', full)
  with pytest.raises(TransientError, match='No space left.*make room'):
    with writer(tmp_path) as out:
      out.add(X, NAMES, None)
  assert not list(tmp_path.iterdir())
