"""Names of folders and files: parts, what systems leave, what was passed over."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Mapping, Sequence
import logging
import os
import re

from byol_jax import wording
from byol_jax.data.images import formats

_console = logging.getLogger('byol_jax')

# Names of parts, in upper or lower case. The first that exists counts.
TRAIN = ('train', 'training')
TEST = ('test', 'testing', 'val', 'valid', 'validation', 'eval', 'evaluation')
# COCO's train2017, and others: train_images, test-set, images_val
_PART = re.compile(
    rf'(?:(?:images?|imgs?)[-_ .]?)?({"|".join((*TRAIN, *TEST))})'
    r'(?:[-_ .]?(?:set|images?|imgs?|data|split|\d{1,4}))*')
# Folders of network disks, recycle bins and archives, in lower case; names that begin
# with a dot are passed over anyhow.
SYSTEM = frozenset((
    '@eadir', '#recycle', '#snapshot', '@recycle', '@recently-snapshot', '@tmp',
    '@sharebin', '@transcode', '@__thumb', '$recycle.bin', 'recycler', 'recycled',
    'system volume information', '__macosx', 'lost+found', 'network trash folder',
    'temporary items', 'found.000', '__pycache__', '~snapshot', '_gsdata_',
    'node_modules'))
_LIKE_A_PART = re.compile(
    rf'{_PART.pattern}|dev|hold-?out|trainval|unlabell?ed|query|gallery|fold[-_ ]?\d+'
    r'|(train|test|val)[ab]|bounding_box_(train|test)')
# a part's word within a name, as in seg_train and DIV2K_valid_HR
WITHIN = re.compile(rf'(?<![a-z])({"|".join((*TRAIN, *TEST, "dev"))})(?![a-z])',
                    re.IGNORECASE)
_MASKS = re.compile(
    r'(\w+[-_ ])?(masks?|labels?|annotations?|annotated|anns|annots?|ann(?=[-_ ]?dir)'
    r'|gt|gt(fine|coarse)|ground[-_ ]?truth|trimaps?|seg|segmentations?'
    r'|segmentation(class|object)|stuffthingmaps|depths?)'
    r'([-_ ]?(images?|maps?|pngs?|dir|raw|aug))?'
    r'|(masks?|labels?|annotations?|gt)[-_ ]?(train|val|test)')
_THUMBNAILS = re.compile(r'_?(thumbs?|thumbnails?|previews?)')
_MASK_FILE = re.compile(
    r'[-_. ](mask|gt|seg|segmentation|labels?|groundtruth|trimap|depth)[-_ ]?\d*\.\w+$',
    re.IGNORECASE)
_SOME = 10_000  # files whose names are looked at
_PART_OF_THEM = 0.1  # that look like masks, from which on it is told
_TOLD = 10


def system(rules: str) -> frozenset[str]:
  """Returns the names of folders that are passed over, in lower case, by `rules`."""
  return frozenset() if rules == '0.1' else SYSTEM


def endings(rules: str) -> tuple[str, ...]:
  """Returns the endings of images' names by the rules of a version."""
  return formats.ENDINGS_0_1 if rules == '0.1' else formats.ENDINGS


def part_of(name: str) -> str | None:
  """Returns the part that a folder's name speaks of, such as 'train' or 'val'."""
  found = _PART.fullmatch(name.lower())
  return found and found[1]


def parts(folders: Iterable[str], rules: str) -> tuple[str | None, list[str]]:
  """Finds the training part and the test parts among the folders of a data set.

  Args:
    folders: their names.
    rules: '0.1' knows the plain names only, later ones `train2017` as well: where there
      is no plain name, and no other folder speaks of a training part.

  Returns:
    The name of the training part, or None, and the names of the test parts.
  """
  # if Test and test are there, the latter counts, whatever the system lists first
  cased = {name.lower(): name for name in sorted(folders)}
  train = next((cased[name] for name in TRAIN if name in cased), None)
  tests = [cased[name] for name in TEST if name in cased]
  if rules == '0.1' or train is not None and tests:
    return train, tests
  like = collections.defaultdict(list)
  for name in sorted(folders):
    like[part_of(name)].append(name)
  trains = [name for part in TRAIN for name in like[part]]
  tests = tests or [name for part in TEST for name in like[part]]
  if train is None and len(trains) == 1 and tests:
    train = trains[0]
  return train, tests if train is not None else []


