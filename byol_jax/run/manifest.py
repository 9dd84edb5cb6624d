"""The manifest of a checkpoint, with which every wrong array is found.

Storage flips bits. orbax does not notice this in the arrays, casts dtypes without a
warning, and knows nothing of the run. So a manifest in JSON lies beside the arrays: the
name, shape, dtype and CRC-32 of each leaf, the config and other values of the run, a
format version, and the SHA-256 of the rest of the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent import futures
import hashlib
import json
from typing import Any
import zlib

import numpy as np

from byol_jax.errors import UserError

FORMAT = 1
_MOST_DIFFERENCES = 5
_MOST_SHOWN = 200  # characters of a value in a message

Leaf = tuple[tuple[int, ...], str]  # shape and dtype


class DamagedError(Exception):
  """A checkpoint is not as it was written."""


def make(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> dict:
  """Makes the manifest of some arrays.

  Args:
    arrays: the leaves by name.
    meta: JSON to keep beside them.

  Returns:
    JSON of lists, dicts, strings and numbers.
  """
  with futures.ThreadPoolExecutor() as pool:  # zlib lets go of Python's lock
    sums = list(pool.map(crc32, arrays.values()))
  body = {
      'format': FORMAT,
      'meta': dict(meta),
      'leaves': {name: {'shape': list(array.shape), 'dtype': str(array.dtype),
                        'crc32': crc}
                 for (name, array), crc in zip(arrays.items(), sums)},
  }
  body = json.loads(json.dumps(body))  # tuples are lists from here on
  return body | {'sha256': _sha256(body)}


def check(manifest: Any) -> None:
  """Checks that a manifest is sound and of a version that can be read.

  Raises:
    DamagedError: it is not as `make` made it.
    UserError: a newer byol_jax wrote it.
  """
  if not isinstance(manifest, dict) or not _is_whole(manifest):
    raise DamagedError('its manifest is damaged or missing')
  if manifest.get('format') != FORMAT:
    format_name = str(manifest.get('format'))[:_MOST_SHOWN]
    raise UserError(
        f'the checkpoint has format {format_name}, this byol_jax reads format '
        f'{FORMAT}: use the version of byol_jax that wrote it')
  # a right sum does not prove that `make` wrote it
  if not isinstance(manifest.get('meta'), dict) or not isinstance(
      manifest.get('leaves'), dict) or not all(
          map(_is_leaf, manifest['leaves'].values())):
    raise DamagedError('its manifest is not one that byol_jax writes')


def _is_whole(manifest: Mapping[str, Any]) -> bool:
  body = {key: value for key, value in manifest.items() if key != 'sha256'}
  try:
    return manifest.get('sha256') == _sha256(body)
  except RecursionError:  # lists within lists within lists
    return False


def _is_leaf(leaf: Any) -> bool:
  return (isinstance(leaf, dict) and isinstance(leaf.get('shape'), list)
          and all(type(n) is int and n >= 0 for n in leaf['shape'])
          and isinstance(leaf.get('dtype'), str) and type(leaf.get('crc32')) is int)


def leaves(manifest: Mapping[str, Any]) -> dict[str, Leaf]:
  """Returns shape and dtype of each leaf, by name."""
  return {name: (tuple(leaf['shape']), leaf['dtype'])
          for name, leaf in manifest['leaves'].items()}


def check_array(manifest: Mapping[str, Any], name: str, array: np.ndarray) -> None:
  """Raises DamagedError if a leaf that was read is not the one written."""
  leaf = manifest['leaves'][name]
  if (list(array.shape) != leaf['shape'] or str(array.dtype) != leaf['dtype']
      or crc32(array) != leaf['crc32']):
    raise DamagedError(f'{name} is not the array that was saved')


def differences(saved: Mapping[str, Leaf], expected: Mapping[str, Leaf]) -> str:
  """Lists the first leaves that are missing, unknown or of another kind; '' if none."""
  def text(leaf: Leaf | None) -> str:
    return f'{leaf[1]}{list(leaf[0])}' if leaf else 'missing'
  lines = [f'{name[:_MOST_SHOWN]}: {text(saved.get(name))[:_MOST_SHOWN]} / '
           f'{text(expected.get(name))}'
           for name in dict.fromkeys([*expected, *saved])
           if saved.get(name) != expected.get(name)]
  more = len(lines) - _MOST_DIFFERENCES
  if more > 0:
    lines[_MOST_DIFFERENCES:] = [f'and {more} more']
  return '\n  '.join(lines)


def crc32(array: np.ndarray) -> int:
  """Returns the CRC-32 of an array's bytes: it finds every flipped bit, at 3 GB/s."""
  return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def _sha256(body: Mapping[str, Any]) -> str:
  return hashlib.sha256(
      json.dumps(body, sort_keys=True, allow_nan=True).encode()).hexdigest()
