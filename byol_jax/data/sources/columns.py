"""Reads the columns of .csv and .tsv lists, by titles or by their order."""

from __future__ import annotations

import array
from collections.abc import Iterable, Iterator, Sequence
import csv
import itertools
import logging
import os
import re
from typing import NamedTuple

import numpy as np

from byol_jax.data.images import formats
from byol_jax.data.sources import labels as labels_lib
from byol_jax.errors import UserError

_console = logging.getLogger('byol_jax')

# Titles of columns: the first that is there counts. Case, spaces, '_' and '-' do not.
_PATH_TITLES = (
    'path', 'file_path', 'image_path', 'file', 'file_name', 'image', 'image_file',
    'image_name', 'image_id', 'id')
_LABEL_TITLES = (
    'label', 'labels', 'label_id', 'label_name', 'class', 'class_id', 'class_name',
    'category', 'category_id', 'category_name', 'target', 'cls')
_SEPARATORS = {'.csv': ',', '.tsv': '\t'}


class _Columns(NamedTuple):
  """The columns of the path and the label."""
  titled: bool  # the first row has titles
  path: int
  label: int | None
  count: int  # no row has more


def separator(path: str) -> str | None:
  """Returns what stands between the columns of a list; None for a plain list."""
  return _SEPARATORS.get(os.path.splitext(path)[1].lower())


def read_columns(path: str, path_column: str | None = None) -> dict[str, list[str]]:
  """Returns all columns of a list by title, a cell for each image, '' where empty.

  Args:
    path: a list that `read_list` takes; one without titles has no columns.
    path_column: as for `read_list`.
  """
  between = separator(path)
  if between is None:
    return {}
  with open(path, encoding='utf-8-sig', newline='') as f:
    (_, titles), *rows = _rows(path, without_nul(path, f), between, [])
  if not _find_columns(path, titles, between, path_column, None).titled:
    return {}
  return {title: [cells[i] if i < len(cells) else '' for _, cells in rows]
          for i, title in enumerate(titles) if title}


def without_nul(path: str, lines: Iterable[str]) -> Iterator[str]:
  """Yields the lines; raises UserError if one is no text."""
  for number, line in enumerate(lines, 1):
    if line.startswith('\ufeff'):  # of a file that was put behind another
      line = line[1:]
    if '\0' in line:
      raise UserError(
          f'{path!r}, line {number}, has a NUL character: a list of images is '
          'UTF-8 text, not UTF-16, with line ends between the paths')
    yield line


def read_table(path: str, lines: Iterable[str], separator: str,
                path_column: str | None, label_column: str | None,
                comments: list[str] | None,
                ) -> tuple[list[str], labels_lib.Texts | None]:
  """Returns the paths, and the labels if there are some, of a CSV file."""
  rows = _rows(path, lines, separator, comments)
  first = next(rows, None)
  if first is None:
    return [], None
  columns = _find_columns(path, first[1], separator, path_column, label_column)
  files, known, which = [], {}, array.array('i')
  for line, cells in rows if columns.titled else itertools.chain([first], rows):
    if any(cells[columns.count:]):
      raise UserError(
          f'{path!r}, line {line}, has {len(cells)} columns, not {columns.count}: '
          f'put what contains a {separator!r} in quotes, and if there is more '
          'than a path and a label, titles in the first line')
    files.append(_cell(path, line, cells, columns.path, 'path'))
    if columns.label is not None:
      text = _cell(path, line, cells, columns.label, 'label', may_lack=True)
      which.append(known.setdefault(text, (len(known), line))[0])
  texts = None
  if columns.label is not None:
    texts = labels_lib.Texts({text: line for text, (_, line) in known.items()},
                             np.array(which, np.int32),
                             lambda line: f'{path!r}, line {line},')
  if not columns.titled:
    _check_untitled(path, first[1], files, texts)
  return files, texts


def is_comment(line: str) -> bool:
  return line == '#' or line.startswith('# ')


def _rows(path: str, lines: Iterable[str], separator: str,
          comments: list[str] | None) -> Iterator[tuple[int, list[str]]]:
  """Yields the line on which each row starts, and its cells; no empty rows.

  Rows that are comments go to `comments`; None for a version that knew none.
  """
  lines, line = iter(lines), 1
  first = next(lines, '')
  if found := re.fullmatch(r'"?sep=(.)"?\s*', first):  # for Excel
    separator, line, first = found[1], 2, next(lines, '')
  before = line - 1
  reader = csv.reader(itertools.chain([first], lines), delimiter=separator, strict=True)
  try:
    for row in reader:
      cells = list(map(str.strip, row))
      if comments is not None and cells and is_comment(cells[0]):
        comments.append(separator.join(cells))
      elif any(cells):
        yield line, cells
      line = before + reader.line_num + 1
  except csv.Error as error:
    raise UserError(
        f'{path!r}, line {line}: {error}; a quote that opens must close, and one '
        'that is part of a name is written twice, within quotes') from error


