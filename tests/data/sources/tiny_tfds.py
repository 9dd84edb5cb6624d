"""A tiny data set as TFDS prepares one; skips the tests that take it where it cannot."""

import numpy as np
import pytest

from byol_jax.data.sources import open as open_lib

pytest.importorskip('tensorflow')
tfds = pytest.importorskip('tensorflow_datasets')
pytest.importorskip(
    'importlib_resources', reason='TFDS 4.9.10 needs it to prepare a data set')

IMAGES = np.random.default_rng(0).integers(0, 256, (11, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(11) % 3


def build(folder, file_format, name='tiny', labels=LABELS, encoding='png'):
  """Prepares a data set with the splits train and validation."""
  features = {'image': tfds.features.Image(shape=(None, None, 3),
                                           encoding_format=encoding),
              'comment': tfds.features.Text()}
  if labels is not None:
    features['label'] = tfds.features.Scalar(np.int64)
    if labels.min() >= 0:
      features['label'] = tfds.features.ClassLabel(names=['x', 'y', 'z'])

  def example(k):
    extra = {} if labels is None else {'label': int(labels[k])}
    return k, {'image': IMAGES[k], 'comment': f'no. {k}'} | extra

  tfds.dataset_builders.store_as_tfds_dataset(
      name=name, version='1.0.0', features=tfds.features.FeaturesDict(features),
      split_datasets={'train': [example(k) for k in range(11)],
                      'validation': [example(k) for k in range(2)]},
      data_dir=str(folder), file_format=file_format)


def open_part(folder, name='tiny', split='train'):
  """Opens a part of a data set below a folder."""
  return open_lib.open_part('tfds', path=folder, tfds_name=name, split=split)
