"""The source 'auto': the source that a path calls for."""

from __future__ import annotations

from collections.abc import Iterator
import itertools
import logging
import os

from byol_jax.data.records import descriptions
from byol_jax.data.sources import folder
from byol_jax.data.sources import open as open_lib
from byol_jax.data.sources import parquet
from byol_jax.data.sources import parts
from byol_jax.data.sources import table
from byol_jax.data.sources import tar
from byol_jax.errors import UserError
from byol_jax.storage import paths as paths_lib

_console = logging.getLogger('byol_jax')

_BY_ENDING = {'tar': tar.ENDINGS, 'parquet': parquet.ENDINGS, 'npz': ('.npz',),
              'list': ('.csv', '.tsv', '.txt')}
_IN_FOLDERS = {'folder': folder.EXTENSIONS, 'tar': tar.ENDINGS,
               'parquet': parquet.ENDINGS}
_SEVERAL = ('folder', 'tar', 'parquet')  # which commas may join
_SOME = 10_000  # files of a folder that are looked at


def open_split(request: table.Request, split: str) -> table.Data | None:
  """Opens one part with the source that `kind` names."""
  return open_lib.open_part(source_of(request.path), split, **request._asdict())


def source_of(path: str) -> str:
  """Returns the source that a path calls for, and logs by what it was found.

  Raises:
    UserError: there is nothing, nothing that is known, or things of different kinds.
    TransientError: the storage fails for a minute.
  """
  found = {}
  for one in parts.split_paths(path):
    name, example = _source_of(one)
    found.setdefault(name, example)
  if len(found) > 1:
    raise UserError(f'config key data.path joins different kinds: {_told(found)}; '
                    'name one kind, or prepare them first (configs/prepare.py)')
  (name, example), = found.items()
  if ',' in path and name not in _SEVERAL and len(parts.split_paths(path)) > 1:
    raise UserError(f'config key data.path names several of the kind {name!r}: commas '
                    'join folders, tars or Parquet files')
  _console.info("%s: data.source='%s', as there is %s", path, name, example)
  return name


def _told(found: dict[str, str]) -> str:
  return ', '.join(f'{example} ({name})' for name, example in found.items())


def _source_of(path: str) -> tuple[str, str]:
  """Returns the source for one path, and what there is."""
  if paths_lib.in_bucket(path):
    paths_lib.require(path)
  if paths_lib.is_dir(path):
    return _of_folder(path)
  for name, endings in _BY_ENDING.items():
    if any(one.lower().endswith(endings) for one in itertools.islice(
        parts.expanded(path) if parts.is_pattern(path) else [path], 1)):
      return name, repr(os.path.basename(path))
  exists = paths_lib.in_bucket(path) or os.path.exists(path)
  known = ', '.join(ending for endings in _BY_ENDING.values() for ending in endings[:1])
  raise UserError(
      f'config key data.path is {path!r}, which '
      f'{f"is no folder and ends in none of {known}" if exists else "does not exist"}: '
      'check it, or set data.source')


def _of_folder(path: str) -> tuple[str, str]:
  """Returns the source for a folder, and what there is."""
  names = set(paths_lib.names(path))
  for part in ('train', 'test'):
    if part in names and descriptions.METADATA in paths_lib.names(
        os.path.join(path, part)):
      return 'prepared', f'{part}/{descriptions.METADATA}'
  if {'features.json', 'dataset_info.json'} <= names:
    return 'tfds', 'features.json'
  if any(name.startswith('train-images-idx3') for name in names):
    return 'fashion_mnist', 'train-images-idx3-ubyte'
  found = dict(_examples(path))
  if 'tar' in found and 'folder' not in found:
    found = {'tar': found['tar']}  # img2dataset writes a table beside each tar
  if len(found) > 1:
    raise UserError(f'{path} has {_told(found)}: say which are meant with '
                    f"--config.data.source={' or '.join(found)}")
  # a folder without anything: its source says what is missing
  return next(iter(found.items()), ('folder', 'a folder'))


def _examples(path: str) -> Iterator[tuple[str, str]]:
  """Yields each kind of images below a folder, once, with a file of that kind."""
  every = tuple(itertools.chain(*_IN_FOLDERS.values()))
  found = set()
  for below in itertools.islice(parts.walked(path, every), _SOME):
    name = next(x for x, endings in _IN_FOLDERS.items()
                if below.lower().endswith(endings))
    # a table of the images' captions or classes, as Hugging Face's folders have
    if name not in found and os.path.basename(below) != 'metadata.parquet':
      found.add(name)
      yield name, repr(below)