def warn_of_folders(root: str, files: Sequence[str]) -> None:
  """Warns where training images lie in what looks like other parts, masks, copies.

  Args:
    root: the folder of the training part.
    files: its images, with '/' between the parts of the paths.
  """
  folders = folders_of(files)
  def those(pattern: re.Pattern) -> list[str]:
    return _like(folders, pattern)
  if parts := like_parts(folders):
    _console.warning(
        '%s: the folders %s look like parts of a data set, and all are trained on: set '
        'config key data.path to one of them, or call them train and test', root,
        named(parts))
  if masks := those(_MASKS):
    _console.warning(
        '%s: the folders %s look like masks or labels of images, and are trained on: '
        'set config key data.path to the folder of the images alone', root,
        named(masks))
  elif sum(bool(_MASK_FILE.search(file)) for file in files[:_SOME]) > (
      _PART_OF_THEM * min(len(files), _SOME)):
    example = next(filter(_MASK_FILE.search, files))
    _console.warning(
        '%s: files such as %r look like masks or labels of images, and are trained on: '
        'move them away', root, example)
  tops = {name.split('/')[0] for name in folders}
  within = collections.defaultdict(set)
  for name in folders:
    within[name.split('/')[0]].update(name.split('/')[1:2])
  alike = set.intersection(*map(within.__getitem__, tops)) if len(tops) > 1 else ()
  if not parts and 1 < len(tops) <= len(alike):
    _console.warning(
        '%s: each of the folders %s holds folders of the same names, %s, and they are '
        'the classes: if they are parts of a data set, set config key data.path to one '
        'of them', root, named(tops), named(alike))
  if copies := [name for name in tops if len(within[name] & tops) > 1]:
    _console.warning(
        '%s: the folders %s hold folders with the names of others beside them, and are '
        'trained on as classes: move copies away', root, named(copies))
  if thumbnails := those(_THUMBNAILS):
    _console.warning('%s: the folders %s look like small copies of images, and are '
                     'trained on: move them away', root, named(thumbnails))


def folders_of(files: Iterable[str]) -> list[str]:
  """Returns the sorted folders that hold files, without the top."""
  return sorted({file.rpartition('/')[0] for file in files} - {''})


def like_parts(folders: Sequence[str]) -> list[str]:
  """Returns those of the folders, and above them, that look like parts, if any do."""
  parts = sorted({*_like(folders, _LIKE_A_PART), *_pairs_of_parts(folders)})
  are_some = len(parts) > 1 or any(part_of(os.path.basename(x)) for x in parts)
  return parts if are_some else []


def _like(folders: Iterable[str], pattern: re.Pattern) -> list[str]:
  """Returns the folders, and those above them, whose last name is of a kind."""
  return list(dict.fromkeys(
      path for name in folders for path in _and_above(name)
      if pattern.fullmatch(os.path.basename(path).lower())))


def _pairs_of_parts(folders: Iterable[str]) -> set[str]:
  """Returns folders whose names differ in the part alone, as seg_train and seg_test."""
  alike = collections.defaultdict(dict)
  for name in {x for path in folders for x in _and_above(path)}:
    above, _, last = name.rpartition('/')
    if word := WITHIN.search(last):
      rest = last[:word.start()], last[word.end():]
      alike[above, rest][word[1].lower() in TRAIN] = name
  return {name for found in alike.values() if len(found) > 1 for name in found.values()}


def _and_above(path: str) -> Iterator[str]:
  """Yields a path and all folders above it."""
  parts = path.split('/')
  return ('/'.join(parts[:k]) for k in range(1, len(parts) + 1))


def named(names: Iterable[str]) -> str:
  """Returns the first of some names in the order of their bytes, for a message."""
  return wording.quoted(sorted(names, key=os.fsencode), _TOLD)


class PassedOver:
  """Counts what a walk through folders passes over."""

  def __init__(self):
    self._files: collections.Counter[str] = collections.Counter()
    self._folders: collections.Counter[str] = collections.Counter()
    self._example = ''

  def file(self, name: str) -> None:
    """Notes a file that is no image by its name."""
    base = os.path.basename(name)
    self._example = self._example or name
    self._files[os.path.splitext(base)[1].lower() or 'without an ending'] += 1

  def folder(self, name: str) -> None:
    """Notes a folder of the system."""
    self._folders[name] += 1

  def __str__(self) -> str:
    """Returns what was passed over, '' for nothing."""
    passed_over = []
    if self._files:
      passed_over.append(
          f'{wording.count(self._files.total(), "file", ",")} by the ending '
          f'({_counted(self._files)}; for example {self._example!r})')
    if self._folders:
      passed_over.append(f'folders of the system ({_counted(self._folders)})')
    return ' and '.join(passed_over)


def _counted(counts: Mapping[str, int]) -> str:
  """Returns the most frequent names with their counts."""
  first = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
  return wording.some((f'{name} x {count:,}' for name, count in first), _TOLD)
