"""Writes small files and JSON whole or not at all; gives nested values flat names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import contextlib
import json
import math
import os
from typing import Any, BinaryIO
import uuid

from etils import epath
import numpy as np

from byol_jax import errors
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.storage import paths as paths_lib


def flatten(config: Any, prefix: str = '') -> dict[str, Any]:
  """Returns a nested config as {'data.path': value, ...}; a tuple becomes a list."""
  flat = {}
  for key, value in config.items():
    if hasattr(value, 'items'):  # a dict or a ConfigDict
      flat |= flatten(value, f'{prefix}{key}.')
    else:
      flat[prefix + key] = list(value) if isinstance(value, tuple) else value
  return flat


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
  """Turns an error of the disk into a TransientError that names what was written."""
  try:
    yield
  except OSError as error:
    raise TransientError(f'cannot write {path} ({error}): make room, and the same '
                         'command goes on') from error


def write_for_user(path: str, data: bytes) -> None:
  """Writes a file that a user has asked for, and the folders that it lies in.

  Raises:
    UserError: it cannot be written.
  """
  try:
    epath.Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, data)
  except Exception as error:  # untyped, of a bucket
    raise UserError(f'cannot write {path} ({errors.one_line(error)}): set --workdir to '
                    'a folder of your own') from error


def write_json(path: str | os.PathLike, obj: Any) -> None:
  """Writes a JSON file as `write_bytes` does; NaN becomes null."""
  text = json.dumps(plain(obj), indent=2, allow_nan=False) + '\n'
  write_bytes(path, text.encode())


def read_json(path: str | os.PathLike) -> dict[str, Any] | None:
  """Reads a JSON object; None for a file that is missing, damaged or no object."""
  try:
    found = parse_json(epath.Path(path).read_bytes())
  except OSError:
    return None
  return found if isinstance(found, dict) else None


def parse_json(data: bytes) -> Any:
  """Returns the value that JSON holds; None for bytes that are no JSON."""
  try:
    return json.loads(data)
  except (ValueError, RecursionError):
    return None


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
  """Writes a whole file, or leaves the old one and nothing else.

  Readers find the old file or the new one, even after a power failure.

  Args:
    path: local, or in a bucket, where an object is never seen half written.
    data: the whole content of the file.

  Raises:
    OSError: the file cannot be written; for a bucket the errors have any type.
  """
  if paths_lib.in_bucket(path):
    epath.Path(path).write_bytes(data)
    return
  with replacing(path) as f:
    f.write(data)


@contextlib.contextmanager
def replacing(path: str | os.PathLike,
              temporary: str | None = None) -> Iterator[BinaryIO]:
  """Opens a local file to be written piece by piece, whole or not at all.

  Args:
    path: has its old content, or is not there, until the block has ended well.
    temporary: the file's name meanwhile. It takes the place of what a killed process
      has left under the same name, so no other process may write to `path` at the same
      time. None: a name of its own.

  Raises:
    OSError: the file cannot be written.
  """
  # a random name: containers that share a folder may have the same process numbers
  temporary = temporary or f'{os.fspath(path)}.{uuid.uuid4().hex}.tmp'
  try:
    with open(temporary, 'wb') as f:
      yield f
    rename(temporary, path)
  except BaseException:
    with contextlib.suppress(OSError):
      os.remove(temporary)
    raise


def rename(temporary: str, path: str | os.PathLike) -> None:
  """Gives a finished local file its name, once its bytes are on the disk."""
  to_disk(temporary)
  os.replace(temporary, path)


def to_disk(path: str) -> None:
  """Waits until a file, or the names in a folder, would survive a power failure."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def plain(value: Any) -> Any:
  """Returns a value as JSON can hold it; NaN and infinity become null."""
  if isinstance(value, Mapping):
    return {str(key): plain(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [plain(item) for item in value]
  if hasattr(value, '__array__'):  # numpy's and jax's
    return plain(np.asarray(value).tolist())
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value
