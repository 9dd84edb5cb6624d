"""The source 'folder': image files, flat or in one folder a class."""

from __future__ import annotations

import errno
import logging
import os
from typing import NamedTuple

import numpy as np

from byol_jax import wording
from byol_jax.data import bad as bad_lib
from byol_jax.data.images import formats
from byol_jax.data.images.decode import BadImage
from byol_jax.data.sources import layout
from byol_jax.data.sources import parts
from byol_jax.data.sources import several
from byol_jax.data.sources import table
from byol_jax.data.sources import walk as walk_lib
from byol_jax.errors import UserError
from byol_jax.storage import retry

_console = logging.getLogger('byol_jax')

EXTENSIONS = formats.ENDINGS

_OF_THE_DISK = 'lost+found'  # at the top of a file system; no part or class
_RULES = '0.2'


class Listing(NamedTuple):
  """The image files of one split."""
  root: str  # the folder that `files` are relative to, unless they are absolute
  files: list[str]  # with '/' between the parts
  labels: np.ndarray | None  # int32 [N]
  class_names: tuple[str, ...] | None  # None where labels are numbers


def open_split(request: table.Request, split: str) -> table.Encoded | None:
  """Opens the folder `path`: see `list_folder`. Files are checked on reading.

  Several that commas join are one, whose classes are those of all by their names.
  """
  listings = [list_folder(path, split, rules=request.rules,
                          class_folders=request.class_folders,
                          called=(request.train_split, request.test_split))
              for path in parts.split_paths(request.path)]
  if len(listings) > 1:
    listings = several.joined([x for x in listings if x], request.class_names)
  listing = listings[0] if listings else None
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
      bad=bad_lib.BadImages(files, name, max_bad, root), root=root)


