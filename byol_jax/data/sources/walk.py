"""Walks through folders of images, and notes what it passes over."""

from __future__ import annotations

from collections.abc import Iterator
import os

from byol_jax.data.sources import layout
from byol_jax.storage import failures


def first_folders(files: list[str]) -> tuple[str, ...]:
  """Returns the sorted first folders of all files; () if one lies in no folder."""
  if not all('/' in file for file in files):
    return ()
  names = {file.split('/', 1)[0] for file in files}
  return tuple(sorted(names, key=os.fsencode))


class Walk:
  """A walk through folders by the rules of a version.

  Attributes:
    unreadable: folders that may not be read, met by `files`.
    passed: what else was passed over.
  """

  def __init__(self, rules: str):
    self.rules, self.endings = rules, layout.endings(rules)
    self._system = layout.system(rules)
    self.unreadable: list[str] = []
    self.passed = layout.PassedOver()

  def scan(self, path: str) -> tuple[set[str], bool]:
    """Returns a folder's subfolders, and whether it has images itself."""
    folders, has_images = set(), False
    for entry in entries(path):
      if _is_folder(entry):
        if entry.name.lower() not in self._system:
          folders.add(entry.name)
      else:
        has_images = has_images or self._is_image(entry)
    return folders, has_images

  def class_folders(self, root: str) -> tuple[str, ...]:
    """Returns the sorted names of the class folders, () where images lie in `root`."""
    folders, has_images = self.scan(root)
    if has_images:
      return ()
    names = []
    for name in sorted(folders, key=os.fsencode):
      is_link, links = os.path.islink(os.path.join(root, name)), []
      # next(): one image is enough; the walk must not pass a million.
      if not is_link and next(self._below(root, name + '/', set(), links), None):
        names.append(name)
      elif is_link or links:
        # A folder behind a link may have its place elsewhere: list the whole to know.
        return first_folders(list(self.files(root)))
    return tuple(names)

  def files(self, root: str) -> Iterator[str]:
    """Yields the images below `root`, any depth, as relative paths with '/'.

    Images that need no link come first, then images behind links, then images behind
    links behind links. So a folder's place depends on the tree alone, not on the order
    in which the system lists it.
    """
    seen, todo = set(), ['']
    while todo:
      links = []
      for folder in sorted(todo, key=os.fsencode):
        yield from self._below(root, folder, seen, links)
      todo = links

  def _below(self, root: str, folder: str, seen: set[str],
             links: list[str]) -> Iterator[str]:
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
      for entry in entries(path, self.unreadable if folder else None):
        name = folder + entry.name
        if _is_folder(entry):
          if entry.name.lower() in self._system:
            self.passed.folder(entry.name)
          else:
            (links if entry.is_symlink() else todo).append(name + '/')
        elif self._is_image(entry):
          yield name
        elif _is_file(entry):
          self.passed.file(name)

  def _is_image(self, entry: os.DirEntry) -> bool:
    """Returns whether an entry is named like an image, and is a file or any link."""
    return (entry.name.lower().endswith(self.endings)
            and (entry.is_symlink() or _is_file(entry)))


def entries(path: str,
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


def _is_file(entry: os.DirEntry) -> bool:
  """Returns whether an entry is a file or a link to one; False for a broken link."""
  try:
    return entry.is_file()
  except OSError:  # a link to itself, or to where one may not look
    return False


def _is_folder(entry: os.DirEntry) -> bool:
  """Returns whether an entry is a folder or a link to one; False for a broken link."""
  try:
    return entry.is_dir()
  except OSError:  # a link to itself
    return False
