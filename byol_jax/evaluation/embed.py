"""Writes features to files that other programs read."""

from __future__ import annotations

from collections.abc import Sequence
import io
import os
from typing import Any

import numpy as np

from byol_jax.errors import TransientError
from byol_jax.storage import files as files_lib

FILES = {'npz': 'embeddings.npz', 'parquet': 'embeddings.parquet'}


def write(folder: str, formats: Sequence[str], features: np.ndarray,
          names: Sequence[str], labels: np.ndarray | None,
          class_names: Sequence[str] | None) -> list[str]:
  """Writes features beside the names of their images.

  embeddings.npz has `features` float32 [N, D], `names` and, where there are any,
  `labels` int32 [N], -1 for none, and `class_names`: np.load reads it, without pickle.
  Bytes of a name that are no UTF-8 become backslashes, as on the console.
  embeddings.parquet has the columns `name`, `feature` (a list of D float32) and,
  where there are any, `label` and `class`.

  Args:
    folder: an existing directory or bucket.
    formats: keys of `FILES`.
    features: float32 [N, D].
    names: the names of the images.
    labels: int32 [N], or None.
    class_names: by label, or None.

  Returns:
    The files' paths.

  Raises:
    TransientError: the files cannot be written.
  """
  names = np.array([_text(name) for name in names])
  class_names = class_names and [_text(name) for name in class_names]
  written = []
  for kind in formats:
    data = (_npz if kind == 'npz' else _parquet)(
        features, names, labels, class_names)
    path = os.path.join(folder, FILES[kind])
    try:
      files_lib.write_bytes(path, data)
    except OSError as error:
      raise TransientError(f'cannot write {path} ({error}): make room, and the '
                           'same command goes on') from error
    written.append(path)
  return written


def _text(name: Any) -> str:
  """Returns a name as UTF-8 can hold it: other bytes of a file's name as \\udce9."""
  return str(name).encode(errors='backslashreplace').decode()


def _npz(features, names, labels, class_names) -> bytes:
  arrays: dict[str, Any] = {'features': features, 'names': names}
  if labels is not None:
    arrays['labels'] = np.asarray(labels, np.int32)
    if class_names:
      arrays['class_names'] = np.array(class_names)
  file = io.BytesIO()
  np.savez(file, **arrays)
  return file.getvalue()


def _parquet(features, names, labels, class_names) -> bytes:
  import pyarrow
  from pyarrow import parquet
  flat = pyarrow.array(np.ascontiguousarray(features, np.float32).reshape(-1))
  columns = {
      'name': pyarrow.array(names.tolist()),
      'feature': pyarrow.FixedSizeListArray.from_arrays(flat, features.shape[1])}
  if labels is not None:
    columns['label'] = pyarrow.array(np.asarray(labels, np.int32))
    if class_names:
      columns['class'] = pyarrow.array(
          [class_names[label] if label >= 0 else None for label in labels],
          pyarrow.string())
  file = io.BytesIO()
  parquet.write_table(pyarrow.table(columns), file)
  return file.getvalue()
