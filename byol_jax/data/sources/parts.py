"""Finds the files that hold a data set of many images each, and sorts them into parts.

A path is a file, a folder of files, a pattern (*, ?, [..]), a range or choice in braces
({000..999}, {a,b}), or several of these joined by commas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
import fnmatch
import glob
import logging
import os
import re

import numpy as np

from byol_jax import wording
from byol_jax.data.records import texts
from byol_jax.data.records.index import Index
from byol_jax.data.sources import layout
from byol_jax.data.sources import lazy
from byol_jax.data.sources import table
from byol_jax.errors import UserError
from byol_jax.storage import paths as paths_lib

_console = logging.getLogger('byol_jax')

# Names of parts, in the order in which test parts are looked at.
TRAIN = layout.TRAIN
TEST = ('test', 'testing', 'val', 'valid', 'validation', 'dev', 'eval', 'evaluation')
_BRACES = re.compile(r'\{([^{}]*)\}')
_RANGE = re.compile(r'(\d+)\.\.(\d+)')
_OF = re.compile(r'(\d+)-of-(\d+)')  # train-00003-of-00016.parquet
_POINTER = b'version https://git-lfs'
_MOST_FILES = 1_000_000
_DEPTH = 16  # folders within a folder of shards
_TOLD = 5


def candidates(request: table.Request, split: str,
               endings: tuple[str, ...]) -> list[list[str]]:
  """Finds the files of one part.

  A file's part is the first word in its name that names one, as in
  train-00000-of-00016.parquet, or that of the nearest folder around it. Without a
  training part all files are the part `train`.

  Args:
    request: `path`, or `test_path` with all files of the test part.
    split: 'train', 'test' or another word of the names.
    endings: what the names of files end in, in lower case.

  Returns:
    The files of the part, in the order of their names; for 'test' those of each test
    part that there is: none, or several.

  Raises:
    UserError: there is no such file, or a file of the numbered ones is missing.
  """
  if split == 'test' and request.test_path:
    files = [path for path, _ in _found(request.test_path, endings, 'test_path')]
    return [_complete(request.test_path, files)]
  found = _found(request.path, endings, 'path')
  if split == 'train' and request.test_path:
    tests = {os.path.normpath(path) for path, _ in _found(
        request.test_path, endings, 'test_path')}
    found = [one for one in found if os.path.normpath(one[0]) not in tests]
    if not found:
      raise UserError(f'config key data.test_path is {request.test_path!r}, which is '
                      'all of data.path: there is nothing to train on')
  parts: dict[str, list[str]] = {}
  for path, below in found:
    parts.setdefault(_part(below), []).append(path)
  train = next((parts[name] for name in TRAIN if name in parts), None)
  if split == 'train':
    if train is None:
      if '' in parts and (like := [parts[name][0] for name in TEST if name in parts]):
        _console.warning(
            '%s: files such as %s look like another part, and all are trained on: set '
            'config key data.path to the training files, or call them train',
            request.path, wording.quoted(map(os.path.basename, like), _TOLD))
      return [_complete(request.path, [path for path, _ in found])]
    if other := parts.get(''):
      _console.info('%s: passed over %s beside the parts %s', request.path,
                    wording.quoted(map(os.path.basename, other), _TOLD),
                    ', '.join(sorted(parts.keys() - {''})))
    folders = sorted({os.path.dirname(path) for path in train})
    if len(folders) > 1:
      _console.info('%s: the training part is all of %s', request.path,
                    wording.quoted(folders, _TOLD))
    return [_complete(request.path, train)]
  if split == 'test':
    tests = [parts[name] for name in TEST if name in parts] if train else []
    return [_complete(request.path, files) for files in tests]
  word = re.compile(rf'(?<![a-z]){re.escape(split)}(?![a-z])', re.IGNORECASE)
  files = parts.get(split.lower()) or [
      path for path, below in found if word.search(below)]
  if not files:
    raise UserError(
        f'{request.path} has no part {split!r}: its files are '
        f'{wording.quoted((below for _, below in found), _TOLD)}')
  return [_complete(request.path, files)]


def opened(request: table.Request, split: str, endings: tuple[str, ...],
           open_files: Callable[[table.Request, str, list[str]], table.Encoded],
           ) -> table.Encoded | None:
  """Opens one part; of several test parts the first with labels, else the first one.

  Args:
    request, split, endings: as for `candidates`.
    open_files: (request, split, files) -> the images of some files.

  Returns:
    None where `split` is 'test' and there is no such part.
  """
  first = None
  for files in candidates(request, split, endings):
    data = open_files(request, split, files)
    if data.labels is not None:
      return data
    first = first or data
  return first


@contextlib.contextmanager
def saying_what_to_do(files: Sequence[str]) -> Iterator[None]:
  """Turns errors while shards are opened into UserErrors."""
  try:
    yield
  except FileNotFoundError as error:
    raise UserError(f'{error.filename or files[0]} is missing: check config.data.path '
                    'and test_path, or copy it again') from error
  except OSError as error:
    raise paths_lib.refused(error.filename or files[0], error) from error
  except ValueError as error:
    if (pointer := next(filter(_is_pointer, files), None)) is not None:
      raise UserError(f'{pointer} is a pointer of Git LFS: git lfs pull') from error
    raise UserError(f'{error}; copy the file again, or write it again') from error


def _is_pointer(path: str) -> bool:
  """Returns whether a file stands for one that Git LFS holds."""
  with contextlib.suppress(OSError):
    return paths_lib.read_range(path, 0, len(_POINTER)) == _POINTER
  return False


def changed(file: str, k: int, error: Exception) -> UserError:
  """Returns the error for an image of a shard that cannot be read any more."""
  return UserError(f'image {k} of {file} cannot be read: {error}; if the file was '
                   'changed on purpose, start a new run')


def texts_of(found: Sequence[Index], key: str) -> texts.Texts:
  """Returns the texts that the indexes of some files keep, in order."""
  return texts.joined([texts.of(one, key) for one in found])


def numbered(files: Sequence[str], counts: Sequence[int], what: str) -> lazy.Names:
  """Returns names for images without one, 'FILE, row 5'."""
  first = np.cumsum([0, *counts])
  def name(index: int) -> str:
    file = int(np.searchsorted(first, index, 'right')) - 1
    return f'{os.path.basename(files[file])}, {what} {index - first[file]}'
  return lazy.Names(name, int(first[-1]))


def split_paths(path: str) -> list[str]:
  """Returns the paths that commas join; commas within braces, or of a file, stay."""
  if ',' not in path or not paths_lib.in_bucket(path) and os.path.exists(path):
    return [path]
  parts = re.split(r',(?![^{}]*\})', path)
  paths = [part.strip() for part in parts if part.strip()]
  if not paths:
    raise UserError(f'config key data.path is {path!r}, which names nothing')
  return paths


def is_pattern(path: str) -> bool:
  """Returns whether a path stands for the names of several files."""
  exists = not paths_lib.in_bucket(path) and os.path.exists(path)
  return not exists and bool(re.search(r'[*?\[{]', path))


def expanded(path: str) -> Iterator[str]:
  """Yields a path for each way to fill its braces, in order."""
  braces = _BRACES.search(path)
  if not braces:
    yield path
    return
  before, after = path[:braces.start()], path[braces.end():]
  if numbers := _RANGE.fullmatch(braces[1]):
    first, last = int(numbers[1]), int(numbers[2])
    if not 0 <= last - first < _MOST_FILES:
      raise UserError(f'{path!r} has the range {braces[0]!r}: the smaller number comes '
                      'first (config key data.path or data.test_path)')
    middles = (f'{k:0{len(numbers[1])}d}' for k in range(first, last + 1))
  else:
    middles = braces[1].split(',')
  for middle in middles:
    yield from expanded(before + middle + after)


def _found(path: str, endings: tuple[str, ...], key: str) -> list[tuple[str, str]]:
  """Returns the files that a path names, each with what counts of its name."""
  found = []
  for one in split_paths(path):
    files = _files(one, endings)
    if not files:
      kinds = ', '.join(f'*{ending}' for ending in endings[:1])
      raise UserError(f'there is no file {one!r}, or no {kinds} in it: check '
                      f'config.data.{key}')
    found += files
  return found


def _files(path: str, endings: tuple[str, ...]) -> list[tuple[str, str]]:
  """Returns the files of one path; [] without. Only a folder's are chosen by ending."""
  if is_pattern(path):
    fixed = os.path.dirname(re.split(r'[*?\[{]', path, maxsplit=1)[0])
    return [(file, os.path.relpath(file, fixed or '.') if fixed else file)
            for one in expanded(path) for file in _globbed(one)]
  if paths_lib.is_dir(path):
    return [(os.path.join(path, below), below) for below in walked(path, endings)]
  if not paths_lib.in_bucket(path) and not os.path.exists(path):
    return []
  return [(path, os.path.basename(path))]


