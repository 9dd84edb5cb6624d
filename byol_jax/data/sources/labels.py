"""Labels of all sources: ids are numbered without gaps, and kept as names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import logging
import re
from typing import NamedTuple

import numpy as np

from byol_jax.data.records import texts as texts_lib
from byol_jax.data.records.index import Index
from byol_jax.data.sources import table
from byol_jax.errors import UserError

_console = logging.getLogger('byol_jax')

NONE = -1  # the label of an image without one
NUMBER = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan', re.IGNORECASE)
_WHOLE = re.compile(r'(\d+)(?:\.0*)?')  # pandas writes 1.0 where some are missing
_MOST_DIGITS = 18
_NO_LABEL = ('', '-1', '-1.0', 'nan', 'na', 'n/a', '<na>', 'null', 'none')  # of numbers
_FEW = 10  # classes, up to which single images are no sign of ids
_MOST_SHOWN = 3


class Texts(NamedTuple):
  """Labels as texts."""
  lines: dict[str, int]  # each different label: the first line or file with it
  which: np.ndarray  # int32 [N], the number of each image's label in `lines`
  place: Callable[[int], str]  # names such a line or file, for messages


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


def of_texts(where: str, texts: Texts, split: str, class_names: tuple[str, ...] | None,
             rules: str = '0.2') -> tuple[np.ndarray, tuple[str, ...] | None]:
  """Numbers labels that are texts: whole numbers, or names.

  Args:
    where: the place of all labels, for messages.
    texts: the labels.
    split: 'train' or another part.
    class_names: the classes of the training part, for another one; None where its
      labels are 0, 1, 2, ....
    rules: as for `list.read_list`.

  Returns:
    Labels int32 [N], `NONE` for no label; the names of the classes if they have some.

  Raises:
    UserError: names the label that is wrong, and its line or file.
  """
  lines = texts.lines
  no_label = _NO_LABEL[:4] if rules == '0.1' else _NO_LABEL
  numbers = {text: _whole(text, no_label) for text in lines}
  are_numbers = None not in numbers.values()
  long = next((text for text in lines if len(text) > _MOST_DIGITS), None)
  if are_numbers and long is None and (
      class_names is None or all(map(str.isdecimal, class_names))):
    ids = np.array(list(numbers.values()), np.int64)
    if class_names is None and (split == 'test' or rules == '0.1'):
      table.check_largest(int(ids.max()),
                          len(texts.which) if split == 'train' else None, where)
      return ids.astype(np.int32)[texts.which], None
    return number(ids[texts.which], where, class_names)
  are_ids = are_numbers and long is not None  # too long for numbers: names
  wrong = long if are_ids else next(
      (text for text in lines if numbers[text] is None), '')
  message = f'{texts.place(lines.get(wrong, 0))} has the label {wrong!r}'
  if class_names is None and not are_ids and all(
      NUMBER.fullmatch(text) for text in lines if text):
    raise UserError(f'{message}: labels are whole numbers counted from 0, or names; '
                    "config key data.label_column='none' takes none")
  if class_names is None and split == 'test':
    raise UserError(f'{message}, and the training part has numbers, or no labels: '
                    'write names in both or numbers in both')
  without = {''} | {text for text in lines if are_ids and numbers[text] == NONE}
  names = class_names or tuple(sorted(
      lines.keys() - without, key=lambda text: (len(text) * are_ids, text)))
  number_of = {name: i for i, name in enumerate(names)} | dict.fromkeys(without, NONE)
  for text, line in lines.items():
    if text not in number_of:
      raise UserError(f'{texts.place(line)} has the label {text!r}, which is not one '
                      f'of the {len(names)} classes of the training part')
  return (np.array([number_of[text] for text in lines], np.int32)[texts.which], names)


def of_shards(request: table.Request, split: str, files: Sequence[str],
              found: Sequence[Index], names: Sequence[str],
              declared: tuple[str, ...] | None = None,
              ) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
  """Numbers the labels that the indexes of some files hold, as `of_texts`.

  Args:
    request: what the data was opened with.
    split: 'train' or another part.
    files: the files.
    found: their indexes, with `label`, label_texts and label_ends.
    names: the names of all images.
    declared: the names of the classes, whose numbers the labels are.

  Returns:
    Labels int32 [N], `NONE` for no label, and the names of the classes if they have
    some; (None, None) where no image has a label.
  """
  which = np.concatenate([one['label'] for one in found])
  if (which < 0).all():
    if request.label_column not in (None, '', 'none'):
      raise UserError(f'no image of {request.path} has a label in '
                      f'{request.label_column!r}: check config key data.label_column')
    return None, None
  if (which < 0).any():
    image = int(np.argmax(which < 0))
    file = int(np.searchsorted(np.cumsum([len(one['label']) for one in found]), image,
                               'right'))
    raise UserError(
        f'{files[file]} has labels for some images only, {names[image]!r} has none: '
        "add them, or take none with config key data.label_column='none'")
  lines, numbers = {}, []
  for file, one in enumerate(found):
    of_file = [(lines.setdefault(text, (len(lines), file))[0])
               for text in texts_lib.of(one, 'label')]
    numbers.append(np.array(of_file, np.int32)[one['label']])
  every = Texts({text: file for text, (_, file) in lines.items()},
                np.concatenate(numbers), files.__getitem__)
  if declared is None:
    labels, class_names = of_texts(request.path, every, request.role(split),
                                    request.class_names)
  else:
    labels, class_names = _of_declared(every, declared)
    if request.class_names not in (None, declared):
      raise UserError(f'{request.path}, {split}, has other classes than the training '
                      'part: write both with the same names')
  return (None, None) if (labels == NONE).all() else (labels, class_names)


def _of_declared(texts: Texts, declared: tuple[str, ...],
                 ) -> tuple[np.ndarray, tuple[str, ...]]:
  """Returns labels that are numbers of declared classes, and those."""
  numbers = {text: _whole(text) for text in texts.lines}
  for text, line in texts.lines.items():
    if numbers[text] is None or numbers[text] >= len(declared):
      raise UserError(f'{texts.place(line)} has a label {text}, but names for '
                      f'{len(declared)} classes only: write it again')
  return np.array(list(numbers.values()), np.int32)[texts.which], declared


def _whole(text: str, no_label: Sequence[str] = _NO_LABEL) -> int | None:
  """Returns the number that a label is, `NONE` for no label; None for a name."""
  if text.lower() in no_label:
    return NONE
  found = _WHOLE.fullmatch(text)
  return found and int(found[1][:_MOST_DIGITS])
