"""The cells of a study: configs that differ in stated keys, written as a text.

A text is 'NAME: KEY=VALUE KEY=VALUE; NAME: KEY=VALUE; ...'. A name alone changes
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
import re
from typing import Any

import ml_collections

from byol_jax.config import keys as keys_lib
from byol_jax.config import kinds
from byol_jax.config import rules
from byol_jax.errors import UserError
from byol_jax.methods import names as method_names
from byol_jax.storage import files as files_lib

_NAME = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.+-]{0,59}')  # of a folder, anywhere
_NOT_CHANGED = ('task', 'seed', 'evaluation.final')  # a study sets them itself


def read(where: str, text: str) -> dict[str, dict[str, Any]]:
  """Reads a text; returns {name: {key: value}}, in the order of the text.

  Args:
    where: the key that the text is of, for messages.
    text: cells, as at the top of this file.

  Raises:
    UserError: the text cannot be read, two cells have one name, a key is unknown or
      not of a pretraining, or a value is none of the key's.
  """
  found = {}
  for part in filter(None, (part.strip() for part in text.split(';'))):
    name, colon, changes = (x.strip() for x in part.partition(':'))
    if not _NAME.fullmatch(name) or (colon and not changes and '=' in name):
      raise UserError(f'config key {where} has the part {kinds.shown(part)}: write '
                      "'NAME: KEY=VALUE KEY=VALUE; NAME: KEY=VALUE'; a name has at "
                      'most 60 letters, digits, _ . + -')
    if name in found:
      raise UserError(f'config key {where} has two cells of the name {name}: give each '
                      'its own')
    found[name] = _changes(f'config key {where}, cell {name}', changes)
  return found


def _changes(where: str, text: str) -> dict[str, Any]:
  """Reads 'KEY=VALUE KEY=VALUE'; a value may hold spaces."""
  changes = {}
  for part in filter(None, re.split(r'\s+(?=[\w.]+=)', text)):
    key, equals, value = part.partition('=')
    if not equals:
      raise UserError(f'{where}: {kinds.shown(part)} is not KEY=VALUE')
    if key not in keys_lib.KEYS:
      raise UserError(f'{where}: {rules.unknown(key)}')
    if key in changes:
      raise UserError(f'{where}: {key} stands there twice')
    if key in _NOT_CHANGED or 'pretrain' not in keys_lib.KEYS[key].tasks:
      raise UserError(f'{where}: {key} cannot differ between the cells of a study'
                      + (': set --config.study.seeds' if key == 'seed' else ''))
    changes[key] = keys_lib.KEYS[key].kind.read(f'{where}: {key}', value)
  return changes


def written(cells: Mapping[str, Mapping[str, Any]]) -> str:
  """Returns the text that `read` makes such cells of."""
  return '; '.join(f'{name}: ' + ' '.join(
      f'{key}={as_text(value)}' for key, value in changes.items())
      for name, changes in cells.items())


def as_text(value: Any) -> str:
  """Returns a value as the command line takes it."""
  if isinstance(value, str):
    return value
  return repr(tuple(value)) if isinstance(value, (list, tuple)) else repr(value)


def by_method(text: str) -> dict[str, dict[str, Any]]:
  """Reads config key study.by_method; returns {method: {key: value}}.

  Raises:
    UserError: like `read`; or a name is no method's, or its settings name another one.
  """
  found = read('study.by_method', text)
  for name, changes in found.items():
    if (other := changes.get('method.name', name)) != name:
      raise UserError('config key study.by_method has method.name='
                      f'{other} among the settings of {name}: leave it out')
    if name not in method_names.METHODS:
      raise UserError(f'config key study.by_method has the name {name!r}, it must be '
                      f'one of {", ".join(method_names.METHODS)}')
  return found


def make(config: ml_collections.ConfigDict, name: str, changes: Mapping[str, Any],
         seed: int) -> ml_collections.ConfigDict:
  """Makes the config of one run of a cell.

  Args:
    config: the study's.
    name: the cell's, for messages.
    changes: what differs from the study's config.
    seed: the run's.

  Raises:
    UserError: the rules of a config refuse the cell's.
  """
  cell = config.copy_and_resolve_references()
  studys = {key: entry.default for key, entry in keys_lib.KEYS.items()
            if key.startswith('study.')}
  with cell.ignore_type():
    cell.update_from_flattened_dict(
        studys | dict(changes) | {'task': 'pretrain', 'seed': seed})
  try:
    rules.validate(cell)
  except UserError as error:
    raise UserError(f'cell {name} of the study: {error}') from error
  return cell.lock()


def with_method(changes: Mapping[str, Any], method: str,
                settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
  """Adds the settings of a cell's method to its changes, which win.

  Args:
    changes: the cell's.
    method: the study's method.name, for cells that do not change it.
    settings: `by_method`'s.
  """
  return dict(settings.get(changes.get('method.name', method), {})) | dict(changes)


def differences(config: ml_collections.ConfigDict,
                base: ml_collections.ConfigDict) -> dict[str, Any]:
  """Returns a config's values of the keys in which it differs from another."""
  other = files_lib.flatten(base)
  return {key: value for key, value in files_lib.flatten(config).items()
          if value != other[key]}


def arguments(config: ml_collections.ConfigDict) -> list[str]:
  """Returns the arguments that make a pretraining's config from `base()`."""
  return [f'--config.{key}={as_text(value)}'
          for key, value in differences(config, keys_lib.base()).items()
          if 'pretrain' in keys_lib.KEYS[key].tasks]
