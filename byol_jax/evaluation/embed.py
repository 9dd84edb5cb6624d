"""Writes features to files that other programs read, part by part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import contextlib
import os
import tempfile
from typing import Any
import zipfile

import numpy as np

from byol_jax.errors import UserError
from byol_jax.storage import files as files_lib

FILES = {'npz': 'embeddings.npz', 'parquet': 'embeddings.parquet'}
_AT_A_TIME = 1 << 24  # bytes


class Writer:
  """Writes features beside the names of their images, whole or not at all.

  embeddings.npz has `features` [N, D], `names` and, where there are any, `labels` int32
  [N], -1 for none, and `class_names`: np.load reads it, without pickle. Bytes of a name
  that are no UTF-8 become backslashes, as on the console. embeddings.parquet has the
  columns `name`, `feature` (a list of D numbers) and, where there are any, `label` and
  `class`. The memory does not grow with N; embeddings.npz takes its size on the disk
  twice while it is written, as it begins with N.

  The files have their names once the `with` block has ended well.

  Attributes:
    paths: the files.
  """

  def __init__(self, folder: str, formats: Sequence[str], size: int, *,
               half: bool, has_labels: bool, class_names: Sequence[str] | None):
    """Opens the files.

    Args:
      folder: a local directory, which no other process writes to.
      formats: keys of `FILES`.
      size: D.
      half: whether features are written as float16, not as float32.
      has_labels: whether `add` is given labels.
      class_names: by label, or None.

    Raises:
      TransientError: the files cannot be written; `add` and the end of the block, too.
    """
    self.paths = [os.path.join(folder, FILES[kind]) for kind in formats]
    self._dtype = np.dtype(np.float16 if half else np.float32)
    names = [utf8(name) for name in class_names or ()] if has_labels else []
    self._stack = contextlib.ExitStack()
    with self._stack, files_lib.writing(folder):
      self._files = [
          (_Npz if kind == 'npz' else _Parquet)(
              self._stack, path, size, self._dtype, has_labels, names)
          for kind, path in zip(formats, self.paths)]
      self._stack = self._stack.pop_all()

  def __enter__(self) -> Writer:
    return self

  def __exit__(self, *error: Any) -> None:
    with self._stack.pop_all() as stack:
      if error[0] is None:
        with files_lib.writing(self.paths[0]):
          for file in self._files:
            file.finish()
          stack.close()
      else:
        stack.__exit__(*error)

  def add(self, x: np.ndarray, names: Sequence[Any],
          labels: np.ndarray | None) -> None:
    """Writes a part.

    Args:
      x: [n, D].
      names: of the n images.
      labels: int [n], or None.

    Raises:
      UserError: float16 cannot hold a feature.
    """
    with np.errstate(over='ignore'):
      written = x.astype(self._dtype, copy=False)
    if not np.isfinite(written).all():
      raise UserError(f'config key embed.float16 is True, but a feature is '
                      f'{np.abs(x).max():g}: float16 holds up to 65504; leave it out')
    names = [utf8(name) for name in names]
    labels = None if labels is None else np.asarray(labels, np.int32)
    with files_lib.writing(self.paths[0]):
      for file in self._files:
        file.add(written, names, labels)


def read(path: str) -> Iterator[np.ndarray]:
  """Yields the features [n, D] of a file that `Writer` wrote, some at a time."""
  if path.endswith('.parquet'):
    from pyarrow import parquet
    with parquet.ParquetFile(path) as file:
      for k in range(file.num_row_groups):  # iter_batches keeps what it has read
        for column in file.read_row_group(k, columns=['feature']).column(0).chunks:
          yield column.flatten().to_numpy(zero_copy_only=False).reshape(
              len(column), column.type.list_size)
    return
  with zipfile.ZipFile(path) as archive, archive.open('features.npy') as file:
    np.lib.format.read_magic(file)
    (number, size), _, dtype = np.lib.format.read_array_header_1_0(file)
    most = max(_AT_A_TIME // (size * dtype.itemsize), 1)
    for start in range(0, number, most):
      shape = min(most, number - start), size
      data = file.read(shape[0] * shape[1] * dtype.itemsize)
      yield np.frombuffer(data, dtype).reshape(shape)


def utf8(name: Any) -> str:
  """Returns a name as UTF-8 can hold it: other bytes of a file's name as \\udce9."""
  return str(name).encode(errors='backslashreplace').decode()


