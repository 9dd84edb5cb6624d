"""The source 'folder': image files, flat or in one folder a class."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
import errno
import logging
import os
from typing import NamedTuple

import numpy as np

from byol_jax.data import bad as bad_lib
from byol_jax.data.images.decode import BadImage
from byol_jax.data.sources import table
from byol_jax.errors import UserError
from byol_jax.storage import failures
from byol_jax.storage import retry

_console = logging.getLogger('byol_jax')

EXTENSIONS = (
    '.bmp', '.gif', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')

# Names of parts, in upper or lower case. The first that exists counts; for test parts
# see `list_folder`.
_TRAIN = ('train', 'training')
_TEST = ('test', 'testing', 'val', 'valid', 'validation', 'eval', 'evaluation')
_OF_THE_DISK = 'lost+found'  # at the top of a file system; no part or class
_TOLD = 10  # folders named in a warning


class Listing(NamedTuple):
  """The image files of one split."""
  root: str  # the folder that `files` are relative to, unless they are absolute
  files: list[str]  # with '/' between the parts
  labels: np.ndarray | None  # int32 [N]
  class_names: tuple[str, ...] | None  # None where labels are numbers


def open_split(request: table.Request, split: str) -> table.Encoded | None:
  """Opens the folder `path`: see `list_folder`. Files are checked on reading."""
  listing = list_folder(request.path, split)
  return None if listing is None else encoded(listing, listing.root, request.max_bad)


def encoded(listing: Listing, name: str, max_bad: int | None) -> table.Encoded:
  """Makes a source of listed files.

  Args:
    listing: the files.
    name: the source's name, for messages.
    max_bad: see `table.Request`.
  """
  root, files = listing.root, listing.files
  return table.Encoded(
      read=lambda index: read_file(os.path.join(root, files[index])),
      size=len(files), labels=listing.labels, names=files,
      class_names=listing.class_names, name=name,
      bad=bad_lib.BadImages(files, name, max_bad), root=root)


def list_folder(path: str, split: str) -> Listing | None:
  """Lists a folder's images: flat, one folder a class, or split into parts.

  Layouts:
    * images directly in the folder: unlabelled. With images in subfolders as
      well, all of them count, unlabelled.
    * images in subfolders only: one class a subfolder, numbered by sorted name;
      below a class any depth. A single subfolder is no class: unlabelled.
    * `train/` or `training/` beside `test/`, `testing/`, `val/`, `valid/`,
      `validation/`, `eval/` or `evaluation/`: `split` chooses the part, each of
      which is flat or has one folder a class. The classes are those of the training
      part. If there are several test parts, the first one with class folders is
      taken, so ImageNet's unlabelled `test/` is passed over.
    * `train/` alone: a training part, and no test part.
  Names of parts may be in upper or lower case. Other folders beside a training and a
  test part are passed over, and named on the console: they may be meant as classes.

  Images are jpg, jpeg, png, webp, bmp, gif, tif and tiff files, in upper or lower
  case. A name that starts with a dot is skipped, and a subfolder that may not be read
  is left out with a warning. Symbolic links are followed; a broken one is listed and
  found to be bad on reading.

  Each folder is listed once, however many links lead to it: at its own place if it
  lies below `path`, else under the first link in the order of the paths' bytes. So
  a class folder that is a link to another class folder is no class.

  Args:
    path: the folder.
    split: 'train', 'test', or the name of any other part's folder.

  Returns:
    The listing, in the order of the paths' bytes; None where `split` is 'test' and
    there is no test part.

  Raises:
    UserError: the folder is missing, unreadable or without images, or a test
      class is not among the training classes.
    TransientError: the storage fails.
  """
  _check_folder(path)
  train, tests, others = _parts(path)
  if split == 'train':
    root = train
    if others:
      _console.info('%s: passed over %s beside the parts %s', path, _named(others),
                    ', '.join(map(os.path.basename, [train, *tests])))
  elif split == 'test':
    if not tests:
      return None
    root = next((part for part in tests if _class_folders(part)), tests[0])
  else:
    root = os.path.join(path, split)
    _check_folder(root)
  unreadable = []
  files = sorted(_walk(root, unreadable), key=os.fsencode)
  if unreadable:
    _console.warning('left out folders that may not be read: %s',
                     _named(unreadable))
  if not files:
    raise UserError(
        f'no images in {root}: config.data.path must be a folder with '
        f'{", ".join(e[1:] for e in EXTENSIONS)} files')
  class_names = _first_parts(files) if root == train else _class_folders(train)
  if len(class_names) < 2 or not _first_parts(files):
    _tell_why_unlabelled(root, files)
    return Listing(root, files, None, None)
  return Listing(root, files, _labels(root, files, class_names), class_names)


def passed_over(path: str) -> dict[str, int]:
  """Counts the files below a folder that are no images by their names.

  Links to folders are not followed.

  Returns:
    {ending, or the whole name for a name without one: files}, the most frequent first.
  """
  counts = collections.Counter()
  for _, _, files in os.walk(path):
    counts.update(os.path.splitext(name)[1].lower() or name for name in files
                  if not name.lower().endswith(EXTENSIONS))
  return dict(counts.most_common())


def read_file(path: str) -> bytes:
  """Reads one file, again if the storage fails for a moment.

  Args:
    path: the file.

  Returns:
    The file's bytes, unchecked.

  Raises:
    BadImage: there is no such file, or it may not be read.
    TransientError: the storage fails for a minute.
  """
  def read() -> bytes:
    with open(path, 'rb') as file:
      return file.read()
  try:
    return retry.insist(read, repr(path))
  except OSError as error:
    if error.errno == errno.ENOENT:
      raise BadImage('missing') from error
    raise BadImage(f'unreadable ({error.strerror})') from error
  except ValueError as error:  # no path at all: it has a NUL, for example
    raise BadImage(f'unreadable ({error})') from error


def _check_folder(path: str) -> None:
  """Raises UserError unless `path` is a folder."""
  if not os.path.isdir(path):
    state = 'is not a folder' if os.path.exists(path) else 'does not exist'
    raise UserError(f'image folder {path!r} {state}: check config.data.path')


def _named(folders: Iterable[str]) -> str:
  """Returns the names of the first of some folders, for a message."""
  folders = sorted(folders, key=os.fsencode)
  more = len(folders) - _TOLD
  return ', '.join(map(repr, folders[:_TOLD])) + (
      f' and {more} more' if more > 0 else '')


def _parts(path: str) -> tuple[str, list[str], set[str]]:
  """Finds the training part and the test parts.

  Returns:
    The folder of the training part, the folders of the test parts, and the names of
    other folders. Without parts (`path`, [], {}).
  """
  folders, has_images = _scan(path)
  # if Test and test are there, the latter counts, whatever the system lists first
  cased = {name.lower(): name for name in sorted(folders)}
  train = next((cased[name] for name in _TRAIN if name in cased), None)
  tests = [cased[name] for name in _TEST if name in cased]
  others = folders - {train, *tests, _OF_THE_DISK}
  if train is None or not tests and (others or has_images):
    return path, [], set()
  return os.path.join(path, train), [os.path.join(path, x) for x in tests], others


def _class_folders(root: str) -> tuple[str, ...]:
  """Returns the sorted names of the class folders, () where images lie in `root`."""
  folders, has_images = _scan(root)
  if has_images:
    return ()
  names = []
  for name in sorted(folders, key=os.fsencode):
    is_link, links = os.path.islink(os.path.join(root, name)), []
    # next(): one image is enough; the walk must not pass a million.
    if not is_link and next(_below(root, name + '/', set(), links, []), None):
      names.append(name)
    elif is_link or links:
      # A folder behind a link may have its place elsewhere: list the whole to know.
      return _first_parts(list(_walk(root, [])))
  return tuple(names)


def _first_parts(files: list[str]) -> tuple[str, ...]:
  """Returns the result of `_class_folders`, from the list of files."""
  if not all('/' in file for file in files):
    return ()
  names = {file.split('/', 1)[0] for file in files}
  return tuple(sorted(names, key=os.fsencode))


def _labels(
    root: str, files: list[str], class_names: tuple[str, ...]) -> np.ndarray:
  """Returns the number of each file's class folder: int32 [N]."""
  number = {name: i for i, name in enumerate(class_names)}
  try:
    return np.array([number[file.split('/', 1)[0]] for file in files], np.int32)
  except KeyError as error:
    raise UserError(
        f'{os.path.join(root, error.args[0])!r} is not one of the '
        f'{len(class_names)} class folders of the training part: rename it, move it '
        'away, or add the class there') from error


