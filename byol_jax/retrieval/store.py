"""Keeps the vectors of a catalogue on disk, with names, columns and thumbnails.

The table is LanceDB's, the extra [index]. Each change is one version of the table: a
process that is killed leaves the version before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import datetime
import os
import re
from typing import Any

import numpy as np

from byol_jax import errors
from byol_jax.errors import TransientError
from byol_jax.errors import UserError

# columns that every table has; others are the catalogue's
NAME, IMAGE, ABOUT, VECTOR, THUMBNAIL = (
    'image', 'image_stamp', 'about_stamp', 'vector', 'thumbnail')
OWN = (NAME, IMAGE, ABOUT, VECTOR, THUMBNAIL)
NOT_FOUND = ("LanceDB is not installed: pip install 'byol_jax[index]'; without it, "
             'task=embed writes embeddings.npz, in which task=search searches, too')

_TABLE = 'images'
_AT_A_TIME = 1000      # names in one condition
_EF, _PARTITIONS = 200, 64  # what an approximate search looks at, at most
_PARTITION = 50_000    # rows of a partition, about
_SCANNED = 8192        # rows that are in memory at a time
_KEPT = datetime.timedelta(hours=1)  # older versions are removed: searches end sooner


class Store:
  """The table of an index."""

  def __init__(self, table: Any, folder: str):
    """Takes LanceDB's table and its place; programs call `create` or `open_table`."""
    self._table, self._folder = table, folder

  @property
  def size(self) -> int:
    """Returns the number of rows."""
    return self._table.count_rows()

  @property
  def columns(self) -> list[str]:
    """Returns the titles of the catalogue's own columns."""
    return [name for name in self._table.schema.names if name not in OWN]

  def stamps(self) -> dict[str, tuple[str, str]]:
    """Returns {name: (stamp of its image, stamp of its columns)}."""
    with _reading(self._folder):
      found = self._table.search().select([NAME, IMAGE, ABOUT]).to_arrow()
    return {name: (image, about) for name, image, about in zip(
        *(found[column].to_pylist() for column in (NAME, IMAGE, ABOUT)))}

  def put(self, rows: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
    """Adds rows, or replaces those of the same names: all of them or none.

    Args:
      rows: {title: values} of all columns; VECTOR is [n, D].
    """
    import pyarrow
    schema, columns = self._table.schema, []
    for field in schema:
      values = rows[field.name]
      if field.name == VECTOR:
        flat = np.asarray(values, field.type.value_type.to_pandas_dtype()).reshape(-1)
        columns.append(pyarrow.FixedSizeListArray.from_arrays(
            pyarrow.array(flat), field.type.list_size))
      else:
        columns.append(pyarrow.array(values, field.type))
    with _storage():
      (self._table.merge_insert(NAME).when_matched_update_all()
       .when_not_matched_insert_all().execute(pyarrow.table(columns, schema=schema)))

  def delete(self, names: Sequence[str]) -> None:
    """Removes rows."""
    with _storage():
      for condition in _conditions(names):
        self._table.delete(condition)

  def rows(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Returns {name: {title: value}} of all columns, for those that are there."""
    found = {}
    for condition in _conditions(names):
      with _reading(self._folder):
        rows = self._table.search().where(condition).limit(len(names)).to_list()
      found |= {row[NAME]: row for row in rows}
    return found

  def parts(self, size: int) -> Iterator[tuple[list[str], list[str], np.ndarray,
                                               list[bytes | None]]]:
    """Yields names, stamps of images, vectors [n, D] and thumbnails, n at most size."""
    found = self._table.search().select([NAME, IMAGE, VECTOR, THUMBNAIL])
    for batch in found.to_batches(size):
      names, images, thumbnails = (
          batch.column(column).to_pylist() for column in (NAME, IMAGE, THUMBNAIL))
      x = batch.column(VECTOR)
      yield names, images, x.flatten().to_numpy(zero_copy_only=False).reshape(
          len(names), x.type.list_size), thumbnails

  def nearest(self, query: np.ndarray, k: int, where: str | None = None, *,
              exact: bool = False) -> list[tuple[float, dict[str, Any]]]:
    """Finds the rows of the largest cosine.

    Args:
      query: float32 [D].
      k: how many.
      where: a condition on columns in SQL; None for all rows.
      exact: whether an approximate index is passed over.

    Returns:
      (cosine, {title: value} of all columns but the vector), descending.

    Raises:
      UserError: `where` is no such condition.
    """
    names = [name for name in self._table.schema.names if name != VECTOR]
    search = self._table.search(
        np.asarray(query, np.float32), vector_column_name=VECTOR,
        ).distance_type('cosine').select([*names, '_distance']).limit(k)
    if exact:
      search = search.bypass_vector_index()
    elif self.is_approximate:
      search = search.ef(max(_EF, 2 * k)).nprobes(_PARTITIONS).refine_factor(4)
    if where:
      search = search.where(where, prefilter=True)
    try:
      if where and ';' in re.sub("'[^']*'", '', where):
        raise ValueError('one condition, without ;')  # LanceDB leaves out what follows
      found = search.to_list()
    except (ValueError, RuntimeError, OSError) as error:
      if not where:
        raise _unreadable(self._folder, error) from error
      raise UserError(f'config key search.where is {where!r}, which is no condition on '
                      f'the columns {", ".join([NAME, *self.columns])} '
                      f'({_shortest(error)}); write it as in '
                      '"price < 50 AND label = \'shoe\'"') from error
    return [(1 - row.pop('_distance'), row) for row in found]

  def nearest_of_all(self, queries: np.ndarray, k: int) -> list[set[str]]:
    """Finds the names of the k rows of the largest cosine, in one pass over all rows.

    Args:
      queries: float32 [n, D] of length 1.
      k: how many for each; fewer where there are fewer rows.
    """
    best = np.full((len(queries), k), -np.inf, np.float32)
    found = np.full((len(queries), k), '', object)
    for batch in self._table.search().select([NAME, VECTOR]).to_batches(_SCANNED):
      x = np.asarray(batch[VECTOR].flatten(), np.float32).reshape(len(batch), -1)
      names = np.array(batch[NAME].to_pylist(), object)
      cosines = np.concatenate([best, queries @ x.T], axis=1)
      names = np.concatenate(
          [found, np.broadcast_to(names, (len(queries), len(names)))], axis=1)
      order = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
      best, found = (np.take_along_axis(x, order, axis=1) for x in (cosines, names))
    return [set(row) - {''} for row in found]

  @property
  def is_approximate(self) -> bool:
    """Returns whether an approximate index answers."""
    return any(VECTOR in index.columns for index in self._table.list_indices())

  def approximate(self) -> None:
    """Makes the approximate index, or brings it up to date; compacts the table."""
    from lancedb.index import HnswSq
    with _storage():
      if not self.is_approximate:
        self._table.create_index(VECTOR, config=HnswSq(
            distance_type='cosine',
            num_partitions=min(max(self.size // _PARTITION, 1), _PARTITIONS)))
      self.compact()

  def compact(self) -> None:
    """Joins small files, and removes versions older than an hour."""
    with _storage():
      self._table.optimize(cleanup_older_than=_KEPT)


def create(folder: str, size: int, dtype: str, columns: Mapping[str, str]) -> Store:
  """Makes an empty table, or opens the one that is there.

  Args:
    folder: a local directory.
    size: D, numbers of a vector.
    dtype: 'float32' or 'float16'.
    columns: {title: 'text' or 'number'} of the catalogue's own.

  Raises:
    UserError: LanceDB is not installed, or the table has other columns.
  """
  import pyarrow
  kinds = {'text': pyarrow.string(), 'number': pyarrow.float64()}
  schema = pyarrow.schema([
      (NAME, pyarrow.string()), (IMAGE, pyarrow.string()), (ABOUT, pyarrow.string()),
      (VECTOR, pyarrow.list_(pyarrow.type_for_alias(dtype), size)),
      (THUMBNAIL, pyarrow.binary()),
      *((title, kinds[kind]) for title, kind in columns.items())])
  database = _connect(folder)
  try:
    with _reading(folder, but=ValueError):
      table = database.open_table(_TABLE)
  except ValueError:  # there is none
    with _storage():
      table = database.create_table(_TABLE, schema=schema)
  if table.schema.names != schema.names or table.schema.types != schema.types:
    raise UserError(
        f'{folder} has the columns {", ".join(map(str, table.schema.names))}, the '
        f'catalogue now {", ".join(map(str, schema.names))}, or their kinds differ: '
        'make a new index with another --workdir')
  return Store(table, folder)


def open_table(folder: str) -> Store:
  """Opens a table.

  Raises:
    UserError: LanceDB is not installed, or there is no sound table.
  """
  database = _connect(folder)
  with _reading(folder):
    return Store(database.open_table(_TABLE), folder)


def _connect(folder: str) -> Any:
  # its warnings are for people who program it
  os.environ.setdefault('LANCE_LOG', 'error')
  os.environ.setdefault('LANCE_INCLUDE_VECTOR_CENTROIDS', 'false')
  try:
    import lancedb
  except ImportError as error:
    raise UserError(NOT_FOUND) from error
  return lancedb.connect(folder)


def _conditions(names: Sequence[str]) -> Iterator[str]:
  """Yields conditions that are true for some of the names each."""
  for start in range(0, len(names), _AT_A_TIME):
    quoted = ("'" + name.replace("'", "''") + "'"
              for name in names[start:start + _AT_A_TIME])
    yield f'{NAME} IN ({", ".join(quoted)})'


def _shortest(error: Exception) -> str:
  """Returns what an error of LanceDB says, without the places in its own code."""
  return errors.one_line(error).split(', /')[0][:200]


def _unreadable(folder: str, error: Exception) -> UserError:
  return UserError(f'{folder} holds no index that can be read ({_shortest(error)}): '
                   'remove it, and make the index again')


@contextlib.contextmanager
def _reading(folder: str, but: type[Exception] | tuple[()] = ()) -> Iterator[None]:
  """Turns what a damaged table raises into UserError, except `but`."""
  try:
    yield
  except but:
    raise
  except (ValueError, RuntimeError, OSError) as error:
    raise _unreadable(folder, error) from error


@contextlib.contextmanager
def _storage() -> Iterator[None]:
  """Turns failures of the disk into TransientError."""
  try:
    yield
  except (OSError, RuntimeError) as error:
    if isinstance(error, errors.TransientError):
      raise
    raise TransientError(f'the index cannot be written ({_shortest(error)}): make '
                         'room, and the same command goes on') from error
