"""The augmentations by name: BYOL's T and T', and those of other methods.

A name in AUGMENTATIONS stands for two recipes and the crops that go with them, as
published. `config.augmentations.apply` writes them into a config. What differs from the
originals is in docs/augmentations.md.
"""

from __future__ import annotations

from typing import NamedTuple

from byol_jax.data.images import crops


class Recipe(NamedTuple):
  """The operations on a view: probabilities and ranges; 0 leaves an operation out.

  The defaults are T's, a column of table 6; the last fields are of other methods.
  """
  flip: float = 0.5
  jitter: float = 0.8
  brightness: float = 0.4       # delta in +-brightness, or factor in 1 +- brightness
  contrast: float = 0.4         # factor in 1 +- contrast, around a mean
  saturation: float = 0.2       # factor in 1 +- saturation
  hue: float = 0.1              # delta in +-hue of a turn
  grayscale: float = 0.2
  blur: float = 1.0
  blur_sigma: tuple[float, float] = (0.1, 2.0)  # pixels
  solarize: float = 0.0
  solarize_threshold: float = 0.5
  brightness_mode: str = 'add'  # or 'times', as SimCLR v2
  color: str = 'tf'            # contrast around each plane's mean, saturation in HSV;
                                # 'pil': around the mean of gray, blend with gray
  blur_border: str = 'zero'     # or 'reflect', as InfoMin
  randaugment: int = 0          # layers, each of one of 15 operations, p 1/2
  randaugment_magnitude: float = 10.0  # its mean, of at most 10


class Augmentation(NamedTuple):
  """How the two views of an image are made: recipes and crops.

  Attributes:
    view1: the recipe of the first view.
    view2: that of the second.
    area: range of a crop's share of the image.
    sampler: how it is drawn, one of `crops.SAMPLERS`.
    normalized: False: views stay in [0, 1], with mean 0 and deviation 1.
  """
  view1: Recipe
  view2: Recipe
  area: tuple[float, float] = crops.AREA
  sampler: str = 'byol'
  normalized: bool = True


# BYOL (arXiv:2006.07733), appendix B, table 6.
T = Recipe()
T_PRIME = Recipe(blur=0.1, solarize=0.2)


def simclr_v1(strength: float = 1.0) -> Recipe:
  """Makes the recipe of SimCLR (arXiv:2002.05709, appendix A), of a colour strength.

  Source: google-research/simclr, tf2/data_util.py, color_jitter_impl 'simclrv1'.
  """
  return Recipe(brightness=0.8 * strength, contrast=0.8 * strength,
                saturation=0.8 * strength, hue=0.2 * strength, blur=0.5)


def simclr_v2(strength: float = 1.0) -> Recipe:
  """Makes the recipe that SimCLR's code has by default: brightness is a factor.

  Source: google-research/simclr, tf2/data_util.py, color_jitter_impl 'simclrv2'.
  """
  return simclr_v1(strength)._replace(brightness_mode='times')


SIMCLR_V1, SIMCLR_V2 = simclr_v1(), simclr_v2()
# MoCo v2 (arXiv:2003.04297): facebookresearch/moco, main_moco.py --aug-plus.
MOCO_V2 = Recipe(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, blur=0.5,
                 color='pil', blur_border='reflect')
# SimSiam (arXiv:2011.10566): facebookresearch/simsiam, main_simsiam.py.
SIMSIAM = MOCO_V2
# InfoMin (arXiv:2005.10243): HobbitLong/PyContrast, augmentation 'D'.
INFOMIN = Recipe(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, blur=0.5,
                 color='pil', blur_border='reflect', randaugment=2)

_CROP = Recipe(flip=0.0, jitter=0.0, grayscale=0.0, blur=0.0, solarize=0.0)


def _both(recipe: Recipe, **crop: object) -> Augmentation:
  return Augmentation(recipe, recipe, **crop)


def _simclr(recipe: Recipe) -> Augmentation:
  return _both(recipe, sampler='tf', normalized=False)


def _byol(**changes: float) -> Augmentation:
  return Augmentation(T._replace(**changes), T_PRIME._replace(**changes))


AUGMENTATIONS: dict[str, Augmentation] = {
    'byol': _byol(),
    'simclr_v1': _simclr(SIMCLR_V1),
    'simclr_v2': _simclr(SIMCLR_V2),
    'simclr_cifar10': _simclr(simclr_v2(0.5)._replace(blur=0.0)),
    'moco_v2': _both(MOCO_V2, area=(0.2, 1.0), sampler='torchvision'),
    'infomin': _both(INFOMIN, area=(0.2, 1.0), sampler='torchvision'),
    'simsiam': _both(SIMSIAM, area=(0.2, 1.0), sampler='torchvision'),
    # BYOL, table 17, row by row
    'table17/remove_flip': _byol(flip=0.0),
    'table17/remove_blur': _byol(blur=0.0),
    'table17/remove_color': _byol(jitter=0.0, grayscale=0.0),
    'table17/remove_jitter': _byol(jitter=0.0),
    'table17/remove_grayscale': _byol(grayscale=0.0),
    'table17/remove_blur_in_t_prime': Augmentation(T, T_PRIME._replace(blur=0.0)),
    'table17/remove_solarize_in_t_prime': Augmentation(
        T, T_PRIME._replace(solarize=0.0)),
    'table17/remove_both_in_t_prime': Augmentation(
        T, T_PRIME._replace(blur=0.0, solarize=0.0)),
    'table17/symmetric': _both(Recipe(blur=0.5, solarize=0.2)),
    'table17/crop_only': _both(_CROP),
    'table17/crop_and_flip': _both(_CROP._replace(flip=T.flip)),
    'table17/crop_and_color': _both(_CROP._replace(
        jitter=T.jitter, grayscale=T.grayscale)),
    'table17/crop_and_blur': Augmentation(_CROP._replace(blur=T.blur),
                                          _CROP._replace(blur=T_PRIME.blur))}
