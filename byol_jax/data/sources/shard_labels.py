"""Numbers labels that are texts in tars and Parquet files: numbers from 0, or names."""

from __future__ import annotations

from collections.abc import Sequence
import re

import numpy as np

from byol_jax.data.records import texts
from byol_jax.data.records.index import Index
from byol_jax.data.sources import table
from byol_jax.errors import UserError

_WHOLE = re.compile(r'-?\d{1,18}')
_NUMBER = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan', re.IGNORECASE)


def of_shards(request: table.Request, split: str, files: Sequence[str],
              found: Sequence[Index], names: Sequence[str],
              ) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
  """Returns the labels that the indexes of some files hold, as `numbered`.

  Args:
    request: what the data was opened with.
    split: 'train' or another part.
    files: the files.
    found: their indexes, with `label`, label_texts and label_ends.
    names: the names of all images.
  """
  which = np.concatenate([one['label'] for one in found])
  if (which < 0).all():
    if request.label_column not in (None, '', 'none'):
      raise UserError(f'no image of {request.path} has a label in '
                      f'{request.label_column!r}: check config key data.label_column')
    return None, None
  if (which < 0).any():
    number = int(np.argmax(which < 0))
    file = int(np.searchsorted(np.cumsum([len(one['label']) for one in found]), number,
                               'right'))
    raise UserError(
        f'{files[file]} has labels for some images only, {names[number]!r} has none: '
        "add them, or take none with config key data.label_column='none'")
  every = [list(texts.of(one, 'label')) for one in found]
  before = np.cumsum([0, *map(len, every)])
  return numbered(
      [text for some in every for text in some],
      np.concatenate([one['label'] + start for one, start in zip(found, before)]),
      request.path, split, request.class_names)


def numbered(said: Sequence[str], which: np.ndarray, where: str, split: str,
             class_names: tuple[str, ...] | None,
             ) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
  """Returns labels as int32 [N], and the names of the classes if they have some.

  Args:
    said: the different labels; a text may stand there twice.
    which: int [N], the number of each image's label in `said`.
    where: the place of the labels, for messages.
    split: 'train' or another part.
    class_names: the classes of the training part, for another one; None where its
      labels are numbers.

  Returns:
    Labels None where all are -1, as those of hidden test labels.

  Raises:
    UserError: labels are neither whole numbers from 0 nor names, or not those of the
      training part.
  """
  used = np.unique(which).tolist()
  if class_names is None and all(_WHOLE.fullmatch(said[k]) for k in used):
    numbers = np.zeros(len(said), np.int64)
    for k in used:
      numbers[k] = int(said[k])
    if (numbers[used] == -1).all():
      return None, None
    if (least := numbers[used].min()) < 0:
      raise UserError(f'{where} has a label {least}: labels count from 0')
    table.check_largest(int(numbers[used].max()),
                        len(which) if split == 'train' else None, where)
    return numbers.astype(np.int32)[which], None
  if class_names is None and all(_NUMBER.fullmatch(said[k]) for k in used):
    wrong = next(said[k] for k in used if not _WHOLE.fullmatch(said[k]))
    raise UserError(f'{where} has a label {wrong!r}: labels are whole numbers counted '
                    'from 0, or names')
  if class_names is None and split == 'test':
    raise UserError(f'{where} has the label {said[used[0]]!r}, but the training part '
                    'has numbers, or no labels: write names in both, or numbers')
  names = class_names or tuple(sorted({said[k] for k in used}))
  number = {name: k for k, name in enumerate(names)}
  numbers = np.zeros(len(said), np.int32)
  for k in used:
    if said[k] not in number:
      raise UserError(f'{where} has a label {said[k]!r}, which is not one of the '
                      f'{len(names)} classes of the training part')
    numbers[k] = number[said[k]]
  return numbers[which], names
