"""The config of a run: keys, kinds of values, rules, and the command line.

A config file starts from `config.base()` and states what differs.
"""

from byol_jax.config.keys import base

__all__ = ['base']