class _Npz:
  """Arrays that wait on the disk until their lengths are known."""

  def __init__(self, stack: contextlib.ExitStack, path: str, size: int,
               dtype: np.dtype, has_labels: bool, class_names: list[str]):
    self._file = stack.enter_context(files_lib.replacing(path, f'{path}.tmp'))
    first = {'features': np.zeros((0, size), dtype), 'names': np.zeros(0, '<U1')}
    if has_labels:
      first['labels'] = np.zeros(0, np.int32)
    if class_names:
      first['class_names'] = np.array(class_names)
    self._parts = {name: [(x.dtype, x.shape)] for name, x in first.items()}
    self._waiting = {
        # without a name: a killed process leaves nothing
        name: stack.enter_context(tempfile.TemporaryFile(dir=os.path.dirname(path)))
        for name in first}
    if class_names:
      self._waiting['class_names'].write(first['class_names'].tobytes())

  def add(self, x: np.ndarray, names: list[str], labels: np.ndarray | None) -> None:
    arrays = {'features': x, 'names': np.array(names, dtype=str)}
    if labels is not None:
      arrays['labels'] = labels
    for name, array in arrays.items():
      self._parts[name].append((array.dtype, array.shape))
      self._waiting[name].write(array.tobytes())

  def finish(self) -> None:
    with zipfile.ZipFile(self._file, 'w') as archive:
      for name, parts in self._parts.items():
        dtype = np.result_type(*(dtype for dtype, _ in parts))  # of the longest name
        waiting = self._waiting[name]
        waiting.seek(0)
        with archive.open(f'{name}.npy', 'w', force_zip64=True) as file:
          np.lib.format.write_array_header_1_0(file, {
              'descr': np.lib.format.dtype_to_descr(dtype), 'fortran_order': False,
              'shape': (sum(shape[0] for _, shape in parts), *parts[0][1][1:])})
          for of_part, shape in parts:
            data = waiting.read(of_part.itemsize * int(np.prod(shape)))
            file.write(np.frombuffer(data, of_part).astype(dtype).tobytes())


class _Parquet:
  """A row group for each part."""

  def __init__(self, stack: contextlib.ExitStack, path: str, size: int,
               dtype: np.dtype, has_labels: bool, class_names: list[str]):
    import pyarrow
    from pyarrow import parquet
    self._class_names = class_names
    self._schema = pyarrow.schema([
        ('name', pyarrow.string()),
        ('feature', pyarrow.list_(pyarrow.from_numpy_dtype(dtype), size)),
        *([('label', pyarrow.int32())] if has_labels else []),
        *([('class', pyarrow.string())] if class_names else [])])
    file = stack.enter_context(files_lib.replacing(path, f'{path}.tmp'))
    self._writer = parquet.ParquetWriter(file, self._schema)
    stack.callback(self._abandon)

  def add(self, x: np.ndarray, names: list[str], labels: np.ndarray | None) -> None:
    import pyarrow
    feature = self._schema.field('feature').type
    columns = [pyarrow.array(names, pyarrow.string()),
               pyarrow.FixedSizeListArray.from_arrays(
                   pyarrow.array(np.ascontiguousarray(x).reshape(-1)), type=feature)]
    if labels is not None:
      columns.append(pyarrow.array(labels))
    if self._class_names:
      columns.append(pyarrow.array(
          [self._class_names[label] if label >= 0 else None for label in labels],
          pyarrow.string()))
    self._writer.write_table(pyarrow.table(columns, schema=self._schema))

  def finish(self) -> None:
    self._writer.close()

  def _abandon(self) -> None:
    with contextlib.suppress(OSError):  # else it closes when its file is gone
      self._writer.close()