def _globbed(path: str) -> list[str]:
  """Returns the files of a pattern without braces, sorted; a plain name as it is."""
  if not re.search(r'[*?\[]', path):
    return [path]
  if not paths_lib.in_bucket(path):
    return sorted(glob.glob(path, recursive=True), key=os.fsencode)
  folder, _, last = path.rpartition('/')
  if re.search(r'[*?\[]', folder):
    raise UserError(f'{path!r}: in a bucket only the last part may have * or ? (config '
                    'key data.path or data.test_path)')
  return [f'{folder}/{name}' for name in paths_lib.names(folder)
          if fnmatch.fnmatchcase(name, last)]


def walked(root: str, endings: tuple[str, ...]) -> Iterator[str]:
  """Yields the files of a folder with one of the endings, folder by folder, sorted.

  A link to a folder is passed over whose files come anyhow: one below `root`, or one
  that another link leads to.
  """
  yield from _walked(root, endings, '', set())


def _walked(root: str, endings: tuple[str, ...], folder: str,
            seen: set[str]) -> Iterator[str]:
  path = os.path.join(root, folder)
  names, folders = paths_lib.entries(path)
  names = sorted((name for name in names if not name.startswith('.')), key=os.fsencode)
  for name in names:
    if name.lower().endswith(endings) and name not in folders:
      yield os.path.join(folder, name)
  if folder.count('/') < _DEPTH:
    for name in names:
      below = os.path.join(folder, name)
      if (name in folders and name.lower() not in layout.SYSTEM
          and not _comes_anyhow(root, below, seen)):
        yield from _walked(root, endings, below, seen)


