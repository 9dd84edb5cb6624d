"""What the networks see: shapes, normalization, and what a view depends on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.data.images import crops
from byol_jax.views import crop as crop_lib
from byol_jax.views import draws as draws_lib
from byol_jax.views import make as views_lib
from byol_jax.views import recipes

NEUTRAL = recipes.Recipe(
    flip=0, jitter=0, brightness=0, contrast=0, saturation=0, hue=0,
    grayscale=0, blur=0, solarize=0)
PLAIN = views_lib.ViewSpec(
    image_size=12, area=(1, 1), aspect=(1, 1), recipes=(NEUTRAL, NEUTRAL))
MEAN, STD = np.array(PLAIN.mean), np.array(PLAIN.std)
KEY = jax.random.PRNGKey(0)

_from_resident = jax.jit(views_lib.from_resident, static_argnames='spec')
_from_crops = jax.jit(views_lib.from_crops, static_argnames='spec')


def _uint8(*shape, seed=0):
  return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def _batch(examples, rows=None):
  return {'examples': jnp.asarray(examples, jnp.int32),
          'rows': jnp.asarray(examples if rows is None else rows, jnp.int32)}


def test_the_defaults_are_the_papers():
  spec = views_lib.ViewSpec()
  assert spec.image_size == 224 and spec.area == (0.08, 1.0)
  assert spec.aspect == (3 / 4, 4 / 3)
  assert spec.recipes == (recipes.T, recipes.T_PRIME)
  assert spec.mean == (0.485, 0.456, 0.406) and spec.std == (0.229, 0.224, 0.225)


@pytest.mark.parametrize('channels', [1, 3])
def test_from_resident_without_augmentation_only_normalizes(channels):
  images = _uint8(9, 12, 12, channels)
  out = _from_resident(KEY, jnp.int32(3), images, _batch([0, 1, 2], [8, 0, 8]),
                       spec=PLAIN)
  assert out.shape == (2, 3, 12, 12, 3) and out.dtype == jnp.float32
  expected = (images[[8, 0, 8]] / 255. - MEAN) / STD
  for view in out:
    np.testing.assert_allclose(view, expected, atol=1e-5)


@pytest.mark.parametrize('sampler', ['tf', 'torchvision'])
def test_from_resident_with_another_sampler(sampler):
  """The box that further draws give; the draws of all else stay."""
  images = _uint8(9, 24, 30, 3)
  flip = NEUTRAL._replace(flip=0.5)
  spec = PLAIN._replace(area=(0.2, 1.0), aspect=(3 / 4, 4 / 3), sampler=sampler,
                        recipes=(flip, NEUTRAL))
  out = _from_resident(KEY, jnp.int32(3), images, _batch(range(9)), spec=spec)
  for view, is_flipped in enumerate((draws_lib.of_view(
      KEY, jnp.int32(3), jnp.arange(9), 0).flip < 0.5, np.zeros(9, bool))):
    u = draws_lib.further(KEY, jnp.int32(3), jnp.arange(9), view, draws_lib.CROP,
                              crops.draws(sampler))
    planes = crop_lib.random_resized_crop(images, u, 12, (0.2, 1.0), sampler=sampler)
    expected = np.stack(planes, -1)
    expected[is_flipped] = expected[is_flipped][:, :, ::-1]
    np.testing.assert_allclose(out[view], (expected - MEAN) / STD, atol=1e-5)


def test_from_crops_without_augmentation_only_normalizes():
  crop = _uint8(3, 2, 12, 12, 3)
  out = _from_crops(KEY, jnp.int32(3), {
      'views': crop, 'examples': jnp.arange(3)}, spec=PLAIN)
  assert out.shape == (2, 3, 12, 12, 3) and out.dtype == jnp.float32
  expected = (crop / 255. - MEAN) / STD
  np.testing.assert_allclose(out, np.swapaxes(expected, 0, 1), atol=1e-5)


def test_the_two_views_have_their_own_recipes_and_draws():
  white = np.full((5, 12, 12, 3), 255, np.uint8)
  solarize = NEUTRAL._replace(solarize=1.0)
  out = _from_resident(KEY, jnp.int32(0), white, _batch(range(5)),
                       spec=PLAIN._replace(recipes=(NEUTRAL, solarize)))
  np.testing.assert_allclose(out[0] * STD + MEAN, np.ones((5, 12, 12, 3)), atol=1e-6)
  np.testing.assert_allclose(out[1] * STD + MEAN, np.zeros((5, 12, 12, 3)),
                             atol=1e-6)
  spec = PLAIN._replace(area=(0.08, 1.0), aspect=(3 / 4, 4 / 3))
  out = _from_resident(KEY, jnp.int32(0), _uint8(5, 12, 12, 3), _batch(range(5)),
                       spec=spec)
  assert np.abs(out[0] - out[1]).max(axis=(1, 2, 3)).min() > 0.1


def _paper_views(source, key, step, examples):
  """Views of the full recipe: image e belongs to example e."""
  spec = views_lib.ViewSpec(image_size=20)
  if source == 'resident':
    return _from_resident(key, jnp.int32(step), _uint8(16, 24, 28, 3),
                          _batch(examples), spec=spec)
  return _from_crops(key, jnp.int32(step), {
      'views': _uint8(16, 2, 20, 20, 3)[examples],
      'examples': jnp.asarray(examples, jnp.int32)}, spec=spec)


@pytest.mark.parametrize('source', ['resident', 'crops'])
def test_a_view_depends_on_seed_step_and_example_only(source):
  make = functools.partial(_paper_views, source)
  whole = make(KEY, 5, np.arange(16))
  assert np.isfinite(whole).all()
  others = np.array([15, 3, 0])  # whatever else is in the batch, and where
  np.testing.assert_allclose(make(KEY, 5, others), whole[:, others], atol=1e-5)
  for other in (make(KEY, 6, np.arange(16)),
                make(jax.random.PRNGKey(1), 5, np.arange(16))):
    assert np.abs(other - whole).max((2, 3, 4)).min() > 0.01


def test_no_gradient_flows_through_the_augmentation():
  mean = jnp.float32(0.5)
  grad = jax.grad(lambda m: views_lib.from_crops(
      KEY, jnp.int32(0), {'views': _uint8(1, 2, 12, 12, 3),
                          'examples': jnp.arange(1)},
      PLAIN._replace(mean=(m, m, m))).sum())(mean)
  assert grad == 0


@pytest.mark.parametrize('height, width, channels', [
    (16, 16, 3), (23, 17, 3), (16, 30, 1)])
def test_for_evaluation_takes_the_central_crop(height, width, channels):
  images = _uint8(2, height, width, channels)
  out = jax.jit(lambda x: views_lib.for_evaluation(x, PLAIN))(images)
  assert out.shape == (2, 12, 12, 3) and out.dtype == jnp.float32
  side = int(0.875 * min(height, width))
  top, left = (height - side + 1) // 2, (width - side + 1) // 2
  assert crops.center_box(height, width) == (top, left, side, side)
  cropped = np.repeat(images[:, top:top + side, left:left + side] / 255.,
                      3 // channels, -1)
  resized = jax.image.resize(cropped.astype(np.float32), (2, 12, 12, 3), 'cubic',
                             antialias=False)
  expected = (np.clip(resized, 0, 1) - MEAN) / STD
  np.testing.assert_allclose(out, expected, atol=2e-5)


def test_for_evaluation_leaves_images_of_the_right_size_alone():
  images = _uint8(2, 12, 12, 3)
  out = views_lib.for_evaluation(images, PLAIN, center_share=1.0)
  np.testing.assert_allclose(out, (images / 255. - MEAN) / STD, atol=1e-5)
  # and the resize agrees with it where both apply
  spec = PLAIN._replace(image_size=11)
  cut = views_lib.for_evaluation(images, spec, center_share=11 / 12)
  np.testing.assert_allclose(cut, (images[:, 1:, 1:] / 255. - MEAN) / STD,
                             atol=1e-5)
