"""Writes ArrayRecord shards and the files that describe them: descriptions.py.

Each file is whole or not there, even after a power failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import contextlib
import hashlib
import json
import os
from typing import Any
import uuid

from byol_jax.data.records import descriptions
from byol_jax.data.records import shards
from byol_jax.errors import UserError
from byol_jax.storage import files as files_lib


def write_shard(file: str, records: Iterable[tuple[str, int | None, bytes]],
                left_out: Mapping[str, str], fingerprint: str,
                settings: str = '') -> Callable[[], None]:
  """Writes a shard and its .json, either whole or not at all.

  Args:
    file: ends in .array_record. Until all is done the file has another name.
    records: name, label and bytes of each image; taken one by one.
    left_out: the reasons, by name, why images cannot be used; read at the end.
    fingerprint: changes with the images and how they are prepared.
    settings: changes with how they are prepared alone.

  Returns:
    The rest of the work, to be called once: it reads the shard again for its
    SHA-256, which another thread can do.

  Raises:
    UserError: the shard cannot be written. No part of it is left.
  """
  # a random name: a process that works on other pieces may be writing this shard, too
  temporary = f'{file}.{uuid.uuid4().hex}.tmp'
  names, labels = [], []
  with _whole_or_not(temporary):
    with saying_why(file):
      writer = shards.module().ArrayRecordWriter(temporary, 'group_size:1')
    try:
      for name, label, data in records:
        with saying_why(file):
          writer.write(data)
        names.append(name)
        labels.append(label)
    except BaseException:
      with contextlib.suppress(RuntimeError):
        writer.close()
      raise
    with saying_why(file):  # an error is reported here, not at each record
      writer.close()

  def finish_shard() -> None:
    with _whole_or_not(temporary), saying_why(file):
      description = {
          'fingerprint': fingerprint,
          'settings': settings,
          'names': names,
          'labels': labels if labels and labels[0] is not None else None,
          'left_out': dict(left_out),
          'bytes': os.path.getsize(temporary),
          'sha256': digest(temporary),
      }
      files_lib.rename(temporary, file)  # before its .json says that it is whole
      files_lib.to_disk(os.path.dirname(file))
    with _whole_or_not(file):
      _write_json(descriptions.sidecar(file), description)

  return finish_shard


def finish(folder: str, files: Sequence[str], **metadata: Any) -> dict[str, Any]:
  """Writes metadata.json, once every shard is there, and returns its content.

  Removes shards of an earlier try with other boundaries.

  Raises:
    UserError: there is no image, or the folder cannot be written.
  """
  sidecars = [descriptions.read_sidecar(os.path.join(folder, file)) for file in files]
  whole = {
      'version': descriptions.VERSION,
      'images': sum(len(shard['names']) for shard in sidecars),
      'left_out': {name: why for shard in sidecars
                   for name, why in shard['left_out'].items()},
      'shards': [{'file': file, 'images': len(shard['names']),
                  'bytes': shard['bytes'], 'sha256': shard['sha256']}
                 for file, shard in zip(files, sidecars)],
  } | metadata
  if not whole['images']:
    name, why = next(iter(whole['left_out'].items()))
    raise UserError(f'{folder!r}: not one image can be used, the first is '
                    f'{name!r} ({why}): check config.data.path')
  known = {*files, *map(descriptions.sidecar, files)}
  with saying_why(folder):
    for file in os.listdir(folder):
      if descriptions.OURS.fullmatch(file) and file not in known:
        with contextlib.suppress(FileNotFoundError):
          os.remove(os.path.join(folder, file))
  _write_json(os.path.join(folder, descriptions.METADATA), whole)
  return whole


def digest(file: str) -> str:
  """Returns the SHA-256 of a file, in hexadecimal."""
  with open(file, 'rb') as f:
    return hashlib.file_digest(f, 'sha256').hexdigest()


def _write_json(path: str, obj: dict[str, Any]) -> None:
  """Writes a JSON file and waits until it is on the disk."""
  with saying_why(path):
    files_lib.write_bytes(path, json.dumps(obj, indent=1).encode())
    files_lib.to_disk(os.path.dirname(path))


@contextlib.contextmanager
def _whole_or_not(file: str) -> Iterator[None]:
  """Removes a file if the block raises: the disk may be full."""
  try:
    yield
  except BaseException:
    with contextlib.suppress(OSError):
      os.remove(file)
    raise


@contextlib.contextmanager
def saying_why(path: str) -> Iterator[None]:
  """Turns an error of the disk into a UserError that names the key."""
  try:
    yield
  except (OSError, RuntimeError) as error:  # RuntimeError: array_record's
    raise UserError(f'cannot write {path!r}, config key prepare.output: '
                    f'{getattr(error, "strerror", None) or error}') from error