def _comes_anyhow(root: str, below: str, seen: set[str]) -> bool:
  """Returns whether a folder is a link to one that is walked without it; notes it."""
  path = os.path.join(root, below)
  if paths_lib.in_bucket(root) or not os.path.islink(path):
    return False
  there, top = os.path.realpath(path), os.path.realpath(root)
  if there in seen or os.path.commonpath([there, top]) in (there, top):
    return True
  seen.add(there)
  return False


def _part(below: str) -> str:
  """Returns the word that names a file's part, '' without one."""
  for name in reversed(below.split('/')):
    if word := layout.WITHIN.search(name):
      return word[1].lower()
  return ''


def _complete(path: str, files: list[str]) -> list[str]:
  """Returns the files; raises UserError if a number is missing among theirs."""
  is_chosen = all(not is_pattern(one) and not paths_lib.is_dir(one)
                  or '{' in one for one in split_paths(path))
  if is_chosen:  # one by one
    return files
  groups: dict[tuple[str, ...], dict[int, str]] = {}
  for file in files:
    folder, name = os.path.split(file)
    if numbered := _OF.search(name):
      number, total = numbered.groups()
      group = groups.setdefault((folder, name[:numbered.start()], total), {})
      group[int(number)] = file
  for (_, _, total), numbers in groups.items():
    first = int(int(total) in numbers)  # some count from 1
    missing = sorted(set(range(first, first + int(total))) - numbers.keys())
    if missing:
      like = next(iter(numbers.values()))
      name = _OF.sub(f'{missing[0]:0{len(total)}d}-of-{total}', os.path.basename(like))
      more = f', as are {len(missing) - 1} more' if len(missing) > 1 else ''
      raise UserError(f'{os.path.join(os.path.dirname(like), name)} is missing{more}: '
                      'copy the data set again')
  return files
