"""Opens a source by its name."""

from __future__ import annotations

import importlib
from typing import Any

from byol_jax.data.sources import names as source_names
from byol_jax.data.sources import table
from byol_jax.errors import UserError
from byol_jax.storage import paths as paths_lib


def open_part(source: str, split: str = 'train', **wanted: Any) -> table.Data | None:
  """Opens one split of a data set.

  Args:
    source: one of `source_names.SOURCES`.
    split: 'train' or 'test'; for 'folder' also the name of another part, for
      'tfds' any TFDS split.
    **wanted: the fields of `table.Request`. A source reads the fields that it needs.

  Returns:
    The images; None where `split` is 'test' and the data has no test part.

  Raises:
    UserError: no such source, or the data is missing, damaged or of a form that
      cannot be used. The message names the path.
    TransientError: a bucket cannot be reached, or storage fails for a minute.
  """
  known = source_names.CATALOGUE.get(source)
  if known is None:
    raise UserError(f'config.data.source={source!r} is not one of '
                    f'{", ".join(source_names.SOURCES)}')
  for key in ('path', 'test_path'):
    if known.local and wanted.get(key) and paths_lib.in_bucket(wanted[key]):
      raise UserError(f'config key data.{key} is {wanted[key]!r}, but data.source='
                      f"'{source}' reads local files: mount the bucket, or make "
                      'records with configs/prepare.py and copy those there')
  request = table.Request(**wanted)
  if request.path and paths_lib.in_bucket(request.path):
    paths_lib.require(request.path)
  if not request.path and 'path' in known.needs:
    raise UserError(
        f'config.data.source={source!r} needs config.data.path: {known.needs["path"]}')
  module = importlib.import_module(f'byol_jax.data.sources.{source}')
  return module.open_split(request, split)
