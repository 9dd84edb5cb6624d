"""The recipes by name are the published ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.data.images import crops
from byol_jax.views import crop as crop_lib
from byol_jax.views import draws as draws_lib
from byol_jax.views import make as views_lib
from byol_jax.views import recipes

JITTER = ('brightness', 'contrast', 'saturation', 'hue')


def _jitter(recipe):
  return tuple(getattr(recipe, name) for name in JITTER)


@pytest.mark.parametrize('name, jitter, blur, area, sampler', [
    ('byol', (.4, .4, .2, .1), (1.0, 0.1), (.08, 1), 'byol'),
    ('simclr_v1', (.8, .8, .8, .2), (.5, .5), (.08, 1), 'tf'),
    ('simclr_v2', (.8, .8, .8, .2), (.5, .5), (.08, 1), 'tf'),
    ('simclr_cifar10', (.4, .4, .4, .1), (0, 0), (.08, 1), 'tf'),
    ('moco_v2', (.4, .4, .4, .1), (.5, .5), (.2, 1), 'torchvision'),
    ('infomin', (.8, .8, .8, .2), (.5, .5), (.2, 1), 'torchvision'),
    ('simsiam', (.4, .4, .4, .1), (.5, .5), (.2, 1), 'torchvision')])
def test_the_published_values(name, jitter, blur, area, sampler):
  chosen = recipes.AUGMENTATIONS[name]
  for recipe in chosen[:2]:
    assert _jitter(recipe) == pytest.approx(jitter)
    assert (recipe.flip, recipe.jitter, recipe.grayscale) == (0.5, 0.8, 0.2)
    assert recipe.blur_sigma == (0.1, 2.0)
    assert recipe.randaugment == (2 if name == 'infomin' else 0)
    assert recipe.randaugment_magnitude == 10
    assert recipe.brightness_mode == (
        'times' if name in ('simclr_v2', 'simclr_cifar10') else 'add')
    is_torch = sampler == 'torchvision'
    assert recipe.color == ('pil' if is_torch else 'tf')
    assert recipe.blur_border == ('reflect' if is_torch else 'zero')
  assert (chosen.view1.blur, chosen.view2.blur) == blur
  assert (chosen.view1.solarize, chosen.view2.solarize) == (
      (0, 0.2) if name == 'byol' else (0, 0))
  assert chosen.area == area and chosen.sampler == sampler
  assert chosen.normalized == (sampler != 'tf')


def test_the_strength_scales_the_jitter_only():
  half = recipes.simclr_v2(0.5)
  assert _jitter(half) == pytest.approx((.4, .4, .4, .1))
  assert half._replace(**dict(zip(JITTER, (.8, .8, .8, .2)))) == recipes.SIMCLR_V2
  assert recipes.SIMCLR_V1 == recipes.SIMCLR_V2._replace(brightness_mode='add')


def test_the_rows_of_table_17():
  rows = {name.partition('/')[2]: chosen for name, chosen in recipes.AUGMENTATIONS.items()
          if name.startswith('table17/')}
  assert len(rows) == 13
  for name, chosen in rows.items():
    assert chosen[2:] == recipes.AUGMENTATIONS['byol'][2:]  # crops never change
    if name.startswith('remove_'):
      changed = [[field for field in recipes.Recipe._fields
                  if getattr(recipe, field) != getattr(of, field)]
                 for recipe, of in zip(chosen, (recipes.T, recipes.T_PRIME))]
      assert changed[0] == [] if name.endswith('_prime') else changed[0] == changed[1]
      assert all(getattr(chosen.view2, field) == 0 for field in changed[1])
  only = rows['crop_only'].view1
  assert [only.flip, only.jitter, only.grayscale, only.blur, only.solarize] == [0] * 5
  assert rows['crop_and_color'].view2 == only._replace(jitter=0.8, grayscale=0.2)
  assert rows['symmetric'].view1 == rows['symmetric'].view2
  assert rows['symmetric'].view1 == recipes.Recipe(blur=0.5, solarize=0.2)


def test_crop_only_is_the_crop():
  """Nothing else is done, and the crop is that of the full recipe."""
  only = recipes.AUGMENTATIONS['table17/crop_only']
  images = np.random.default_rng(0).integers(0, 256, (4, 24, 30, 3)).astype(np.uint8)
  batch = {name: jnp.arange(4) for name in ('rows', 'examples')}
  def views(spec):
    return views_lib.from_resident(jax.random.PRNGKey(0), jnp.int32(1), images, batch,
                                   spec._replace(mean=(0,) * 3, std=(1,) * 3))
  out = views(views_lib.ViewSpec(image_size=12, recipes=only[:2]))
  draws = [draws_lib.of_view(jax.random.PRNGKey(0), jnp.int32(1), jnp.arange(4), i)
           for i in range(2)]
  for view, d in zip(out, draws):
    planes = crop_lib.random_resized_crop(images, d.crop, 12)
    np.testing.assert_allclose(view, np.stack(planes, -1), atol=1e-6)
  # and without a crop: a square image as it is
  out = views_lib.from_resident(
      jax.random.PRNGKey(0), jnp.int32(1), images[:, :, :24], batch, views_lib.ViewSpec(
          image_size=24, area=(1, 1), aspect=(1, 1), recipes=only[:2], mean=(0,) * 3,
          std=(1,) * 3))
  np.testing.assert_allclose(out[1], images[:, :, :24] / 255., atol=1e-6)


def test_names_of_samplers():
  assert {chosen.sampler for chosen in recipes.AUGMENTATIONS.values()} == set(crops.SAMPLERS)
