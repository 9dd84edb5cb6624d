"""A data set of TFDS, for the tests of all that opens one."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))


@pytest.fixture(scope='session', params=['tfrecord', 'array_record'])
def tfds_folder(request, tmp_path_factory):
  """Prepares `tiny` in each format that is read at random; returns its folder."""
  import tiny_tfds  # skips where there is no TFDS
  if request.param == 'array_record':
    pytest.importorskip('array_record')
  folder = tmp_path_factory.mktemp(request.param)
  tiny_tfds.build(folder, request.param)
  return str(folder)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
  """Keeps indexes of shards where no other test finds them."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
