"""The crop's rule against plain Python, and its distribution."""

import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from byol_jax.data.feed import order
from byol_jax.data.images import crops


def _box_in_plain_python(u, height, width, area, aspect):
  """The reference's rule for one image, written down again."""
  target = (area[0] + (area[1] - area[0]) * u[0]) * height * width
  logs = math.log(aspect[0]), math.log(aspect[1])
  ratio = math.exp(logs[0] + (logs[1] - logs[0]) * u[1])
  w = max(1, min(width, round(math.sqrt(target * ratio))))
  h = max(1, min(height, round(math.sqrt(target / ratio))))
  return (math.floor(u[2] * (height - h + 1)),
          math.floor(u[3] * (width - w + 1)), h, w)


@pytest.mark.parametrize('u, size, expected', [
    # 0.54 * 20000 = 10800, sqrt = 103.92; the height is clipped to 100.
    ((0.5, 0.5, 0.5, 0.5), (100, 200), (0, 48, 100, 104)),
    # 0.08 * 10000 = 800, ratio 3/4: h = sqrt(1066.7), w = sqrt(600).
    ((0.0, 0.0, 0.0, 0.0), (100, 100), (0, 0, 33, 24)),
    ((0.0, 0.0, 1 - 1e-9, 1 - 1e-9), (100, 100), (67, 76, 33, 24)),
    ((0.0, 0.0, 0.5, 0.5), (1, 1), (0, 0, 1, 1)),
    ((0.0, 0.0, 0.5, 0.5), (1, 300), (0, 148, 1, 4)),
])
def test_golden(u, size, expected):
  box = crops.crop_box(np.array(u), *size)
  assert tuple(int(side) for side in box) == expected
  assert all(side.dtype == np.int32 for side in box)


def test_the_constants_are_the_papers():
  """Appendix B, and 224 of 256 pixels of appendix C.1."""
  assert crops.CropSpec(224) == (224, 2, (0.08, 1.0), (3 / 4, 4 / 3), 'byol', None)
  assert crops.Jigsaw() == (255, 64, (0.6, 1.0))  # InfoMin's
  assert crops.CENTER_SHARE == 224 / 256


def test_equals_plain_python():
  rng = np.random.default_rng(0)
  u = rng.random((300, 4))
  heights, widths = rng.integers(1, 700, (2, 300))
  for area, aspect in (((0.08, 1.0), (3 / 4, 4 / 3)), ((0.2, 0.9), (0.5, 1.5))):
    boxes = np.stack(crops.crop_box(u, heights, widths, area, aspect), -1)
    for box, *arguments in zip(boxes, u, heights.tolist(), widths.tolist()):
      assert tuple(box) == _box_in_plain_python(*arguments, area, aspect)


def test_statistics():
  """Of a square image: area and offsets uniform, the ratio log-uniform."""
  u = np.random.default_rng(1).random((20000, 4))
  side = 10000
  top, left, h, w = (x.astype(float) for x in crops.crop_box(u, side, side))
  inside = (h < side) & (w < side)
  assert 0.85 < inside.mean() < 0.95  # the others were clipped
  np.testing.assert_allclose(
      (h * w / side**2)[inside], (0.08 + 0.92 * u[:, 0])[inside], rtol=1e-3)
  ratio = np.log(w / h)[inside] / np.log(4 / 3)
  assert np.abs(ratio).max() <= 1.001 and np.abs(ratio.mean()) < 0.02
  # Clipping makes a ratio less extreme but never touches the offsets.
  for offset, extent in ((top, h), (left, w)):
    share = (offset / (side - extent + 1))[inside]
    np.testing.assert_allclose(
        np.quantile(share, (0.1, 0.5, 0.9)), (0.1, 0.5, 0.9), atol=0.02)


def test_jax_float32_stays_inside_and_agrees():
  rng = np.random.default_rng(2)
  u = rng.random((500, 4))
  u[:20, 2:] = np.float32(1) - np.float32(2**-24)
  boxes = jax.jit(lambda u: crops.crop_box(u, 96, 123, xp=jnp))(
      jnp.asarray(u, jnp.float32))
  top, left, h, w = (np.asarray(side) for side in boxes)
  assert top.dtype == np.int32
  assert (h >= 1).all() and (w >= 1).all() and (top >= 0).all()
  assert (top + h <= 96).all() and (left + w <= 123).all() and (left >= 0).all()
  same = np.stack(boxes, -1) == np.stack(crops.crop_box(u, 96, 123), -1)
  assert same.mean() > 0.99  # rounding differs where a value is near a half


@pytest.mark.parametrize('size, expected', [
    ((256, 256), (16, 16, 224, 224)),
    ((500, 375), (86, 24, 328, 328)),  # 0.875 * 375 = 328.1; 172 and 47 left
    ((28, 28), (2, 2, 24, 24)),
    ((1, 5), (0, 2, 1, 1)),
])
def test_center_box(size, expected):
  box = crops.center_box(*size)
  assert tuple(int(side) for side in box) == expected


