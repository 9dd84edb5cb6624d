"""Engines of others take `encoder.Batches` as it is (docs/clusters.md)."""

import os
import sys

import jax
import numpy as np
from PIL import Image
import pytest

from byol_jax import encoder
from byol_jax.config import keys as keys_lib
from byol_jax.training import build
from byol_jax.weights import load as weights_lib

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@pytest.fixture(name='shop')
def _shop(tmp_path):
  """An encoder that other processes can load, and nine pictures; one is damaged."""
  config = keys_lib.base().unlock()
  config.network.update(name='resnet8', width=0.25, precision='float32')
  config.data.image_size = 16
  params, state = jax.tree.map(lambda x: np.full(x.shape, .1, x.dtype),
                               build.encoder_shapes(config))
  weights_lib.save(weights_lib._checked(
      config.to_dict(), {'params': params, 'state': state}, 'online', 0, 'tiny'),
      str(tmp_path / 'encoder.safetensors'))
  (tmp_path / 'photos').mkdir()
  for k in range(9):
    Image.new('RGB', (20, 20), (20 * k, 0, 0)).save(tmp_path / 'photos' / f'{k}.png')
  (tmp_path / 'photos' / '4.png').write_bytes(b'no picture')
  return tmp_path


def _check(found, shop):
  """found: {path: features} of an engine."""
  batches = encoder.Batches(str(shop / 'encoder.safetensors'), batch_size=4)
  files = sorted((shop / 'photos').iterdir())
  expected = batches(np.array([file.read_bytes() for file in files], object))
  assert sorted(os.path.basename(path) for path in found) == [
      file.name for file in files]
  for path, features in found.items():
    np.testing.assert_allclose(
        features, expected[int(os.path.basename(path)[0])], rtol=0, atol=1e-5)


def test_ray_data_takes_the_class(shop, monkeypatch):
  ray = pytest.importorskip('ray', reason='Ray is not installed')
  monkeypatch.setenv('PYTHONPATH', ROOT)
  ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
  try:
    photos = ray.data.read_binary_files(str(shop / 'photos'), include_paths=True)
    encoded = photos.map_batches(
        encoder.Batches, fn_constructor_args=[str(shop / 'encoder.safetensors')],
        fn_constructor_kwargs={'batch_size': 4}, batch_size=4,
        compute=ray.data.ActorPoolStrategy(size=1))
    _check({row['path']: row['feature'] for row in encoded.take_all()}, shop)
  finally:
    ray.shutdown()


def test_spark_takes_a_function_that_makes_one(shop, monkeypatch):
  pytest.importorskip('pyspark', reason='Spark is not installed')
  from pyspark.ml.functions import predict_batch_udf
  from pyspark.sql import SparkSession
  from pyspark.sql.types import ArrayType
  from pyspark.sql.types import FloatType
  monkeypatch.setenv('PYTHONPATH', ROOT)
  monkeypatch.setenv('PYSPARK_PYTHON', sys.executable)
  path = str(shop / 'encoder.safetensors')
  spark = SparkSession.builder.master('local[2]').config(
      'spark.ui.enabled', False).getOrCreate()
  try:
    encode = predict_batch_udf(lambda: encoder.Batches(path, batch_size=4),
                               return_type=ArrayType(FloatType()), batch_size=4)
    photos = spark.read.format('binaryFile').load(str(shop / 'photos'))
    rows = photos.select('path', encode('content').alias('feature')).collect()
    _check({row['path']: row['feature'] for row in rows}, shop)
  finally:
    spark.stop()
