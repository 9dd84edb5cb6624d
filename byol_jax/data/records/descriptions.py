"""Reads and checks the JSON files that describe a folder of prepared shards.

A folder per part (`train`, `test`), each with

  images-00003-of-00016.array_record   records: encoded images, as they were or
                                       made smaller
  images-00003-of-00016.json           its names, labels, left-out images, bytes
                                       and SHA-256: its sidecar
  metadata.json                        the whole part: written last, so a folder
                                       that has it is complete
"""

from __future__ import annotations

from collections.abc import Mapping
import json
import os
import re
from typing import Any

from byol_jax.errors import UserError
from byol_jax.storage import paths as paths_lib
from byol_jax.storage import retry

VERSION = 1
METADATA = 'metadata.json'
LOCK = '.prepare.lock'  # in the folder of the parts, from the first moment on
OURS = re.compile(
    r'images-\d+-of-\d+\.(array_record|json)(\.tmp)?'
    r'|(images-\d+-of-\d+\.(array_record|json)|metadata\.json)\.[0-9a-f]{32}\.tmp')

# The keys that the .json files must have, and the types of their values.
_OF_WHOLE = {'fingerprint': str, 'images': int, 'left_out': dict, 'shards': list,
             'class_names': (list, type(None)), 'short_side': int}
_OF_SHARD_IN_WHOLE = {'file': str, 'images': int, 'bytes': int, 'sha256': str}
_OF_SHARD = {'fingerprint': str, 'names': list, 'labels': (list, type(None)),
             'left_out': dict, 'bytes': int, 'sha256': str}


def sidecar(file: str) -> str:
  """Returns the path of a shard's .json."""
  return file.removesuffix('.array_record') + '.json'


def read_metadata(folder: str) -> dict[str, Any] | None:
  """Reads metadata.json; None where there is none."""
  path = os.path.join(folder, METADATA)
  metadata = _read_json(path)
  if metadata is None:
    return None
  if metadata.get('version') != VERSION:
    raise UserError(f'{folder!r} was prepared in version '
                    f'{metadata.get("version")}, this program reads {VERSION}: prepare '
                    'it again')
  _check_kinds(path, metadata, _OF_WHOLE)
  for shard in metadata['shards']:
    _check_kinds(path, shard, _OF_SHARD_IN_WHOLE)
  return metadata


def read_sidecar(file: str) -> dict[str, Any] | None:
  """Reads a shard's .json; None where there is none."""
  path = sidecar(file)
  description = _read_json(path)
  if description is not None:
    _check_kinds(path, description, _OF_SHARD)
    labels = description['labels']
    if labels is not None and (
        len(labels) != len(description['names'])
        or not all(isinstance(k, int) and -1 <= k < 2**31 for k in labels)):
      raise damaged(path, 'its labels do not fit its names')
  return description


def check_shard(folder: str, shard: Mapping[str, Any]) -> dict[str, Any]:
  """Reads a shard's .json, and checks that it fits the shard and metadata.json.

  Args:
    folder: the part's folder.
    shard: the shard's entry in metadata.json.

  Raises:
    UserError: it does not fit. The records themselves are not read.
  """
  file = os.path.join(folder, shard['file'])
  description = read_sidecar(file)
  with paths_lib.reading(file):
    try:
      size, _ = retry.insist(lambda: paths_lib.stat(file), repr(file))
    except FileNotFoundError:
      description = None
  if description is None:
    raise UserError(f'shard {file!r} or its .json is missing: prepare again, which '
                    'makes what is missing')
  if size != shard['bytes']:
    raise UserError(f'shard {file!r} has {size} bytes, not {shard["bytes"]}: it '
                    'is damaged; remove it, and prepare again')
  if (description['sha256'] != shard['sha256']
      or len(description['names']) != shard['images']):
    raise UserError(f'shard {file!r} is of another data set than {METADATA}: remove '
                    'it, and prepare again')
  return description


def damaged(path: str, why: object) -> UserError:
  """Returns the error for a .json that cannot be used."""
  return UserError(
      f'{path!r} is damaged: {why}; if it is a copy, copy it again, otherwise '
      f'remove {os.path.dirname(path)!r} and prepare it again')


def _check_kinds(path: str, description: Any, kinds: Mapping[str, Any]) -> None:
  """Raises UserError unless `description` is a dict with the given keys and types."""
  for key, kind in kinds.items():
    if not isinstance(description, dict) or not isinstance(description.get(key), kind):
      raise damaged(path, f'it has no {key!r} as it should')


def _read_json(path: str) -> dict[str, Any] | None:
  """Reads a JSON object; None where there is no such file."""
  with paths_lib.reading(path):
    try:
      description = json.loads(paths_lib.read_bytes(path))
    except FileNotFoundError:
      return None
    except ValueError as error:
      raise damaged(path, error) from error
  if not isinstance(description, dict):
    raise damaged(path, 'it is not a JSON object')
  return description