@pytest.mark.parametrize('height, width', [(375, 500), (500, 333), (90, 640)])
def test_the_training_draws_crop_as_the_reference_samples(height, width):
  """Area, aspect and position, by Kolmogorov and Smirnov's test.

  The reference draws with TensorFlow's generator; here its rule is followed
  draw by draw with numpy's (deepmind-research, byol/utils/dataset.py,
  _decode_and_random_crop).
  """
  n = 20_000
  u = order.uniforms(0, 7, np.arange(n), 8).reshape(n, 2, 4)
  ours = np.stack(crops.crop_box(u, height, width), -1).reshape(-1, 4)
  rng = np.random.default_rng(1)
  area = rng.uniform(0.08, 1.0, 2 * n) * height * width
  ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), 2 * n))
  w = np.minimum(np.round(np.sqrt(area * ratio)), width)
  h = np.minimum(np.round(np.sqrt(area / ratio)), height)
  theirs = np.stack([rng.integers(0, height - h + 1, 2 * n),
                     rng.integers(0, width - w + 1, 2 * n), h, w], -1)

  def figures(boxes):
    top, left, h, w = boxes.T
    return (h * w / (height * width), np.log(w / h), top + h / 2, left + w / 2,
            h, w)
  for one, other in zip(figures(ours), figures(theirs)):
    assert stats.ks_2samp(one, other).pvalue > 1e-4
  # The two views of an image are drawn independently.
  area = (ours[:, 2] * ours[:, 3]).reshape(n, 2)
  assert abs(np.corrcoef(area.T)[0, 1]) < 0.03


# ------------------------------------------------------------- other samplers
FIXTURES = pathlib.Path(__file__).parents[2] / 'fixtures'
QUANTILES = np.linspace(0, 1, 21)


def _boxes(sampler, n=20_000, size=(375, 500), area=(0.08, 1.0), xp=np, dtype=float):
  u = order.uniforms(3, 5, np.arange(n), crops.draws(sampler)).astype(dtype)
  boxes = crops.crop_box(xp.asarray(u), *size, area, sampler=sampler, xp=xp)
  return np.stack([np.asarray(side) for side in boxes], -1)


@pytest.mark.parametrize('sampler, file, name, area', [
    ('tf', 'simclr_ops', 'crop/tf_boxes_375x500', (0.08, 1.0)),
    ('torchvision', 'torch_ops', 'crop/torchvision_boxes_375x500/moco', (0.2, 1.0)),
    ('torchvision', 'torch_ops', 'crop/torchvision_boxes_375x500/imagenet',
     (0.08, 1.0)),
    ('torchvision', 'torch_ops', 'crop/torchvision_boxes_375x500/jigsaw', (0.6, 1.0))])
def test_a_sampler_draws_as_the_library(sampler, file, name, area):
  """Against quantiles of 20,000 boxes that the library drew."""
  with np.load(FIXTURES / f'{file}.npz') as recorded:
    areas, aspects = (recorded[f'{name}/{x}_quantiles'] for x in ('area', 'aspect'))
  top, left, h, w = _boxes(sampler, area=area).T
  np.testing.assert_allclose(np.quantile(h * w / (375 * 500), QUANTILES)[1:-1],
                             areas[1:-1], atol=0.016)  # 4 standard errors
  np.testing.assert_allclose(np.quantile(w / h, QUANTILES)[1:-1], aspects[1:-1],
                             atol=0.016)
  assert (top >= 0).all() and (top + h <= 375).all()
  assert (left >= 0).all() and (left + w <= 500).all()


@pytest.mark.parametrize('sampler', ['tf', 'torchvision'])
def test_a_sampler_agrees_on_the_device(sampler):
  """Equal boxes of equal draws, in float32 and compiled, but for rounding."""
  host = _boxes(sampler, 2000, (96, 123))
  draw = jax.jit(lambda u: crops.crop_box(u, 96, 123, sampler=sampler, xp=jnp))
  u = order.uniforms(3, 5, np.arange(2000), crops.draws(sampler))
  device = np.stack(draw(jnp.asarray(u, jnp.float32)), -1)
  assert device.dtype == np.int32
  assert np.mean(host == device) > 0.99
  assert (device[:, :2] >= 0).all() and (device[:, 2:] >= 1).all()
  assert (device[:, :2] + device[:, 2:] <= (96, 123)).all()
  one = crops.crop_box(u[7], 96, 123, sampler=sampler)  # as the stream does
  np.testing.assert_array_equal(np.stack(one), host[7])


def test_torchvisions_last_resort():
  """Where ten tries are too large: the central box of the nearest ratio."""
  u = np.full(40, 1 - 1e-9)
  for size, expected in (((100, 300), (0, 83, 100, 133)), ((300, 99), (84, 0, 132, 99)),
                         ((90, 100), (0, 0, 90, 100)), ((1, 1), (0, 0, 1, 1))):
    box = crops.crop_box(u, *size, sampler='torchvision')
    assert tuple(int(side) for side in box) == expected
  # the third try is the first that fits: 0.54 of a square
  u[8:12] = 0.5
  box = crops.crop_box(u, 100, 100, sampler='torchvision')
  assert tuple(int(side) for side in box) == (14, 14, 73, 73)


def test_tensorflows_last_resort():
  """The whole image, where a tenth of it cannot be covered."""
  u = order.uniforms(0, 0, np.arange(50), crops.draws('tf'))
  for side, expected in zip(crops.crop_box(u, 40, 70, (0.02, 0.09), sampler='tf'),
                            (0, 0, 40, 70)):
    assert (side == expected).all()
  top, left, h, w = crops.crop_box(u, 40, 70, (0.08, 0.11), sampler='tf')
  assert (h * w >= 0.1 * 2800).all() and (h * w <= 0.11 * 2800).mean() > 0.9


@pytest.mark.parametrize('sampler', crops.SAMPLERS)
def test_without_a_crop(sampler):
  """Area and aspect 1 take a square image as it is (the paper's table 17: no crop)."""
  u = order.uniforms(0, 0, np.arange(20), crops.draws(sampler))
  boxes = crops.crop_box(u, 32, 32, (1, 1), (1, 1), sampler=sampler)
  for side, expected in zip(boxes, (0, 0, 32, 32)):
    assert (side == expected).all()
