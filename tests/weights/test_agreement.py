"""How far features of others are from ours."""

import os

import jax
import numpy as np
from PIL import Image
import pytest

from byol_jax import encoder
from byol_jax.networks import architectures
from byol_jax.training import build
from byol_jax.weights import agreement
from byol_jax.weights import onnx
from byol_jax.weights import timm_folder


def test_difference_is_the_largest():
  ours = np.array([[3.0, 4.0], [1.0, 0.0]])
  assert agreement.difference(ours, ours) == {'relative_l2': 0, 'one_minus_cos': 0}
  found = agreement.difference(ours, np.array([[3.0, 4.0], [0.0, 1.0]]))
  assert found == pytest.approx({'relative_l2': np.sqrt(2), 'one_minus_cos': 1})
  found = agreement.difference(ours, 2 * ours)
  assert found == pytest.approx({'relative_l2': 1, 'one_minus_cos': 0})


def test_a_sample_has_the_features_of_evaluations(made):
  weights = made()
  rng = np.random.default_rng(0)
  images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((24, 24), (21, 40))]
  sample = agreement.sample(weights, images, 'noise')
  assert sample.prepared.shape == (2, 3, 24, 24)
  encode = encoder.Encoder(weights, 0, 0.0, 4)
  for image, features in zip(images, sample.features):
    # a crop of pixels is not rounded
    ours, = encode(image[None])
    assert np.abs(ours - features).max() < 0.02 * np.abs(features).max()


def settled(weights):
  """Gives an encoder the running statistics of images, as training would."""
  size = weights.config.data.image_size
  images = np.random.default_rng(2).normal(size=(4, size, size, 3)).astype(np.float32)
  apply = build.make_model(weights.config, 0, None).encoder.apply
  fresh = jax.tree.map(np.zeros_like, weights.state)  # their first batch is the average
  state = jax.jit(apply, static_argnums=3)(weights.params, fresh, images, True)[1]
  return weights._replace(state=jax.tree.map(np.asarray, state))


# every way to compute it, stems x paddings x widths: some 40 minutes on two cores
_ALL = [(f'resnet{depth}', stem, padding, width)
        for depth, widths in ((18, (1, 0.5, 2)), (34, (1,)), (50, (1, 2, 3)), (101, (1, 2)))
        for stem in architectures.STEMS for padding in ('torch', 'same')
        for width in widths if width == 1 or (stem, padding) in (
            ('imagenet', 'torch'), ('small', 'same'))]
_LONG = pytest.mark.skipif('BYOL_TEST_LONG' not in os.environ, reason='BYOL_TEST_LONG=1')


@pytest.mark.parametrize('name, stem, padding, width', [
    ('resnet8', 'half', 'torch', 2), *(pytest.param(*row, marks=_LONG) for row in _ALL)])
def test_photographs_have_our_features_everywhere(
    made, tmp_path, name, stem, padding, width):
  pytest.importorskip('onnxruntime', reason="pip install 'byol_jax[onnx]'")
  weights = settled(made(name=name, stem=stem, padding=padding, width=width))
  rng = np.random.default_rng(1)
  paths, images = [], []
  for size in ((7, 5), (4, 9)):  # enlarged: as smooth as photographs
    paths.append(tmp_path / f'{size}.jpg')
    Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).resize(
        (20 * size[1], 20 * size[0])).save(paths[-1])
    images.append(np.asarray(Image.open(paths[-1])))
  sample = agreement.sample(weights, images, 'photographs')
  timm_folder.write(weights, str(tmp_path / 'timm'))
  onnx.write(weights, str(tmp_path / 'encoder.onnx'))
  found = timm_folder.check(weights, str(tmp_path / 'timm'), sample)
  assert (name, stem, padding) != ('resnet18', 'imagenet', 'torch') or width != 1 or (
      {'timm', 'torchvision'} <= found.keys())
  found.pop(timm_folder.TRANSFORM, None)
  found['onnxruntime, from pixels'] = onnx.check(str(tmp_path / 'encoder.onnx'), sample)
  # and as users call both
  session = onnx.open_session((tmp_path / 'encoder.onnx').read_bytes())
  theirs = [session.run(['features'], {'images': image[None]})[0] for image in images]
  encode = encoder.load(str(tmp_path / 'timm'), batch_size=2)
  found['encoder.load'] = agreement.difference(encode(paths), np.concatenate(theirs))
  for who, difference in found.items():
    print(f'{name} {width} {stem} {padding}: {who}: {difference}')
    if not str(difference).startswith('not checked'):  # not all are installed
      assert difference['relative_l2'] < 1e-4 and difference['one_minus_cos'] < 1e-6
