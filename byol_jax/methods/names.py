"""The methods by name, for configs: importing them costs nothing.

A new method is a file in this room with `make(settings) -> method.Method`, and a line
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from byol_jax.networks import architectures


class Entry(NamedTuple):
  """The values by which a config knows a method.

  Attributes:
    module: the file.
    title: the method's name, for people.
    reads: the keys of the config's section `method` that it reads; others are refused.
    heads: of `networks.architectures.HEADS`, with network.heads='auto'.
    target: what method.target='auto' stands for.
    temperature: what method.temperature=None stands for.
    joint_statistics: whether all views are normalized together, see `method.Method`.
    needs_predictor: whether it collapses without one, whatever else is set.
  """
  module: str
  title: str
  reads: tuple[str, ...] = ()
  heads: str = 'byol'
  target: str = 'ema'
  temperature: float = 0.1
  joint_statistics: bool = False
  needs_predictor: bool = False


# config key method.name: what belongs to it
METHODS = {
    'byol': Entry('byol_jax.methods.byol', 'BYOL',
                  ('target', 'beta', 'temperature', 'optimal_predictor')),
    'simclr': Entry('byol_jax.methods.simclr', 'SimCLR', ('temperature',), 'simclr',
                    'online', joint_statistics=True),
    'moco': Entry('byol_jax.methods.moco', 'MoCo v2',
                  ('temperature', 'queue', 'symmetric', 'jigsaw', 'shuffle'), 'moco',
                  'ema', 0.2),
    'simsiam': Entry('byol_jax.methods.simsiam', 'SimSiam', (), 'simsiam', 'stopped',
                     needs_predictor=True),
}
# MoCo with a jigsaw: its name in results, and its title
_INFOMIN = ('infomin', 'InfoMin')


def result_name(method: Mapping[str, Any]) -> str:
  """Returns the name in results for a config's section `method`."""
  return _INFOMIN[0] if method.get('jigsaw') else method['name']


def title(name: str) -> str:
  """Returns a `result_name` for people; the name itself where no method has it."""
  titles = {key: entry.title for key, entry in METHODS.items()} | dict([_INFOMIN])
  return titles.get(name, name)


def heads(method: str, chosen: str) -> architectures.Heads:
  """Returns the form of the heads for config keys method.name and network.heads."""
  return architectures.HEADS[METHODS[method].heads if chosen == 'auto' else chosen]