def _tell_why_unlabelled(root: str, files: list[str]) -> None:
  """Logs why a listing has no labels."""
  nested = sum('/' in file for file in files)
  if nested == 0:
    why = 'they lie directly in the folder'
  elif nested < len(files):
    why = f'{len(files) - nested} lie directly in the folder, {nested} below it'
  else:
    why = 'the training part has fewer than two class folders'
  _console.info('%s: %d images without labels (%s)', root, len(files), why)


def _scan(path: str) -> tuple[set[str], bool]:
  """Returns a folder's subfolders, and whether it has images itself."""
  folders, has_images = set(), False
  for entry in _entries(path):
    if _is_folder(entry):
      folders.add(entry.name)
    else:
      has_images = has_images or _is_image(entry)
  return folders, has_images


def _walk(root: str, unreadable: list[str]) -> Iterator[str]:
  """Yields the images below `root`, any depth, as relative paths with '/'.

  Images that need no link come first, then images behind links, then images behind
  links behind links. So a folder's place depends on the tree alone, not on the order
  in which the system lists it. For `unreadable` see `_entries`.
  """
  seen, todo = set(), ['']
  while todo:
    links = []
    for folder in sorted(todo, key=os.fsencode):
      yield from _below(root, folder, seen, links, unreadable)
    todo = links


