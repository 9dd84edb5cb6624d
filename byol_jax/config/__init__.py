"""What can be said of a run: keys, kinds, rules, and the command line.

A config file starts from `config.base()` and states what differs.
"""

from byol_jax.config.keys import base

__all__ = ['base']
