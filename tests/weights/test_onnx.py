"""An encoder as an ONNX file gives our features in onnxruntime."""

import sys

import numpy as np
import pytest

from byol_jax.errors import UserError
from byol_jax.weights import agreement
from byol_jax.weights import onnx

pytest.importorskip('onnxruntime', reason="pip install 'byol_jax[onnx]'")

SIZES = (40, 33), (24, 24), (19, 50)


def pictures():
  rng = np.random.default_rng(1)
  return [rng.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]


@pytest.mark.parametrize('bottleneck, stem, padding, width, embedding', [
    (False, 'imagenet', 'torch', 1, 0), (True, 'imagenet', 'same', 1, 0),
    (True, 'half', 'torch', 2, 0), (False, 'small', 'same', 0.5, 5)])
def test_features_are_ours(made, tmp_path, bottleneck, stem, padding, width, embedding):
  weights = made(bottleneck, stem, padding, width, embedding=embedding)
  path = str(tmp_path / 'to' / 'encoder.onnx')
  sample = agreement.sample(weights, pictures(), 'noise')
  for preparation in (True, False):
    onnx.write(weights, path, preparation=preparation)
    found = onnx.check(path, sample)
    assert found['relative_l2'] < 1e-4 and found['one_minus_cos'] < 1e-6
  onnx.write(weights, path, half=True)
  found = onnx.check(path, sample)
  assert 1e-5 < found['relative_l2'] < 0.01  # float16 it is


def test_any_number_of_images_of_any_size(made):
  weights = made(False, 'small', 'torch', 1)
  session = onnx.open_session(onnx.graph(weights))
  for images in pictures():
    one, = session.run(['features'], {'images': images[None]})
    both, = session.run(['features'], {'images': np.stack([images, images[::-1]])})
    assert one.dtype == np.float32 and both.shape == (2, 32)
    np.testing.assert_allclose(both[0], one[0], rtol=1e-5, atol=1e-6)
    assert np.abs(both[1] - both[0]).max() > 1e-3
  said = session.get_modelmeta().custom_metadata_map
  assert said['digest'] == '0123' and said['image_size'] == '24'
  assert said['preparation'] == 'true' and 'padding torch' in said['architecture']


def test_what_cannot_be_written(made, monkeypatch, tmp_path):
  weights = made(False, 'small', 'torch', 1)
  first = weights.params['encoder/~/initial_conv']
  first['w'] = 1e6 * first['w']
  with pytest.raises(UserError, match='too large for float16: set export.half=False'):
    onnx.write(weights, str(tmp_path / 'encoder.onnx'), half=True)
  monkeypatch.setattr(onnx, '_MOST_BYTES', 1 << 20)
  with pytest.raises(UserError, match='at most 2 GiB'):
    onnx.write(weights, str(tmp_path / 'encoder.onnx'))
  monkeypatch.setitem(sys.modules, 'onnx', None)
  with pytest.raises(UserError, match=r"onnx is not installed: .*byol_jax\[onnx\]"):
    onnx.write(weights, str(tmp_path / 'encoder.onnx'))
  assert not list(tmp_path.iterdir())
