"""Operations of other methods against what their own code gave (tests/fixtures)."""

import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.views import augment
from byol_jax.views import crop as crop_lib
from byol_jax.views import draws as draws_lib
from byol_jax.views import planes as planes_lib
from byol_jax.views import recipes

FIXTURES = pathlib.Path(__file__).parents[1] / 'fixtures'
NEUTRAL = recipes.Recipe(
    flip=0, jitter=0, brightness=0, contrast=0, saturation=0, hue=0,
    grayscale=0, blur=0, solarize=0)


@pytest.fixture(name='simclr', scope='module')
def _simclr():
  return dict(np.load(FIXTURES / 'simclr_ops.npz'))


@pytest.fixture(name='torch', scope='module')
def _torch():
  return dict(np.load(FIXTURES / 'torch_ops.npz'))


def _planes(image, n=1):
  """Repeats an image [H, W, 3], uint8 or in [0, 1], n times."""
  scale = 255 if image.dtype == np.uint8 else 1
  image = np.float32(image) / scale
  return tuple(jnp.broadcast_to(image[..., i], (n, *image.shape[:2])) for i in range(3))


def _stack(planes):
  return np.stack([np.asarray(p) for p in planes], -1)


def _draws(order, strength):
  """Draws of n images whose jitter has these orders [n, 4] and strengths [n, 4]."""
  n = len(order)
  half = jnp.full(n, 0.5)
  return draws_lib.Draws(
      crop=jnp.full((n, 4), 0.5), flip=half, jitter=jnp.zeros(n), grayscale=half,
      order=jnp.asarray((np.argsort(order, -1) + 0.5) / 4, jnp.float32),
      strength=jnp.asarray(strength, jnp.float32), blur=half, sigma=half,
      solarize=half)


@pytest.mark.parametrize('strength', [1, 0.5])
@pytest.mark.parametrize('version, mode', [('simclrv1', 'add'), ('simclrv2', 'times')])
def test_simclrs_jitter_in_all_orders(version, mode, strength, simclr):
  recipe = NEUTRAL._replace(
      jitter=1.0, brightness=.8 * strength, contrast=.8 * strength,
      saturation=.8 * strength, hue=.2 * strength, brightness_mode=mode)
  orders = simclr['orders']
  jitter = jax.jit(lambda p, d: augment.color_jitter(p, d, recipe))
  expected = simclr[f'jitter/{version}/strength{strength}']  # the first rows
  for u, images in zip(simclr['draws'], expected):
    out = jitter(_planes(simclr['image'], 24), _draws(orders, [u] * 24))
    rows = images.shape[1]
    np.testing.assert_allclose(_stack(out)[:, :rows], images, atol=2e-6)
  assert np.abs(expected[0][0] - expected[0][-1]).max() > 0.1  # the order matters


def test_simclrs_grayscale_and_brightness(simclr):
  planes = _planes(simclr['image'])
  np.testing.assert_allclose(_stack(augment.grayscale(planes))[0],
                             simclr['grayscale'], atol=1e-7)
  for name in [x for x in simclr if x.startswith('brightness_times/')]:
    factor = jnp.float32([float(name.rpartition('/')[2])])
    np.testing.assert_allclose(_stack(augment.scale_brightness(planes, factor))[0],
                               np.clip(simclr[name], 0, 1), atol=1e-7)


@pytest.mark.parametrize('name', ['blur32/sigma0.1', 'blur32/sigma0.5', 'blur32/sigma1',
                                  'blur32/sigma2', 'blur96/sigma1.3'])
def test_simclrs_blur(name, simclr):
  size, _, sigma = name.partition('/sigma')
  out = augment.gaussian_blur(_planes(simclr[f'{size}/image']),
                              jnp.float32([float(sigma)]))
  expected = simclr[name]
  np.testing.assert_allclose(_stack(out)[0, :len(expected)], expected, atol=1e-6)


@pytest.mark.parametrize('i', range(3))
def test_simclrs_crop(i, simclr):
  """TensorFlow takes weights from a table of 1,024; ours are clipped in addition."""
  box = [jnp.asarray([side]) for side in simclr[f'crop/box{i}']]
  out = crop_lib.crop_and_resize(simclr['crop/image'][None], *box, 24)
  expected = simclr[f'crop/out{i}']
  np.testing.assert_allclose(_stack(out)[0, :len(expected)], np.clip(expected, 0, 1),
                             atol=6e-4)


@pytest.mark.parametrize('amount', [0.2, 1.8])
@pytest.mark.parametrize('place, name', enumerate(('brightness', 'contrast',
                                                   'saturation')))
def test_torchvisions_blends(name, place, amount, torch):
  """Equal to its float rules; within one level of what PIL rounds."""
  recipe = NEUTRAL._replace(jitter=1.0, color='pil', **{name: 0.8})
  u = np.full((1, 4), 0.5)
  u[0, place] = (amount - 0.2) / 1.6
  out = _stack(augment.color_jitter_by_blends(
      _planes(torch['image']), _draws([[0, 1, 2, 3]], u), recipe))[0]
  np.testing.assert_allclose(out, torch[f'float/{name}/{amount}'], atol=1e-6)
  assert np.abs(np.round(255 * out) - torch[f'pil/{name}/{amount}']).max() <= 1