def list_folder(path: str, split: str, *, rules: str = _RULES,
                class_folders: str = 'top',
                called: tuple[str, str] = ('train', 'test')) -> Listing | None:
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
      taken, so ImageNet's unlabelled `test/` is passed over. Test parts without images
      are none, and a warning says so.
    * `train/` alone: a training part, and no test part.
    * in a test part a single subfolder is no class, as in training, unless the training
      part has a class of its name. Nor are subfolders of which none has such a name.
  Names of parts may be in upper or lower case; for `train2017` see `layout.parts`.
  Other folders beside a training and a test part are passed over, and named on the
  console: they may be meant as classes.

  Images are files with one of `EXTENSIONS`, in upper or lower case. Others are counted
  on the console by their endings. A name that starts with a dot is skipped, folders of
  the system (`layout.SYSTEM`) are passed over, and a subfolder that may not be read is
  left out with a warning. Symbolic links are followed; a broken one is listed and found
  to be bad on reading.

  Each folder is listed once, however many links lead to it: at its own place if it
  lies below `path`, else under the first link in the order of the paths' bytes. So
  a class folder that is a link to another class folder is no class.

  Args:
    path: the folder.
    split: 'train', 'test', or the name of any other part's folder.
    rules: the version by whose rules to list: '0.1' knows fewer endings and parts, and
      no folders of the system; a single subfolder of a test part is a class.
    class_folders: 'top' as above; with 'leaf' each folder that holds images itself is a
      class; with 'none' there are no labels.
    called: the folders of the training part and of the test part, where they have other
      names than those above.

  Returns:
    The listing, in the order of the paths' bytes; None where `split` is 'test' and
    there is no test part.

  Raises:
    UserError: the folder is missing, unreadable or without images, or a test
      class is not among the training classes.
    TransientError: the storage fails.
  """
  _check_folder(path)
  walk = walk_lib.Walk(rules)
  train, tests, others = _parts(path, walk, called)
  if split in ('train', called[0]):
    root = train
    if others:
      _console.info('%s: passed over %s beside the parts %s', path,
                    layout.named(others),
                    ', '.join(map(os.path.basename, [train, *tests])))
  elif split == 'test':
    root = _test_part(path, tests, rules, train)
    if root is None:
      return None
  else:
    root = os.path.join(path, split)
    _check_folder(root)
  files = sorted(walk.files(root), key=os.fsencode)
  if walk.unreadable:
    _console.warning('left out folders that may not be read: %s',
                     layout.named(walk.unreadable))
  if not files:
    raise UserError(
        f'no images in {root}: config.data.path must be a folder with '
        f'{", ".join(e[1:] for e in walk.endings)} files'
        + (f'; passed over {walk.passed}' if str(walk.passed) else ''))
  if str(walk.passed):
    _console.info('%s: passed over %s', root, walk.passed)
  if root == train and rules != '0.1':
    layout.warn_of_folders(root, files)
  classes_of = {'top': walk_lib.first_folders, 'leaf': _folders,
        'none': lambda files: ()}[class_folders]
  mine = classes_of(files)
  if root == train:
    class_names = mine
  elif class_folders == 'top':
    class_names = walk_lib.Walk(rules).class_folders(train)
  else:
    class_names = classes_of(list(walk_lib.Walk(rules).files(train)))
  # a part whose folders are none of the training part's classes has no labels
  are_classes = rules == '0.1' or bool(set(mine) & set(class_names))
  if len(class_names) < 2 or not mine or not are_classes:
    _tell_why_unlabelled(root, files, class_folders, class_names)
    return Listing(root, files, None, None)
  if empty := walk.scan(root)[0] - set(walk_lib.first_folders(files)):
    _console.info('%s: no images in %s', root, layout.named(empty))
  return Listing(root, files, _labels(root, files, class_names, class_folders),
                 class_names)


def _test_part(path: str, tests: list[str], rules: str, train: str) -> str | None:
  """Returns the first test part that has classes, or else images; None without.

  Classes are folders of which the training part has one, too: not test/images.
  """
  known = None if rules == '0.1' or len(tests) < 2 else set(
      walk_lib.Walk(rules).class_folders(train))
  for part in tests:
    classes = walk_lib.Walk(rules).class_folders(part)
    if classes and (not known or known & set(classes)):
      return part
  for part in tests:
    if next(walk_lib.Walk(rules).files(part), None):
      return part
  if tests:
    _console.warning('%s: no test part: there are no images in %s', path,
                     layout.named(map(os.path.basename, tests)))
  return None


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


def _parts(path: str, walk: walk_lib.Walk, called: tuple[str, str],
           ) -> tuple[str, list[str], set[str]]:
  """Finds the training part and the test parts.

  Returns:
    The folder of the training part, the folders of the test parts, and the names of
    other folders. Without parts (`path`, [], {}).
  """
  folders, has_images = walk.scan(path)
  train, tests = layout.parts(folders, walk.rules)
  if walk.rules != '0.1' and called != ('train', 'test'):
    train = called[0] if called[0] in folders else train
    if called[1] in folders and train is not None:
      tests = [called[1], *tests]
    tests = [name for name in dict.fromkeys(tests) if name != train]
  others = folders - {train, *tests, _OF_THE_DISK}
  if train is None or not tests and (others or has_images):
    return path, [], set()
  return os.path.join(path, train), [os.path.join(path, x) for x in tests], others


def _folders(files: list[str]) -> tuple[str, ...]:
  """Returns the sorted folders that hold files; () if one lies in no folder."""
  names = {os.path.dirname(file) for file in files}
  return () if '' in names else tuple(sorted(names, key=os.fsencode))


def _labels(root: str, files: list[str], class_names: tuple[str, ...],
            class_folders: str) -> np.ndarray:
  """Returns the number of each file's class folder: int32 [N]."""
  number = {name: i for i, name in enumerate(class_names)}
  name = (os.path.dirname if class_folders == 'leaf'
          else lambda file: file.split('/', 1)[0])
  try:
    return np.array([number[name(file)] for file in files], np.int32)
  except KeyError as error:
    raise UserError(
        f'{os.path.join(root, error.args[0])!r} is not one of the '
        f'{len(class_names)} class folders of the training part: rename it, move it '
        "away, or add the class there; or set --config.data.test_split=''") from error


def _tell_why_unlabelled(root: str, files: list[str], class_folders: str,
                         class_names: tuple[str, ...]) -> None:
  """Logs why a listing has no labels."""
  nested = sum('/' in file for file in files)
  if class_folders == 'none':
    why = 'config key data.class_folders is none'
  elif nested == 0:
    why = 'they lie directly in the folder'
  elif nested < len(files):
    why = f'{len(files) - nested} lie directly in the folder, {nested} below it'
  elif len(class_names) < 2:
    why = 'the training part has fewer than two class folders'
  else:
    folders = layout.named(walk_lib.first_folders(files))
    why = (f'its folders, {folders}, are none of the {len(class_names)} classes of the '
           'training part')
  _console.info('%s: %s without labels (%s)', root,
                wording.count(len(files), 'image'), why)
