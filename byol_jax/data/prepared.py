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

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent import futures
import hashlib
import json
import os
from typing import Any, NamedTuple

from etils import epath
import numpy as np

from byol_jax.errors import UserError

VERSION = 1
_METADATA = 'metadata.json'


class Prepared(NamedTuple):
  """One part of a prepared data set."""
  read: Callable[[int], bytes]
  names: Sequence[str]
  labels: np.ndarray | None  # int32 [N]
  class_names: tuple[str, ...] | None


def open_prepared(path: str, split: str) -> Prepared | None:
  """Opens one part.

  Args:
    path: the folder that `task=prepare` wrote, or a copy in a bucket (gs://).
    split: 'train', 'test' or another part's name.

  Returns:
    The images; None where `split` is 'test' and there is no such part.

  Raises:
    UserError: the folder is missing or incomplete, or a shard is missing, of
      another size than it was, or damaged. It names the file.
  """
  folder = os.path.join(path, split)
  if not epath.Path(folder).is_dir():
    if split == 'test' and epath.Path(path).is_dir():
      return None
    raise UserError(f'there is no prepared data in {folder!r}: check '
                    'config.data.path, or make it with configs/prepare.py')
  metadata = read_metadata(folder)
  if metadata is None:
    raise UserError(f'{folder!r} is not complete: run the same task=prepare again')
  files = [os.path.join(folder, shard['file']) for shard in metadata['shards']]
  with futures.ThreadPoolExecutor(16) as pool:  # a bucket takes its time
    sidecars = list(pool.map(_checked_sidecar, files, metadata['shards']))
  names, labels, counts = [], [], []
  for said in sidecars:
    names += said['names']
    labels += said['labels'] or []
    counts.append(len(said['names']))
  starts = np.cumsum([0] + counts)
  readers: dict[int, Any] = {}

  def read(index: int) -> bytes:
    shard = int(np.searchsorted(starts, index, 'right')) - 1
    try:
      if shard not in readers:
        readers[shard] = _array_record().ArrayRecordReader(
            files[shard], 'readahead_buffer_size:0')
      record, = readers[shard].read([int(index - starts[shard])])
    except (RuntimeError, ValueError, IndexError, OSError) as error:
      raise UserError(f'record {index - starts[shard]} of shard {files[shard]!r} '
                      f'cannot be read: {error}') from error
    return record

  class_names = metadata['class_names']
  return Prepared(
      read, names, np.array(labels, np.int32) if labels else None,
      tuple(class_names) if class_names else None)


def _checked_sidecar(file: str, shard: Mapping[str, Any]) -> dict[str, Any]:
  """What a shard's .json says, if both fit what metadata.json says."""
  said = read_sidecar(file)
  if said is None or not epath.Path(file).exists():
    raise UserError(f'shard {file!r} or its .json is missing')
  size = epath.Path(file).stat().length
  if size != shard['bytes']:
    raise UserError(f'shard {file!r} has {size} bytes, not {shard["bytes"]}: it '
                    'is damaged')
  if said['sha256'] != shard['sha256']:
    raise UserError(f'shard {file!r} is of another data set than {_METADATA}')
  return said


def write_shard(file: str, records: Iterable[tuple[str, int | None, bytes]],
                left_out: Mapping[str, str], fingerprint: str) -> None:
  """Writes a shard and its .json, either whole or not at all.

  Args:
    file: ends in .array_record.
    records: name, label and bytes of each image; taken one by one.
    left_out: why, by name, of those that cannot be used; read at the end.
    fingerprint: of the data set and how it is prepared.
  """
  temporary = f'{file}.tmp'
  names, labels = [], []
  writer = _array_record().ArrayRecordWriter(temporary, 'group_size:1')
  try:
    for name, label, data in records:
      writer.write(data)
      names.append(name)
      labels.append(label)
  finally:
    writer.close()
  said = {
      'fingerprint': fingerprint,
      'names': names,
      'labels': labels if labels and labels[0] is not None else None,
      'left_out': dict(left_out),
      'bytes': os.path.getsize(temporary),
      'sha256': digest(temporary),
  }
  os.replace(temporary, file)
  _write_json(_sidecar(file), said)


def finish(folder: str, files: Sequence[str], **metadata: Any) -> dict[str, Any]:
  """Writes metadata.json, once every shard is there, and returns it."""
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
  _write_json(os.path.join(folder, _METADATA), whole)
  return whole


def read_metadata(folder: str) -> dict[str, Any] | None:
  """metadata.json, or None where there is none."""
  metadata = _read_json(os.path.join(folder, _METADATA))
  if metadata is not None and metadata.get('version') != VERSION:
    raise UserError(f'{folder!r} was prepared in version '
                    f'{metadata.get("version")}, this program reads {VERSION}')
  return metadata


def read_sidecar(file: str) -> dict[str, Any] | None:
  """What a shard's .json says, or None where there is none."""
  return _read_json(_sidecar(file))


def digest(file: str) -> str:
  """The SHA-256 of a file, in hexadecimal."""
  with open(file, 'rb') as f:
    return hashlib.file_digest(f, 'sha256').hexdigest()


def _sidecar(file: str) -> str:
  return file.removesuffix('.array_record') + '.json'


def _read_json(path: str) -> dict[str, Any] | None:
  try:
    return json.loads(epath.Path(path).read_text(encoding='utf-8'))
  except FileNotFoundError:
    return None
  except (OSError, ValueError) as error:
    raise UserError(f'cannot read {path!r}: {error}') from error


def _write_json(path: str, obj: dict[str, Any]) -> None:
  temporary = f'{path}.tmp'
  with open(temporary, 'w', encoding='utf-8') as f:
    json.dump(obj, f, indent=1)
    f.flush()
    os.fsync(f.fileno())
  os.replace(temporary, path)


def _array_record() -> Any:
  try:
    from array_record.python import array_record_module  # pylint: disable=g-import-not-at-top
  except ImportError as error:
    raise UserError('prepared data needs array_record '
                    f'({error}): pip install array_record') from error
  return array_record_module
