"""Writes augmentations by name into a config."""

from __future__ import annotations

import ml_collections

from byol_jax.config import kinds
from byol_jax.errors import UserError
from byol_jax.views import recipes


def apply(config: ml_collections.ConfigDict, name: str) -> None:
  """Sets augment.view1 and view2, and how crops are drawn, to what was published.

  Where the original does not normalize (SimCLR), data.mean becomes 0 and data.std 1.

  Args:
    config: changed in place.
    name: a key of `recipes.AUGMENTATIONS`.

  Raises:
    UserError: there is no such name.
  """
  if name not in recipes.AUGMENTATIONS:
    raise UserError(f'there are no augmentations {name!r}'
                    f'{kinds.nearest(name, list(recipes.AUGMENTATIONS))}: one of '
                    f'{", ".join(recipes.AUGMENTATIONS)}')
  chosen = recipes.AUGMENTATIONS[name]
  config.augment.view1.update(chosen.view1._asdict())
  config.augment.view2.update(chosen.view2._asdict())
  config.data.crop_area = chosen.area
  config.data.crop_sampler = chosen.sampler
  if not chosen.normalized:
    config.data.mean, config.data.std = (0.0,) * 3, (1.0,) * 3
