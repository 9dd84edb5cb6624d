"""Makes the views that the networks see: random in training, centred in evaluation."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from byol_jax.data.images import crops
from byol_jax.views import augment
from byol_jax.views import crop as crop_lib
from byol_jax.views import draws as draws_lib
from byol_jax.views import jigsaw as jigsaw_lib
from byol_jax.views import randaugment
from byol_jax.views import recipes


class Views(NamedTuple):
  """The views of n images.

  Attributes:
    images: [V, n, S, S, 3], normalized.
    tiles: [n, 9, s, s, 3], of a jigsaw, each image's in an order of its own; None
      without one.
    order: float32 [n], uniform draws whose ranks shuffle a batch (MoCo).
  """
  images: jax.Array
  tiles: jax.Array | None = None
  order: jax.Array | None = None


class ViewSpec(NamedTuple):
  """The rule by which views are made; static values.

  Attributes:
    image_size: side of a view in pixels.
    area: range of the random crop's share of the image's area.
    aspect: range of its width / height.
    recipes: the augmentations of each view; two for BYOL.
    mean: per channel, of images in [0, 1].
    std: per channel.
    sampler: how crops are drawn, one of `crops.SAMPLERS`.
    jigsaw: how one more crop is cut into tiles; None: there is none.
  """
  image_size: int = 224
  area: tuple[float, float] = crops.AREA
  aspect: tuple[float, float] = crops.ASPECT
  recipes: tuple[recipes.Recipe, ...] = (recipes.T, recipes.T_PRIME)
  mean: tuple[float, ...] = (0.485, 0.456, 0.406)
  std: tuple[float, ...] = (0.229, 0.224, 0.225)
  sampler: str = 'byol'
  jigsaw: crops.Jigsaw | None = None

  @property
  def crop(self) -> crops.CropSpec:
    """Returns how the host cuts the views of streamed images."""
    return crops.CropSpec(self.image_size, len(self.recipes), self.area, self.aspect,
                          self.sampler, self.jigsaw)


def make(shared: dict[str, jax.Array], step: jax.Array, batch: dict[str, jax.Array],
         spec: ViewSpec) -> Views:
  """Makes the views of a batch, whichever way it is fed.

  Args:
    shared: the arrays on the devices: the run's 'key', and the data set's 'images'
      where only indices travel.
    step: int32 scalar.
    batch: as for `from_crops` or `from_resident`.
    spec: how.

  Returns:
    Normalized views, float32, one for each of the recipes, and tiles if the spec has a
    jigsaw.
  """
  if 'views' in batch:
    images = from_crops(shared['key'], step, batch, spec)
  else:
    images = from_resident(shared['key'], step, shared['images'], batch, spec)
  return Views(images, _tiles(shared, step, batch, spec),
               draws_lib.order(shared['key'], step, batch['examples']))


def from_resident(key: jax.Array, step: jax.Array, images: jax.Array,
                  batch: dict[str, jax.Array], spec: ViewSpec) -> jax.Array:
  """Makes views of images that live on the device: crops, then augments.

  Args:
    key: the run's key.
    step: int32 scalar.
    images: the whole data set, uint8 [N, H, W, 1 or 3].
    batch: 'rows' int32 [n], which images; 'examples' int32 [n], their global
      example indices.
    spec: how.

  Returns:
    Normalized views [V, n, S, S, 3], float32, one for each of the recipes.
  """
  chosen = images[batch['rows']]
  def view(i):
    draws = draws_lib.of_view(key, step, batch['examples'], i)
    u = draws.crop
    if spec.sampler != 'byol':
      u = _crop_draws(key, step, batch, spec, i)
    planes = crop_lib.random_resized_crop(
        chosen, u, spec.image_size, spec.area, spec.aspect, spec.sampler)
    return _finish(key, step, batch, planes, draws, spec, i)
  return jnp.stack([view(i) for i in range(len(spec.recipes))])


def from_crops(key: jax.Array, step: jax.Array, batch: dict[str, jax.Array],
               spec: ViewSpec) -> jax.Array:
  """Makes views of images that the host has cropped.

  Args:
    key: the run's key.
    step: int32 scalar.
    batch: 'views' uint8 [n, V, S, S, 3]; 'examples' int32 [n].
    spec: how.

  Returns:
    Normalized views [V, n, S, S, 3], float32, one for each of the recipes.
  """
  def view(i):
    draws = draws_lib.of_view(key, step, batch['examples'], i)
    planes = crop_lib.to_planes(batch['views'][:, i])
    return _finish(key, step, batch, planes, draws, spec, i)
  return jnp.stack([view(i) for i in range(len(spec.recipes))])


def _tiles(shared: dict[str, jax.Array], step: jax.Array,
           batch: dict[str, jax.Array], spec: ViewSpec) -> jax.Array | None:
  """Makes tiles [n, 9, tile, tile, 3] of one more crop; None without a jigsaw.

  Arguments are as for `make`; streamed images have their crop in the batch's 'jigsaw',
  uint8 [n, size, size, 3].
  """
  if spec.jigsaw is None:
    return None
  key, examples, no_view = shared['key'], batch['examples'], draws_lib.NO_VIEW
  if 'views' in batch:
    planes = crop_lib.to_planes(batch['jigsaw'])
  else:
    planes = crop_lib.random_resized_crop(
        shared['images'][batch['rows']], _crop_draws(key, step, batch, spec, no_view),
        spec.jigsaw.size, spec.jigsaw.area, spec.aspect, spec.sampler)
  u = draws_lib.further(key, step, examples, no_view, draws_lib.TILES,
                        jigsaw_lib.DRAWS)
  tiles = augment.normalize(jigsaw_lib.cut(planes, u, spec.jigsaw), spec.mean, spec.std)
  return jax.lax.stop_gradient(tiles)


def _crop_draws(key, step, batch, spec: ViewSpec, i: int) -> jax.Array:
  return draws_lib.further(key, step, batch['examples'], i, draws_lib.CROP,
                           crops.draws(spec.sampler))


def _finish(key, step, batch, planes, draws, spec: ViewSpec, i: int) -> jax.Array:
  recipe, layers = spec.recipes[i], None
  if recipe.randaugment:
    shape = (recipe.randaugment, randaugment.DRAWS)
    layers = draws_lib.further(
        key, step, batch['examples'], i, draws_lib.RANDAUGMENT, math.prod(shape)
    ).reshape(-1, *shape)
  planes = augment.augment(planes, draws, recipe, layers)
  images = augment.normalize(planes, spec.mean, spec.std)
  return jax.lax.stop_gradient(images)


def for_evaluation(images: jax.Array, spec: ViewSpec,
                   center_share: float = crops.CENTER_SHARE) -> jax.Array:
  """Makes centre crops, resized and normalized.

  Args:
    images: uint8 [n, H, W, 1 or 3].
    spec: for the size, mean and std.
    center_share: the crop's share of the shorter side: 224/256 in the paper
      (appendix C.1), 1 where images are small and centred already.

  Returns:
    [n, S, S, 3] float32.
  """
  height, width = images.shape[1:3]
  top, left, h, w = crops.center_box(height, width, center_share)
  size = spec.image_size
  if (height, width) == (size, size) == (h, w):
    planes = crop_lib.to_planes(images)
  else:
    n = images.shape[0]
    planes = crop_lib.crop_and_resize(
        images, *(jnp.full((n,), side) for side in (top, left, h, w)), size)
  return augment.normalize(planes, spec.mean, spec.std)
