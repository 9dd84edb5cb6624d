"""Augmentations by name in a config."""

import pytest

from byol_jax.config import augmentations
from byol_jax.config import base
from byol_jax.config import rules
from byol_jax.errors import UserError
from byol_jax.training import build
from byol_jax.views import recipes


@pytest.mark.parametrize('name', recipes.AUGMENTATIONS)
def test_a_config_becomes_the_recipe(name):
  config = base()
  config.data.source = 'fake'
  before = config.data.to_dict()
  augmentations.apply(config, name)
  rules.validate(config)
  spec, chosen = build.view_spec(config), recipes.AUGMENTATIONS[name]
  assert spec.recipes == chosen[:2]
  assert (spec.area, spec.sampler) == (chosen.area, chosen.sampler)
  assert spec.mean == (before['mean'] if chosen.normalized else (0, 0, 0))
  assert spec.std == (before['std'] if chosen.normalized else (1, 1, 1))


def test_byols_is_the_default():
  config = base()
  augmentations.apply(config, 'byol')
  assert config.to_json() == base().to_json()


def test_an_unknown_name():
  with pytest.raises(UserError, match=r"'moco2' \(did you mean moco_v2\?\): one of byol"):
    augmentations.apply(base(), 'moco2')
