"""Small files and JSON, written whole or not at all; nested values as flat names."""

from __future__ import annotations

from collections.abc import Mapping
import json
import math
import os
from typing import Any

import numpy as np


def flatten(config: Any, prefix: str = '') -> dict[str, Any]:
  """Returns a nested config as {'data.path': value, ...}; a tuple becomes a list."""
  flat = {}
  for key, value in config.items():
    if hasattr(value, 'items'):  # a dict or a ConfigDict
      flat |= flatten(value, f'{prefix}{key}.')
    else:
      flat[prefix + key] = list(value) if isinstance(value, tuple) else value
  return flat


def write_json(path: str | os.PathLike, obj: Any):
  """Writes a whole JSON file or leaves the old one; NaN becomes null."""
  text = json.dumps(plain(obj), indent=2, allow_nan=False) + '\n'
  write_bytes(os.fspath(path), text.encode())


def read_json(path: str | os.PathLike) -> Any:
  """What `write_json` wrote; None where there is nothing, or nothing of use."""
  try:
    with open(path, 'rb') as f:
      return parse_json(f.read())
  except OSError:
    return None


def parse_json(data: bytes) -> Any:
  """The value; None of what is no JSON."""
  try:
    return json.loads(data)
  except (ValueError, RecursionError):
    return None


def write_bytes(path: str, data: bytes) -> None:
  """Writes a whole file or leaves the old one."""
  temporary = f'{path}.tmp'
  with open(temporary, 'wb') as f:
    f.write(data)
    f.flush()
    os.fsync(f.fileno())
  os.replace(temporary, path)


def plain(value: Any) -> Any:
  """What JSON can hold: NaN and infinity, which it cannot, become null."""
  if isinstance(value, Mapping):
    return {str(key): plain(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [plain(item) for item in value]
  if hasattr(value, '__array__'):  # numpy's and jax's
    return plain(np.asarray(value).tolist())
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value
