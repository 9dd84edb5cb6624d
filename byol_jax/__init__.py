"""BYOL self-supervised image pretraining in JAX.

The public names below are imported when they are first used: jax takes seconds.
"""

import importlib
from typing import Any

__version__ = '0.2.0'

_PUBLIC = {
    'preview': 'api', 'pretrain': 'api', 'evaluate': 'api', 'embed': 'api',
    'export': 'api', 'Run': 'api',
    'UserError': 'errors', 'TransientError': 'errors'}
__all__ = ['encoder', *_PUBLIC]


def __getattr__(name: str) -> Any:
  if name == 'encoder':
    return importlib.import_module('byol_jax.encoder')
  if name in _PUBLIC:
    return getattr(importlib.import_module(f'byol_jax.{_PUBLIC[name]}'), name)
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
  return sorted([*globals(), *__all__])