def _below(root: str, folder: str, seen: set[str], links: list[str],
           unreadable: list[str]) -> Iterator[str]:
  """Yields the images of one folder of `root`; puts links to folders into `links`.

  Skips folders whose real paths are in `seen`, and adds the paths of the others.
  """
  todo = [folder]
  while todo:
    folder = todo.pop()
    path = os.path.join(root, folder)
    real = os.path.realpath(path)
    if real in seen:
      continue
    seen.add(real)
    for entry in _entries(path, unreadable if folder else None):
      name = folder + entry.name
      if _is_folder(entry):
        (links if entry.is_symlink() else todo).append(name + '/')
      elif _is_image(entry):
        yield name


def _entries(path: str,
             unreadable: list[str] | None = None) -> Iterator[os.DirEntry]:
  """Yields a folder's entries without the hidden ones.

  A folder without permission is noted in `unreadable`, if this is a list. Other errors
  are raised, as they may pass: to go on would list another data set each time.
  """
  try:
    with os.scandir(path) as entries:
      for entry in entries:
        if not entry.name.startswith('.'):
          yield entry
  except OSError as error:
    if unreadable is None or not isinstance(error, PermissionError):
      raise failures.of_storage(f'cannot list folder {path!r}: {error.strerror}',
                                error) from error
    unreadable.append(path)


def _is_folder(entry: os.DirEntry) -> bool:
  """Returns whether an entry is a folder or a link to one; False for a broken link."""
  try:
    return entry.is_dir()
  except OSError:  # a link to itself
    return False


def _is_image(entry: os.DirEntry) -> bool:
  """Returns whether an entry is named like an image, and is a file or any link."""
  return (entry.name.lower().endswith(EXTENSIONS)
          and (entry.is_symlink() or entry.is_file()))
