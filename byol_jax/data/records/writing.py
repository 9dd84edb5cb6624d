"""Prepared data: ArrayRecord shards with random access, and what is in them.

A folder per part (`train`, `test`), each with

  images-00003-of-00016.array_record   records: encoded images, as they were or
                                       made smaller
  images-00003-of-00016.json           its names, labels, left-out images, bytes
                                       and SHA-256
  metadata.json                        the whole: written last, so a folder that
                                       has it is complete
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent import futures
import contextlib
import functools
import hashlib
import json
import os
import re
from typing import Any, NamedTuple

import numpy as np

from byol_jax.data.records import shards
from byol_jax.errors import UserError
from byol_jax.storage import failures
from byol_jax.storage import files as files_lib
from byol_jax.storage import paths as paths_lib
from byol_jax.storage import retry

VERSION = 1
_METADATA = 'metadata.json'
LOCK = '.prepare.lock'  # in the folder of the parts, from the first moment on
_OURS = re.compile(
    r'images-\d+-of-\d+\.(array_record|json)(\.tmp)?'
    r'|(images-\d+-of-\d+|metadata)\.json\.[0-9a-f]{32}\.tmp')

# What the .json files must have, and as what.
_OF_WHOLE = {'fingerprint': str, 'images': int, 'left_out': dict, 'shards': list,
             'class_names': (list, type(None)), 'short_side': int}
_OF_SHARD_IN_WHOLE = {'file': str, 'images': int, 'bytes': int, 'sha256': str}
_OF_SHARD = {'fingerprint': str, 'names': list, 'labels': (list, type(None)),
             'left_out': dict, 'bytes': int, 'sha256': str}


class Prepared(NamedTuple):
  """One part of a prepared data set."""
  read: Callable[[int], bytes]
  identity: str  # changes with the records
  names: Sequence[str]
  labels: np.ndarray | None  # int32 [N]
  class_names: tuple[str, ...] | None
  short_side: int  # that images were made smaller to; 0: none was


def open_prepared(path: str, split: str) -> Prepared | None:
  """Opens one part.

  Args:
    path: the folder that `task=prepare` wrote, or a copy in a bucket (gs://).
    split: 'train', 'test' or another part's name.

  Returns:
    The images; None where `split` is 'test' and there is no such part.

  Raises:
    UserError: the folder is missing, not prepare's, incomplete or without images, or
      a shard is missing, of another size than it was, or damaged. It names the file.
    TransientError: the storage fails for a minute.
  """
  folder = os.path.join(path, split)
  try:
    if not paths_lib.is_dir(folder):
      if split == 'test' and paths_lib.is_dir(path):
        return None
      raise _no_data(folder)
    metadata = read_metadata(folder)
    is_ours = metadata is not None or LOCK in paths_lib.names(path) or any(
        map(_OURS.fullmatch, paths_lib.names(folder)))
  except OSError as error:
    raise paths_lib.refused(folder, error) from error
  if not is_ours:
    raise _no_data(folder)
  if metadata is None:
    raise UserError(f'{folder!r} is not complete: run the same task=prepare again')
  if not metadata['images']:
    raise UserError(f'{folder!r} has no images: check config.data.path')
  with futures.ThreadPoolExecutor(16) as pool:  # a bucket takes its time
    sidecars = list(pool.map(functools.partial(check_shard, folder),
                             metadata['shards']))
  names, labels, counts = [], [], []
  for said in sidecars:
    names += said['names']
    labels += said['labels'] or []
    counts.append(len(said['names']))
  if len(names) != metadata['images'] or labels and len(labels) != len(names):
    raise _damaged(os.path.join(folder, _METADATA), 'its numbers contradict those '
                   'of the shards')
  files = [os.path.join(folder, shard['file']) for shard in metadata['shards']]
  starts = np.cumsum([0] + counts)
  read_record = shards.reader(files)

  def read(index: int) -> bytes:
    shard = int(np.searchsorted(starts, index, 'right')) - 1
    position = int(index - starts[shard])
    try:
      return read_record(shard, position)
    except (RuntimeError, ValueError, IndexError, OSError) as error:
      cause = failures.cause(error)  # of array_record, which may lack the right
      if cause is not None and not isinstance(cause, FileNotFoundError):
        raise paths_lib.refused(files[shard], cause) from error
      raise UserError(f'record {position} of shard {files[shard]!r} cannot be read: '
                      f'{error}') from error

  class_names = metadata['class_names']
  identity = json.dumps([metadata['fingerprint'], [
      shard['sha256'] for shard in metadata['shards']]])
  return Prepared(
      read, identity, names, np.array(labels, np.int32) if labels else None,
      tuple(class_names) if class_names else None,
      metadata['short_side'])


def check_shard(folder: str, shard: Mapping[str, Any]) -> dict[str, Any]:
  """What a shard's .json says, if it fits the shard and metadata.json.

  Args:
    folder: of the part.
    shard: what metadata.json says.

  Raises:
    UserError: it does not. The records themselves are not read: `digest`.
  """
  file = os.path.join(folder, shard['file'])
  said = read_sidecar(file)
  try:
    size, _ = retry.insist(lambda: paths_lib.stat(file), repr(file))
  except FileNotFoundError:
    said = None
  except OSError as error:
    raise paths_lib.refused(file, error) from error
  if said is None:
    raise UserError(f'shard {file!r} or its .json is missing')
  if size != shard['bytes']:
    raise UserError(f'shard {file!r} has {size} bytes, not {shard["bytes"]}: it '
                    'is damaged')
  if (said['sha256'] != shard['sha256']
      or len(said['names']) != shard['images']):
    raise UserError(f'shard {file!r} is of another data set than {_METADATA}')
  return said


def write_shard(file: str, records: Iterable[tuple[str, int | None, bytes]],
                left_out: Mapping[str, str],
                fingerprint: str) -> Callable[[], None]:
  """Writes a shard and its .json, either whole or not at all.

  Args:
    file: ends in .array_record. Until all is done it has another name.
    records: name, label and bytes of each image; taken one by one.
    left_out: why, by name, of those that cannot be used; read at the end.
    fingerprint: of the images and how they are prepared.

  Returns:
    The rest of the work, to be called once: it reads the shard again for its
    SHA-256, which another thread can do.

  Raises:
    UserError: it cannot be written. No part of it is left.
  """
  temporary = f'{file}.tmp'
  names, labels = [], []
  with _whole_or_not(temporary):
    with writing(file):
      writer = shards.module().ArrayRecordWriter(temporary, 'group_size:1')
    try:
      for name, label, data in records:
        with writing(file):
          writer.write(data)
        names.append(name)
        labels.append(label)
    except BaseException:
      with contextlib.suppress(RuntimeError):
        writer.close()
      raise
    with writing(file):  # what failed is said here, not at each record
      writer.close()

  def finish_shard() -> None:
    with _whole_or_not(temporary), writing(file):
      said = {
          'fingerprint': fingerprint,
          'names': names,
          'labels': labels if labels and labels[0] is not None else None,
          'left_out': dict(left_out),
          'bytes': os.path.getsize(temporary),
          'sha256': digest(temporary),
      }
      files_lib.rename(temporary, file)  # before its .json says that it is whole
      files_lib.to_disk(os.path.dirname(file))
    with _whole_or_not(file):
      _write_json(_sidecar(file), said)

  return finish_shard


def finish(folder: str, files: Sequence[str], **metadata: Any) -> dict[str, Any]:
  """Writes metadata.json, once every shard is there, and returns it.

  Shards of an earlier try, cut otherwise, are removed.

  Raises:
    UserError: there is not one image, or the folder cannot be written.
  """
  said = [read_sidecar(os.path.join(folder, file)) for file in files]
  whole = {
      'version': VERSION,
      'images': sum(len(shard['names']) for shard in said),
      'left_out': {name: why for shard in said
                   for name, why in shard['left_out'].items()},
      'shards': [{'file': file, 'images': len(shard['names']),
                  'bytes': shard['bytes'], 'sha256': shard['sha256']}
                 for file, shard in zip(files, said)],
  } | metadata
  if not whole['images']:
    name, why = next(iter(whole['left_out'].items()))
    raise UserError(f'{folder!r}: not one image can be used, the first is '
                    f'{name!r} ({why}): check config.data.path')
  known = {*files, *map(_sidecar, files)}
  with writing(folder):
    for file in os.listdir(folder):
      if _OURS.fullmatch(file) and file not in known:
        os.remove(os.path.join(folder, file))
  _write_json(os.path.join(folder, _METADATA), whole)
  return whole


def read_metadata(folder: str) -> dict[str, Any] | None:
  """metadata.json, or None where there is none."""
  path = os.path.join(folder, _METADATA)
  metadata = _read_json(path)
  if metadata is None:
    return None
  if metadata.get('version') != VERSION:
    raise UserError(f'{folder!r} was prepared in version '
                    f'{metadata.get("version")}, this program reads {VERSION}')
  _check_kinds(path, metadata, _OF_WHOLE)
  for shard in metadata['shards']:
    _check_kinds(path, shard, _OF_SHARD_IN_WHOLE)
  return metadata


def read_sidecar(file: str) -> dict[str, Any] | None:
  """What a shard's .json says, or None where there is none."""
  path = _sidecar(file)
  said = _read_json(path)
  if said is not None:
    _check_kinds(path, said, _OF_SHARD)
    labels = said['labels']
    if labels is not None and (
        len(labels) != len(said['names'])
        or not all(isinstance(k, int) and 0 <= k < 2**31 for k in labels)):
      raise _damaged(path, 'its labels do not fit its names')
  return said


def _check_kinds(path: str, said: Any, kinds: Mapping[str, Any]) -> None:
  """Raises UserError unless `said` is a dict with these keys and types."""
  for key, kind in kinds.items():
    if not isinstance(said, dict) or not isinstance(said.get(key), kind):
      raise _damaged(path, f'it has no {key!r} as it should')


def _no_data(folder: str) -> UserError:
  return UserError(
      f'there is no prepared data in {folder!r}: check config.data.path, or '
      "data.source, which is 'folder' for images; configs/prepare.py prepares them")


def _damaged(path: str, why: object) -> UserError:
  return UserError(
      f'{path!r} is damaged: {why}; if it is a copy, copy it again, otherwise '
      f'remove {os.path.dirname(path)!r} and prepare it again')


def digest(file: str) -> str:
  """The SHA-256 of a file, in hexadecimal."""
  with open(file, 'rb') as f:
    return hashlib.file_digest(f, 'sha256').hexdigest()


def _sidecar(file: str) -> str:
  return file.removesuffix('.array_record') + '.json'


def _read_json(path: str) -> dict[str, Any] | None:
  try:
    said = json.loads(retry.insist(lambda: paths_lib.read_bytes(path), repr(path)))
  except FileNotFoundError:
    return None
  except OSError as error:
    raise paths_lib.refused(path, error) from error
  except ValueError as error:
    raise _damaged(path, error) from error
  if not isinstance(said, dict):
    raise _damaged(path, 'it is not a JSON object')
  return said


def _write_json(path: str, obj: dict[str, Any]) -> None:
  with writing(path):
    files_lib.write_bytes(path, json.dumps(obj, indent=1).encode())
    files_lib.to_disk(os.path.dirname(path))


@contextlib.contextmanager
def _whole_or_not(file: str) -> Iterator[None]:
  """Removes a file when anything goes wrong: the disk may be full."""
  try:
    yield
  except BaseException:
    with contextlib.suppress(OSError):
      os.remove(file)
    raise


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
  """Turns what the disk says into a UserError."""
  try:
    yield
  except (OSError, RuntimeError) as error:  # RuntimeError: array_record's
    raise UserError(f'cannot write {path!r}, config key prepare.output: '
                    f'{getattr(error, "strerror", None) or error}') from error
