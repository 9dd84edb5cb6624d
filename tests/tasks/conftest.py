"""A tiny run for the tasks that take the weights of one."""

import pathlib
import shutil
import sys

import pytest

from byol_jax.networks import architectures

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / 'pages'))

import tiny


@pytest.fixture(name='pretrained', scope='session')
def _pretrained(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(architectures.ARCHITECTURES, 'resnet8', tiny.RESNET8)
    return tiny.pretrained(tmp_path_factory.mktemp('pretrained'))


@pytest.fixture(name='run', scope='module')
def _run(pretrained, tmp_path_factory):
  """The workdir of a pretraining, the data set beside it; each file has its own."""
  root = tmp_path_factory.mktemp('evaluate')
  shutil.copytree(pretrained, root / 'run')
  shutil.copy(f'{pretrained}/../tiny.npz', root)
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(architectures.ARCHITECTURES, 'resnet8', tiny.RESNET8)
    yield str(root / 'run')
