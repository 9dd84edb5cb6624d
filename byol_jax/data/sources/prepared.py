"""The source 'prepared': shards that task=prepare wrote (descriptions.py)."""

from __future__ import annotations

import functools
import json
import logging
import os
from typing import Any

import numpy as np

from byol_jax.data import bad as bad_lib
from byol_jax.data import workers
from byol_jax.data.records import descriptions
from byol_jax.data.records import shards
from byol_jax.data.sources import table
from byol_jax.errors import UserError
from byol_jax.storage import paths as paths_lib

_console = logging.getLogger('byol_jax')


def open_split(request: table.Request, split: str) -> table.Encoded | None:
  """Opens one part.

  Args:
    request: `path` is the folder that `task=prepare` wrote, or a copy in a bucket
      (gs://). A warning says if images were made smaller than `image_size`.
    split: 'train', 'test' or another part's name.

  Returns:
    The images; None where `split` is 'test' and there is no such part.

  Raises:
    UserError: the folder is missing, not prepare's, incomplete or without images, or
      a shard is missing, of another size, or damaged. The message names the file.
    TransientError: the storage fails for a minute.
  """
  path, folder = request.path, os.path.join(request.path, split)
  metadata = _metadata(path, split)
  if metadata is None:
    return None
  sidecars = list(workers.each(functools.partial(descriptions.check_shard, folder),
                               metadata['shards']))
  names = [name for sidecar in sidecars for name in sidecar['names']]
  labels = [label for sidecar in sidecars for label in sidecar['labels'] or ()]
  if len(names) != metadata['images'] or labels and len(labels) != len(names):
    raise descriptions.damaged(os.path.join(folder, descriptions.METADATA),
                            'its numbers contradict those of the shards')
  if 0 < metadata['short_side'] < request.image_size:
    _console.warning(
        '%s, %s: images were prepared with a short side of %d pixels, fewer '
        'than config key data.image_size = %d: they will be enlarged; prepare them '
        'anew, or set a smaller size', path, split, metadata['short_side'],
        request.image_size)
  files = [os.path.join(folder, shard['file']) for shard in metadata['shards']]
  read = shards.by_number(
      files, [len(sidecar['names']) for sidecar in sidecars], shards.reader(files),
      lambda file, k, error: UserError(
          f'record {k} of shard {file!r} cannot be read: {error}'))
  return table.Encoded(
      read, len(names), np.array(labels, np.int32) if labels else None, names,
      tuple(metadata['class_names'] or ()) or None, path,
      bad_lib.BadImages(names, path, request.max_bad),
      identity=json.dumps([metadata['fingerprint'], [
          shard['sha256'] for shard in metadata['shards']]]))


def _metadata(path: str, split: str) -> dict[str, Any] | None:
  """Reads the description of a part; None where there is no test part."""
  folder = os.path.join(path, split)
  if not paths_lib.is_dir(folder):
    if split == 'test' and paths_lib.is_dir(path):
      return None
    raise _no_data(folder)
  metadata = descriptions.read_metadata(folder)
  is_ours = metadata is not None or descriptions.LOCK in paths_lib.names(path) or any(
      map(descriptions.OURS.fullmatch, paths_lib.names(folder)))
  if not is_ours:
    raise _no_data(folder)
  if metadata is None:
    raise UserError(f'{folder!r} is not complete: run the same task=prepare again')
  if not metadata['images']:
    raise UserError(f'{folder!r} has no images: check config.data.path')
  return metadata


def _no_data(folder: str) -> UserError:
  """Returns the error for a folder that task=prepare did not write."""
  return UserError(
      f'there is no prepared data in {folder!r}: check config.data.path, or '
      "data.source, which is 'folder' for images; configs/prepare.py prepares them")