def _cell(path: str, line: int, cells: list[str], column: int, what: str, *,
          may_lack: bool = False) -> str:
  """Returns a path or a label; raises UserError if there is none and must be one."""
  if column >= len(cells) or not cells[column]:
    if may_lack:
      return ''
    raise UserError(f'{path!r}, line {line}, has no {what}')
  text = cells[column]
  if '\n' in text or '\r' in text:
    raise UserError(f'{path!r}, line {line}, has a {what} that goes on over the '
                    'end of the line: close its quote')
  return text


def _find_columns(path: str, first: list[str], separator: str,
                  path_title: str | None, label_title: str | None) -> _Columns:
  """Returns the columns, by the titles of the first row if it has titles."""
  _check_separator(path, first, separator)
  path_column = _find_title(first, [path_title] if path_title else _PATH_TITLES)
  label_column = None
  if label_title != 'none':
    label_column = _find_title(first, [label_title] if label_title else _LABEL_TITLES)
  if not (path_title or label_title) and (
      any(map(_is_image, first)) or path_column is None and label_column is None):
    count = min(len(first), 2)
    return _Columns(False, 0, 1 if count == 2 else None, count)
  if path_column is None:
    raise _untold(path, first, 'path', _PATH_TITLES)
  if label_column is None and label_title not in (None, 'none'):
    raise _untold(path, first, 'label', [label_title])
  if label_column is None and label_title is None and sum(map(bool, first)) > 1:
    _console.info('%s: no labels: none of the titles %s is known for them (config key '
                  'data.label_column)', path, ', '.join(map(repr, first)))
  return _Columns(True, path_column, label_column, len(first))


def _check_separator(path: str, first: list[str], separator: str) -> None:
  """Raises UserError if the columns seem to have another separator."""
  if len(first) > 1:
    return
  for other, name in ((',', 'commas'), (';', 'semicolons'), ('\t', 'tabs'),
                      ('|', 'bars')):
    cells = first[0].split(other)
    if other != separator and len(cells) > 1 and (
        any(map(_is_image, cells[:-1]))  # a name may hold it, too
        or _find_title(cells, _PATH_TITLES + _LABEL_TITLES) is not None):
      raise UserError(
          f'{path!r} has {name} between its columns, {first[0]!r}: a .csv file '
          'needs commas and a .tsv file tabs; a list of paths alone may be a .txt')


def _untold(path: str, first: list[str], what: str,
            titles: Sequence[str]) -> UserError:
  """Returns the error for titles that do not say where the path or the label is."""
  return UserError(
      f'{path!r} has the titles {", ".join(map(repr, first))}, none of them for '
      f'the {what}: call it one of {", ".join(titles)}, or set config key '
      f'data.{what}_column')


def _check_untitled(path: str, first: list[str], files: list[str],
                    texts: labels_lib.Texts | None) -> None:
  """Raises UserError if the first row seems to have unknown titles."""
  is_title = (len(files) > 1 and not _is_image(files[0]) and _is_image(files[1]))
  if texts is not None and _is_image(first[1]) and not _is_image(first[0]):
    raise UserError(f'{path!r} begins with {", ".join(map(repr, first))}: the path '
                    'comes first, or write titles in the first line (path, label)')
  if texts is not None and (texts.which == 0).sum() == 1:
    title, *others = texts.lines
    is_title |= (bool(others) and not labels_lib.NUMBER.fullmatch(title)
                 and all(map(labels_lib.NUMBER.fullmatch, others)))
  if is_title:
    raise UserError(
        f'the first line of {path!r}, {", ".join(map(repr, first))}, looks like '
        f'titles: call the path one of {", ".join(_PATH_TITLES)} and the label one '
        f'of {", ".join(_LABEL_TITLES)}, or if it is an image, put such titles '
        'above it')


def _is_image(text: str) -> bool:
  return text.lower().endswith(formats.ENDINGS)


def plain(title: str) -> str:
  """Returns a title without what does not count: case, spaces, '_' and '-'."""
  return title.lower().translate({ord(c): None for c in ' _-'})


def _find_title(cells: Sequence[str], titles: Sequence[str]) -> int | None:
  """Returns the column with the first of the titles that is there, or None."""
  plain_cells = list(map(plain, cells))
  return next((plain_cells.index(title) for title in map(plain, titles)
               if title in plain_cells), None)


def label_title(titles: Sequence[str]) -> int | None:
  """Returns which of some columns has the labels by its title; None for none."""
  return _find_title(titles, _LABEL_TITLES)
