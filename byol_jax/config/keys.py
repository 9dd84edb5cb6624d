"""All keys of a config, each once: default, kind, help, and the tasks that read it.

The keys stand in config/sections. A config file starts from `base()` and states what
differs.
"""

from __future__ import annotations

from typing import Any

import ml_collections

from byol_jax.config import key as key_lib
from byol_jax.config import names
from byol_jax.config import shard
from byol_jax.config.key import Key
from byol_jax.config.kinds import choice
from byol_jax.config.kinds import path
from byol_jax.config.kinds import whole
from byol_jax.config.sections import evaluation
from byol_jax.config.sections import images
from byol_jax.config.sections import learning
from byol_jax.config.sections import products
from byol_jax.config.sections import running
from byol_jax.config.sections import tools

_GENERAL = key_lib.Sections()
_GENERAL.add(': the run', names.TASKS, free=names.PRETRAIN, task=(
    'pretrain', choice(*names.TASKS), 'what to do'))
_GENERAL.add('', names.TASKS, seed=(
    0, whole(at_least=0, below=2**31), 'what all random numbers follow from'))
_GENERAL.add('', names.PRETRAIN, init_from=(
    '', path(), 'weights to start from: a run, or an encoder as for weights'))
_GENERAL.add('', names.EVALUATING, free=names.EVALUATING, weights=(
    '', path(), 'what is evaluated: WORKDIR, WORKDIR/checkpoints/STEP, an export, or '
    'what others wrote (docs/weights.md)'))
_GENERAL.add('', names.SHARDED, free=names.SHARDED, shard=(
    '', shard.kind(), 'the piece of the images that is the work of this process '
    '(docs/clusters.md); merge: joins the pieces'))

_ALL = (_GENERAL, images.SECTIONS, learning.SECTIONS, running.SECTIONS,
        evaluation.SECTIONS, products.SECTIONS, tools.SECTIONS)
KEYS: dict[str, Key] = {name: key for part in _ALL for name, key in part.keys.items()}


def base() -> ml_collections.ConfigDict:
  """Returns the paper's 1000-epoch run of ResNet-50 (section 3.3), without data."""
  c = ml_collections.ConfigDict()
  for name, key in KEYS.items():
    *sections, last = name.split('.')
    section = c
    for part in sections:
      if part not in section:
        section[part] = ml_collections.ConfigDict()
      section = section[part]
    if key.kind.refusal(None):
      section[last] = key.default
    else:  # a new object each: keys that shared one would share their value
      section[last] = ml_collections.config_dict.placeholder(key.kind.type)
      section[last] = key.default
  return c.lock()


def free(task: str) -> tuple[str, ...]:
  """Returns the keys that may differ when a task goes on: they do not change it."""
  return tuple(name for name, key in KEYS.items()
               if task not in key.tasks or task in key.free)


def unused(task: str) -> tuple[str, ...]:
  """Returns the keys that a task does not read, except those `of_the_weights`."""
  return tuple(name for name, key in KEYS.items()
               if task not in key.tasks and not key.of_the_weights)


def of_the_weights() -> tuple[str, ...]:
  """Returns the keys that evaluations take from the weights."""
  return tuple(name for name, key in KEYS.items() if key.of_the_weights)


def of_the_data() -> tuple[str, ...]:
  """Returns the keys that evaluations of a run's own images take from the run."""
  return tuple(name for name, key in KEYS.items() if key.of_the_data)


def was() -> dict[str, Any]:
  """Returns each key's value for a config that is older than the key."""
  return {name: list(value) if isinstance(value, tuple) else value
          for name, key in KEYS.items()
          for value in [key.default if key.was is None else key.was]}


def described() -> str:
  """Returns the lines of --help, section by section."""
  return '\n'.join(
      f'\n{section}{": " * bool(section)}{title}\n' + '\n'.join(
          key.described(f'config.{name}') for name, key in KEYS.items()
          if name.rpartition('.')[0] == section)
      for part in _ALL for section, title in part.titles.items())
