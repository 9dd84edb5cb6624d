"""Opening a source by its name: what comes in, and what is refused."""

import subprocess
import sys

import pytest

from byol_jax.data import sources
from byol_jax.data.sources import names as source_names
from byol_jax.data.sources import open as open_lib
from byol_jax.data.sources import table
from byol_jax.errors import UserError


def test_dispatch_errors():
  with pytest.raises(UserError, match="'imagenet' is not one of fashion_sample"):
    open_lib.open_part('imagenet')
  for source in ('npz', 'folder'):
    with pytest.raises(UserError, match='needs config.data.path'):
      open_lib.open_part(source)
  for source in ('fashion_sample', 'fashion_mnist'):
    with pytest.raises(UserError, match="not 'val'"):
      open_lib.open_part(source, split='val')


def test_a_new_source_is_one_file_and_one_line(tmp_path, monkeypatch):
  (tmp_path / 'toy.py').write_text(
      'def open_split(request, split):\n'
      "  return None if split == 'test' else request\n")
  monkeypatch.setattr(sources, '__path__', [*sources.__path__, str(tmp_path)])
  monkeypatch.setitem(
      source_names.CATALOGUE, 'toy', source_names.Source({'path': 'a toy'}, local=True))
  try:
    assert open_lib.open_part('toy', path='x', seed=3) == table.Request('x', seed=3)
    assert open_lib.open_part('toy', 'test', path='x') is None
    with pytest.raises(UserError, match="'toy' needs config.data.path: a toy"):
      open_lib.open_part('toy')
    with pytest.raises(UserError, match="data.source='toy' reads local files"):
      open_lib.open_part('toy', path='gs://b/c')
  finally:
    sys.modules.pop('byol_jax.data.sources.toy', None)


def test_needs_no_tensorflow():
  code = ('import sys; from byol_jax.data.feed import stream; '
          'from byol_jax.data.sources import open as o; '
          'o.open_part("fashion_sample"); '
          'sys.exit(any(name.startswith("tensorflow") for name in sys.modules))')
  subprocess.run([sys.executable, '-c', code], check=True)


def test_a_bucket_where_files_are_local():
  for source in ('folder', 'list', 'npz'):
    with pytest.raises(UserError, match="data.path is 'gs://b/c'.*mount the bucket"):
      open_lib.open_part(source, path='gs://b/c')
  with pytest.raises(UserError, match='data.test_path'):
    open_lib.open_part('list', path='a.csv', test_path='gs://b/c.csv')
  for path in ('s3://b/c', 'gcs://b/c', 'file:///c'):  # what no library reads
    with pytest.raises(UserError, match=r'read from folders and .*gs://'):
      open_lib.open_part('prepared', path=path)
