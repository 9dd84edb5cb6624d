"""The methods by name, for configs: importing them costs nothing.

A new method is a file in this room with `make(settings) -> method.Method`, and a line
here.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
  """What a config says of a method.

  Attributes:
    module: the file.
    title: the method's name, for people.
    reads: the keys of the config's section `method` that it reads; others are refused.
    heads: of `networks.architectures.HEADS`, with network.heads='auto'.
    target: what method.target='auto' stands for.
    temperature: what method.temperature=None stands for.
  """
  module: str
  title: str
  reads: tuple[str, ...] = ()
  heads: str = 'byol'
  target: str = 'ema'
  temperature: float = 0.1


# config key method.name: what belongs to it
METHODS = {
    'byol': Entry('byol_jax.methods.byol', 'BYOL', ('target', 'beta', 'temperature')),
    'simclr': Entry('byol_jax.methods.simclr', 'SimCLR', ('temperature',), 'simclr',
                    'online'),
    'moco': Entry('byol_jax.methods.moco', 'MoCo v2',
                  ('temperature', 'queue', 'symmetric', 'jigsaw', 'shuffle'), 'moco',
                  'ema', 0.2),
    'simsiam': Entry('byol_jax.methods.simsiam', 'SimSiam', (), 'simsiam', 'stopped'),
}