@pytest.mark.parametrize('turn', [-0.2, 0.1, 0.2])
def test_torchvisions_hue(turn, torch):
  """PIL turns a hue of 8 bits, which is up to ten levels of a colour."""
  recipe = NEUTRAL._replace(jitter=1.0, color='pil', hue=0.4)
  u = [[0.5, 0.5, 0.5, (turn / 0.4 + 1) / 2]]
  out = _stack(augment.color_jitter_by_blends(
      _planes(torch['image']), _draws([[3, 0, 1, 2]], u), recipe))[0]
  np.testing.assert_allclose(out, torch[f'float/hue/{turn}'], atol=2e-6)
  assert np.abs(255 * out - torch[f'pil/hue/{turn}']).max() < 10.5


def test_torchvisions_grayscale(torch):
  out = _stack(augment.grayscale(_planes(torch['image'])))[0]
  # its float weights are ours, PIL's are .299 .587 .114
  np.testing.assert_allclose(out, np.broadcast_to(torch['float/grayscale'], out.shape),
                             atol=1e-6)
  assert np.abs(np.round(255 * out) - torch['pil/grayscale']).max() <= 1


@pytest.mark.parametrize('bounds', [(.4, .4, .4, .1), (.8, .8, .8, .2), (.4, .4, .4, 0)])
def test_torchvisions_jitter_in_all_orders(bounds, torch):
  """The four operations one after another, each by its rule, in numpy."""
  recipe = recipes.Recipe(jitter=1.0, color='pil', **dict(zip(
      ('brightness', 'contrast', 'saturation', 'hue'), bounds)))
  orders = list(itertools.permutations(range(4)))
  u = np.random.default_rng(0).random((24, 4))
  out = _stack(jax.jit(lambda p, d: augment.color_jitter_by_blends(p, d, recipe))(
      _planes(torch['image'], 24), _draws(orders, u)))

  def blended(x, base, factor):
    return np.clip(factor * x + (1 - factor) * base, 0, 1)
  def gray(x):
    return (x @ planes_lib.GRAY_WEIGHTS)[..., None]
  def turned(x, by):  # tested above
    return _stack(augment.adjust_hue_and_saturation(
        _planes(x), jnp.float32([by]), jnp.ones(1)))[0]
  for order, strength, one in zip(orders, (2 * u - 1) * bounds, out):
    x = np.float32(torch['image']) / 255
    for which in order:
      amount = strength[which]
      x = (blended(x, 0, 1 + amount) if which == 0 else
           blended(x, gray(x).mean(), 1 + amount) if which == 1 else
           blended(x, gray(x), 1 + amount) if which == 2 else turned(x, amount))
    np.testing.assert_allclose(one, x, atol=1e-5)


def test_images_without_jitter_stay_equal_to_the_bit(torch):
  planes = _planes(torch['image'], 2)
  draws = _draws([[0, 1, 2, 3]] * 2, np.full((2, 4), 0.9))._replace(
      jitter=jnp.array([0.81, 0.79]))
  out = augment.color_jitter_by_blends(
      planes, draws, recipes.Recipe(color='pil'))
  np.testing.assert_array_equal(_stack(out)[0], _stack(planes)[0])
  assert np.abs(_stack(out)[1] - _stack(planes)[1]).max() > 0.1


@pytest.mark.parametrize('sigma', ['0.1', '0.5', '1', '2'])
def test_infomins_blur(sigma, torch):
  """23 taps and a reflected border; the image is rounded to 8 bits."""
  planes, wide = _planes(torch['blur/image']), jnp.float32([float(sigma)])
  out = augment.gaussian_blur(planes, wide, 'reflect', radius=11)
  difference = np.abs(255 * _stack(out)[0] - torch[f'blur/pycontrast22/sigma{sigma}'])
  assert difference.max() < 1.01
  # MoCo's is made of box passes: near a true Gaussian
  difference = np.abs(255 * _stack(out)[0] - torch[f'blur/pil/sigma{sigma}'])
  assert difference[12:-12, 12:-12].max() < 4.5


def test_a_reflected_border_keeps_a_white_image_white():
  white = (jnp.ones((1, 40, 60)),) * 3
  for plane in augment.gaussian_blur(white, jnp.ones(1), 'reflect'):
    np.testing.assert_allclose(plane, 1, atol=1e-6)
  random = jnp.asarray(np.random.default_rng(0).random((1, 40, 60)), jnp.float32)
  padded = np.pad(random[0], 2, mode='reflect')
  taps = np.exp(-np.arange(-2, 3)**2 / 2)
  taps /= taps.sum()
  across = sum(t * padded[:, k:k + 60] for k, t in enumerate(taps))
  expected = sum(t * across[k:k + 40] for k, t in enumerate(taps))
  out = augment.gaussian_blur((random,) * 3, jnp.ones(1), 'reflect')[0][0]
  np.testing.assert_allclose(out, expected, atol=1e-6)
