"""A list of image files: plain text, or CSV with labels."""

from __future__ import annotations

import csv
import os
from typing import NamedTuple

import numpy as np

from byol_jax.errors import UserError

_PATH_TITLES = ('path', 'file', 'filename', 'file_name', 'filepath', 'image')
_LABEL_TITLES = ('label', 'class', 'class_name', 'target')


class Listed(NamedTuple):
  """The images of a list, in its order."""
  root: str  # the list's folder; absolute paths stay as they are
  files: list[str]
  labels: np.ndarray | None  # int32 [N]
  class_names: tuple[str, ...] | None  # None where labels are numbers


def read_list(path: str, class_names: tuple[str, ...] | None = None) -> Listed:
  """Reads a list of image files.

  `.csv` and `.tsv` files have one image a row, the path first and then, if
  there are labels, the label; a first row of titles (path, label, ...) may put
  the columns in another order and add others. Any other file is plain text, one
  path a line, where empty lines and those that start with `#` are skipped.
  Relative paths start at the list's folder.

  Labels are whole numbers counted from 0, or names, which are numbered in
  alphabetical order.

  Args:
    path: the list.
    class_names: the names of the training part, for a test part with names.

  Returns:
    The list. The files are not looked at.

  Raises:
    UserError: names the list and the line that is wrong.
  """
  separator = {'.csv': ',', '.tsv': '\t'}.get(
      os.path.splitext(path)[1].lower())
  try:
    with open(path, encoding='utf-8-sig', newline='') as f:
      if separator is None:
        rows = [(number, [line.strip()]) for number, line in enumerate(f, 1)
                if line.strip() and not line.startswith('#')]
      else:
        reader = csv.reader(f, delimiter=separator)
        rows = [(reader.line_num, [cell.strip() for cell in row])
                for row in reader if any(cell.strip() for cell in row)]
  except OSError as error:
    raise UserError(f'cannot read the list of images {path!r}: '
                    f'{error.strerror}: check config.data.path') from error
  except (UnicodeDecodeError, csv.Error) as error:
    raise UserError(f'{path!r} is not a list of images in UTF-8 text: '
                    f'{error}') from error
  path_column, label_column = 0, 1
  if rows and separator is not None:
    titles = [cell.lower() for cell in rows[0][1]]
    paths = [i for i, title in enumerate(titles) if title in _PATH_TITLES]
    labels = [i for i, title in enumerate(titles) if title in _LABEL_TITLES]
    if paths:
      rows = rows[1:]
      path_column = paths[0]
      label_column = labels[0] if labels else None
  if not rows:
    raise UserError(f'the list of images {path!r} is empty')

  def cell(number: int, row: list[str], column: int, what: str) -> str:
    if column >= len(row) or not row[column]:
      raise UserError(f'{path!r}, line {number}, has no {what}')
    return row[column]

  files = [cell(number, row, path_column, 'path') for number, row in rows]
  texts = None
  if label_column is not None and any(len(row) > label_column
                                      for _, row in rows):
    texts = [cell(number, row, label_column, 'label') for number, row in rows]
  numbers, names = None, None
  if texts is not None:
    numbers, names = _number(path, rows, texts, class_names)
  return Listed(os.path.dirname(os.path.abspath(path)), files, numbers, names)


def _number(
    path: str, rows: list[tuple[int, list[str]]], texts: list[str],
    class_names: tuple[str, ...] | None,
) -> tuple[np.ndarray, tuple[str, ...] | None]:
  """Labels as int32 [N], and the names of the classes if they have some."""
  if class_names is None and all(text.isdecimal() for text in texts):
    numbers = [int(text) for text in texts]
    if max(numbers) >= 2**31:
      raise UserError(f'{path!r} has a label {max(numbers)}: labels count from 0')
    return np.array(numbers, np.int32), None
  names = class_names or tuple(sorted(set(texts)))
  number = {name: i for i, name in enumerate(names)}
  for (line, _), text in zip(rows, texts):
    if text not in number:
      raise UserError(f'{path!r}, line {line}: {text!r} is not one of the '
                      f'{len(names)} classes of the training list')
  return np.array([number[text] for text in texts], np.int32), names
