"""The augmentations by name: the paper's T and T' (appendix B, table 6)."""

from __future__ import annotations

from typing import NamedTuple


class Recipe(NamedTuple):
  """One column of table 6: probabilities and ranges. The defaults are T's."""
  flip: float = 0.5
  jitter: float = 0.8
  brightness: float = 0.4       # delta in +-brightness, added
  contrast: float = 0.4         # factor in 1 +- contrast, around each plane's mean
  saturation: float = 0.2       # factor in 1 +- saturation
  hue: float = 0.1              # delta in +-hue of a turn
  grayscale: float = 0.2
  blur: float = 1.0
  blur_sigma: tuple[float, float] = (0.1, 2.0)  # pixels
  solarize: float = 0.0
  solarize_threshold: float = 0.5


T = Recipe()
T_PRIME = Recipe(blur=0.1, solarize=0.2)
