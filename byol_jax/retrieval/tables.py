"""Reads CSV and Parquet files as columns: pairs, event logs, items."""

from __future__ import annotations

from collections.abc import Sequence
import datetime
import os
from typing import Any, NamedTuple

import numpy as np

from byol_jax import errors
from byol_jax.data.sources.columns import plain
from byol_jax.errors import UserError
from byol_jax.storage import paths as paths_lib

_MILLISECONDS = 1e11  # seconds of the year 5138: larger numbers count milliseconds


class Table(NamedTuple):
  """The columns of a file, as texts.

  Attributes:
    path: the file, for messages.
    columns: {title: object array of texts [N]}; None stands for an empty cell.
    first: the number of the first row in the file, for messages.
  """
  path: str
  columns: dict[str, np.ndarray]
  first: int

  @property
  def size(self) -> int:
    """Returns the number of rows."""
    return len(next(iter(self.columns.values())))

  def find(self, titles: Sequence[str]) -> np.ndarray | None:
    """Returns the column with the first of the titles that is there, or None.

    What does not count in titles: see `columns.plain`.
    """
    known = {plain(title): title for title in reversed(self.columns)}
    return next((self.columns[known[plain(title)]] for title in titles
                 if plain(title) in known), None)

  def need(self, titles: Sequence[str], what: str) -> np.ndarray:
    """Returns a column as `find`, each cell of which must be filled.

    Raises:
      UserError: there is no such column, or a cell is empty.
    """
    column = self.find(titles)
    if column is None:
      raise UserError(f'{self.path!r} has the columns {", ".join(self.columns)}, none '
                      f'of them for {what}: call it one of {", ".join(titles)}')
    empty = np.flatnonzero(column == None)  # noqa: E711, elementwise
    if len(empty):
      raise UserError(f'{self.path!r}, row {self.first + empty[0]}, has no {what}')
    return column

  def numbers(self, titles: Sequence[str], what: str) -> np.ndarray | None:
    """Returns a column of finite numbers of at least 0, float64 [N], or None.

    Raises:
      UserError: a cell is empty, negative or no number.
    """
    if self.find(titles) is None:
      return None
    column = self.need(titles, what)
    values = np.array([_number(text) for text in column], np.float64)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(wrong):
      raise UserError(f'{self.path!r}, row {self.first + wrong[0]}, has the {what} '
                      f'{column[wrong[0]]!r}: it must be a number of at least 0')
    return values

  def times(self, titles: Sequence[str]) -> np.ndarray | None:
    """Returns a column of times in seconds since 1970, float64 [N], or None.

    A time is a number of seconds or milliseconds since 1970, or a date as in
    2026-03-01 or 2026-03-01T12:30:00Z; one without a zone is in UTC.

    Raises:
      UserError: a cell is empty, or is no time.
    """
    if self.find(titles) is None:
      return None
    column = self.need(titles, 'time')
    values = np.array([_time(text) for text in column], np.float64)
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
      raise UserError(
          f'{self.path!r}, row {self.first + wrong[0]}, has the time '
          f'{column[wrong[0]]!r}: write seconds since 1970, or 2026-03-01T12:30:00')
    return values


def read(path: str, key: str) -> Table:
  """Reads a .parquet file, or a .csv or .tsv file with titles in the first row.

  Args:
    path: the file, local or in a bucket.
    key: the config key that names it, for messages.

  Raises:
    UserError: there is no such file, it is no table, or it has no row.
    TransientError: the storage fails for a minute.
  """
  import pyarrow
  try:
    data = paths_lib.read_bytes(path)
    table = _parquet(data) if path.lower().endswith('.parquet') else _csv(path, data)
  except OSError as error:
    raise UserError(f'cannot read config key {key}, {path!r}: '
                    f'{error.strerror or errors.one_line(error)}') from error
  except (pyarrow.ArrowException, UnicodeDecodeError) as error:
    raise UserError(f'config key {key} is {path!r}, which is no table '
                    f'({errors.one_line(error)}): give a .csv in UTF-8 with titles in '
                    'the first row, or a .parquet') from error
  if not table.num_columns or not table.num_rows:
    raise UserError(f'config key {key} is {path!r}, which has no row')
  columns = {name: np.array(_texts(column), object)
             for name, column in zip(table.column_names, table.columns)}
  return Table(path, columns, 1 if path.lower().endswith('.parquet') else 2)


def _parquet(data: bytes) -> Any:
  import pyarrow
  from pyarrow import parquet
  return parquet.read_table(pyarrow.BufferReader(data))


def _csv(path: str, data: bytes) -> Any:
  """Returns the columns of a CSV file, all of them texts: '007' is no number."""
  import pyarrow
  from pyarrow import csv
  parse = csv.ParseOptions(
      delimiter='\t' if os.path.splitext(path)[1].lower() == '.tsv' else ',',
      newlines_in_values=True)
  data = data.removeprefix(b'\xef\xbb\xbf')
  titles = csv.open_csv(pyarrow.BufferReader(data), parse_options=parse).schema.names
  return csv.read_csv(
      pyarrow.BufferReader(data), parse_options=parse,
      convert_options=csv.ConvertOptions(
          column_types=dict.fromkeys(titles, pyarrow.string()),
          strings_can_be_null=True, null_values=['']))


def _texts(column: Any) -> list[str | None]:
  """Returns a column's values as texts; a time is one in UTC."""
  import pyarrow
  if pyarrow.types.is_timestamp(column.type):
    return [None if x is None else str(x.timestamp() if x.tzinfo else x.replace(
        tzinfo=datetime.UTC).timestamp()) for x in column.to_pylist()]
  if pyarrow.types.is_floating(column.type):  # 7.0 is the item 7
    return [None if x is None else str(int(x)) if x.is_integer() else repr(x)
            for x in column.to_pylist()]
  return [None if x is None else str(x).strip() or None for x in column.to_pylist()]


def _number(text: str) -> float:
  try:
    return float(text)
  except ValueError:
    return np.nan


def _time(text: str) -> float:
  """Returns seconds since 1970, NaN for what is no time."""
  value = _number(text)
  if np.isfinite(value):
    return value / 1000 if abs(value) > _MILLISECONDS else value
  try:
    date = datetime.datetime.fromisoformat(text)
  except ValueError:
    return np.nan
  return (date if date.tzinfo else date.replace(tzinfo=datetime.UTC)).timestamp()
