"""Labels of lists and arrays: ids are numbered without gaps, and kept as names."""

from __future__ import annotations

import logging
import re
from typing import NamedTuple

import numpy as np

from byol_jax.data.sources import table
from byol_jax.errors import UserError

_console = logging.getLogger('byol_jax')

NONE = -1  # the label of an image without one
NUMBER = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan', re.IGNORECASE)
_WHOLE = re.compile(r'(\d+)(?:\.0*)?')  # pandas writes 1.0 where some are missing
_MOST_DIGITS = 18
_FEW = 10  # classes, up to which single images are no sign of ids
_MOST_SHOWN = 3


class Texts(NamedTuple):
  """The labels as texts of the list."""
  lines: dict[str, int]  # each different label: the first line with it
  which: np.ndarray  # int32 [N], the number of each image's label in `lines`


def number(ids: np.ndarray, where: str, class_names: tuple[str, ...] | None,
           ) -> tuple[np.ndarray, tuple[str, ...] | None]:
  """Numbers the distinct ids.

  Args:
    ids: int64 [N], `NONE` where an image has no label.
    where: the place of the labels, for messages.
    class_names: None for a training part; the names of its classes for another part,
      which are ids as text.

  Returns:
    Labels int32 [N]; the names of the classes, the ids as text. None if the ids are
    0, 1, 2, ... already.

  Raises:
    UserError: an id is not among those of the training part.
  """
  has_label = ids != NONE
  distinct = np.unique(ids[has_label])
  if class_names is None:
    if not len(distinct) or distinct[-1] == len(distinct) - 1:
      return ids.astype(np.int32), None
    class_names = tuple(map(str, distinct.tolist()))
  numbers = {name: k for k, name in enumerate(class_names)}
  unknown = [x for x in distinct.tolist() if str(x) not in numbers]
  if unknown:
    raise UserError(
        f'{where} has the label {unknown[0]}, which is not one of the '
        f'{len(class_names)} classes of the training part '
        f'({", ".join(class_names[:_MOST_SHOWN])}, ...): mend the labels or set '
        "--config.data.test_split=''")
  of_distinct = np.array([numbers[str(x)] for x in distinct.tolist()], np.int32)
  labels = np.full(len(ids), NONE, np.int32)
  labels[has_label] = of_distinct[np.searchsorted(distinct, ids[has_label])]
  return labels, class_names


def warn_of_singles(labels: np.ndarray, name: str) -> None:
  """Warns where most classes have one image: ids of images, or folders of one each."""
  counts = np.unique(labels[labels != NONE], return_counts=True)[1]
  singles = int((counts == 1).sum())
  if len(counts) > _FEW and 2 * singles > len(counts):
    _console.warning(
        '%s: %d of %d classes have one image: are the labels ids of images, or the '
        'folders no classes? config key data.class_folders=none or '
        'data.label_column=none trains without labels', name, singles, len(counts))


def of_texts(path: str, texts: Texts, split: str, class_names: tuple[str, ...] | None,
             rules: str) -> tuple[np.ndarray, tuple[str, ...] | None]:
  """Numbers the labels of a list; arguments as for `list.read_list`.

  Returns:
    Labels int32 [N], `NONE` for no label; the names of the classes if they have some.

  Raises:
    UserError: names the line that is wrong.
  """
  lines = texts.lines
  numbers = {text: _whole(text) for text in lines}
  if None not in numbers.values() and (
      class_names is None or all(map(str.isdecimal, class_names))):
    long = next((text for text in lines if len(text) > _MOST_DIGITS), None)
    if long is not None:
      raise UserError(f'{path!r}, line {lines[long]}, has a label of {len(long)} '
                      f'characters: numbers have at most {_MOST_DIGITS}; write a name')
    ids = np.array(list(numbers.values()), np.int64)
    if class_names is None and (split == 'test' or rules == '0.1'):
      table.check_largest(int(ids.max()),
                          len(texts.which) if split == 'train' else None, repr(path))
      return ids.astype(np.int32)[texts.which], None
    return number(ids[texts.which], repr(path), class_names)
  not_whole = next((text for text in lines if numbers[text] is None), '')
  if class_names is None and all(
      NUMBER.fullmatch(text) for text in lines if text):
    raise UserError(
        f'{path!r}, line {lines[not_whole]}, has a label {not_whole!r}: labels are '
        'whole numbers counted from 0, or names')
  if class_names is None and split == 'test':
    raise UserError(
        f'{path!r}, line {lines[not_whole]}, has a label {not_whole!r}, and the '
        'training list has numbers, or no labels: write names in both lists or '
        'numbers in both')
  names = class_names or tuple(sorted(filter(None, lines)))
  of = {name: i for i, name in enumerate(names)} | {'': NONE}
  for text, line in lines.items():
    if text not in of:
      raise UserError(f'{path!r}, line {line}: {text!r} is not one of the '
                      f'{len(names)} classes of the training list')
  return (np.array([of[text] for text in lines], np.int32)[texts.which], names)


def _whole(text: str) -> int | None:
  """Returns the number that a label is, `NONE` for no label; None for a name."""
  if not text or text.lower() in ('nan', '-1', '-1.0'):
    return NONE
  found = _WHOLE.fullmatch(text)
  return found and int(found[1][:_MOST_DIGITS])
