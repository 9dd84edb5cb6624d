"""The augmentations by name: the paper's T and T' (appendix B, table 6)."""

from __future__ import annotations

from typing import NamedTuple


class Recipe(NamedTuple):
  """What is done to a view: probabilities and ranges; 0 leaves an operation out.

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
  colour: str = 'tf'            # contrast around each plane's mean, saturation in HSV;
                                # 'pil': around the mean of gray, blend with gray
  blur_border: str = 'zero'     # or 'reflect', as InfoMin
  randaugment: int = 0          # layers, each of one of 15 operations, p 1/2
  randaugment_magnitude: float = 10.0  # its mean, of at most 10


T = Recipe()
T_PRIME = Recipe(blur=0.1, solarize=0.2)
