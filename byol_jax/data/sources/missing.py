"""Says why no file of a list is there: one cause for all, in one message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import itertools
import os
import re
import stat
import unicodedata
import urllib.parse

from byol_jax.data.images import formats
from byol_jax.errors import UserError

_FIRST = 10  # files that are looked for, and as many spread over the list
_MOST_ENTRIES = 1000  # of a folder, that are looked through


def check(path: str, root: str, files: Sequence[str]) -> None:
  """Checks that some of a list's files are there.

  Args:
    path: the list.
    root: where its relative paths start.
    files: its paths.

  Raises:
    UserError: none of the first files, nor of some others, is there; names the full
      path of the first and the likely cause.
  """
  some = itertools.chain(files[:_FIRST], files[::max(len(files) // _FIRST, 1)])
  if not all(_is_missing(os.path.join(root, file)) for file in some):
    return
  raise UserError(
      f'none of the first {min(_FIRST, len(files))} files of {path!r} is there; the '
      f'first was looked for as {os.path.join(root, files[0])!r}: '
      f'{_cause(root, files[0])}')


def _is_missing(path: str) -> bool:
  """Returns whether there is no such file; storage that fails is no answer."""
  try:
    return stat.S_ISDIR(os.stat(path).st_mode)
  except (FileNotFoundError, NotADirectoryError, ValueError):
    return True
  except OSError:
    return False


def _cause(root: str, file: str) -> str:
  """Returns the likely cause, and what to change."""
  if file.lstrip()[:1] in '{[':
    return ('its lines are JSON; a list is text with one path a line, or .csv or .tsv '
            'with titles')
  if file.startswith('data:'):
    return 'its lines are pictures as text: write these to files, and list the files'
  if os.path.isdir(os.path.join(root, file)):
    return ("its lines are folders: list the files, or join the folders by commas in "
            'config key data.path, with data.source=folder')
  for changed, what in _spellings(root, file):
    if not _is_missing(os.path.join(root, changed)):
      return what
    for start in _starts(root):
      if not _is_missing(os.path.join(start, changed)):
        return f'set config key data.list_root={start}' + (
            f'; and {what}' if changed != file else '')
  parts = file.replace('\\', '/').strip('/').split('/')
  for k in range(len(parts)):  # from 0: of /1.jpg, too
    for start in (root, *_starts(root)):
      if not _is_missing(os.path.join(start, *parts[k:])):
        return (f'it is {os.path.join(start, *parts[k:])!r}: write the paths from '
                'there, or set config key data.list_root')
  return 'is the disk there, and do relative paths start at config key data.list_root?'


def _spellings(root: str, file: str) -> Iterator[tuple[str, str]]:
  """Yields the path as it may have been meant, and what to change."""
  yield file, 'it is there now'
  slashes = file.replace('\\', '/')
  if slashes != file:
    yield slashes, "its paths have Windows' back-slashes: write / instead"
  seen = ''.join(filter(str.isprintable, slashes))
  if seen != slashes:
    yield seen, f'its paths hold characters that are not seen, as {ascii(file)}'
  for ending in formats.ENDINGS:
    for end in (ending, ending.upper()):
      yield slashes + end, f'its paths lack the ending of the files, {end}'
  stem, dot, written = slashes.rpartition('.')
  for ending in formats.ENDINGS if dot else ():
    for end in (ending, ending.upper()):
      yield stem + end, f'its paths end in .{written}, the files in {end}'
  yield stem, f'its paths have one ending too many, .{written}'
  for form in ('NFC', 'NFD'):
    yield unicodedata.normalize(form, slashes), f'write its paths in the form {form}'
  yield urllib.parse.unquote(slashes), 'its paths are written as in URLs, with %20'
  yield slashes.strip(' "\''), 'its paths have quotes'
  yield os.path.expanduser(slashes), 'write the full path for ~'
  yield os.path.expandvars(slashes), 'write the value for the variable'
  yield slashes.rstrip(',;'), 'its lines end in a separator'
  numbered = _with_zeros_of_disk(root, slashes)
  if numbered is not None:
    yield numbered, f'the numbers are written otherwise on the disk, as {numbered!r}'
  cased = _with_case_of_disk(root, slashes)
  if cased is not None:
    yield cased, f'upper and lower case differ: on the disk it is {cased!r}'


def _with_zeros_of_disk(root: str, file: str) -> str | None:
  """Returns the file of the same number, as 007.jpg for 7 and 7.0; None without."""
  folder, slash, last = file.rpartition('/')
  number = re.match(r'0*(\d+)(?!\d)', last)
  return number and next(
      (folder + slash + name for name in _names(os.path.join(root, folder))
       if re.fullmatch(rf'0*{number[1]}(\.\w+)?', name)), None)


def _with_case_of_disk(root: str, file: str) -> str | None:
  """Returns the path as the disk spells it, None where it is not there in any case."""
  found = []
  for part in file.split('/'):
    names = _names(os.path.join(root, *found))
    match = next((name for name in names if name.lower() == part.lower()), None)
    if match is None:
      return None
    found.append(match)
  return '/'.join(found)


def _starts(root: str) -> list[str]:
  """Returns other folders where the paths may start."""
  above = [os.path.dirname(root)]
  above.append(os.path.dirname(above[0]))
  below = [os.path.join(root, name) for name in _names(root)]
  return [*above, os.getcwd(), *filter(os.path.isdir, below)]


def _names(folder: str) -> list[str]:
  """Returns the first names in a folder, [] where it cannot be listed."""
  try:
    with os.scandir(folder or '.') as entries:
      return sorted(entry.name for entry in itertools.islice(entries, _MOST_ENTRIES))
  except (OSError, ValueError):
    return []
