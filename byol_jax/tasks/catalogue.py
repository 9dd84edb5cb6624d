"""The images of a catalogue, and by what it is known that one has changed."""

from __future__ import annotations

from collections.abc import Sequence
import hashlib
import json
import logging
import re
from typing import Any, NamedTuple

import numpy as np

from byol_jax import wording
from byol_jax.data import fingerprint
from byol_jax.data.sources import columns as columns_lib
from byol_jax.data.sources import table
from byol_jax.evaluation import embed
from byol_jax.retrieval import store as store_lib
from byol_jax.tasks import named as named_lib

_console = logging.getLogger('byol_jax')

_NUMBER = re.compile(r'-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?')  # 007 is a name


class Catalogue(NamedTuple):
  """The images that belong into the index.

  Attributes:
    data: all images, also others.
    rows: {name as `embed.utf8` writes it: row}; of equal names the first.
    stamps: {name: (stamp of its image, stamp of its columns)}.
    kinds: {title: 'text' or 'number'} of the columns.
    columns: {title: values [N]}.
  """
  data: table.Data
  rows: dict[str, int]
  stamps: dict[str, tuple[str, str]]
  kinds: dict[str, str]
  columns: dict[str, Sequence[Any]]


def make(named: named_lib.Named, data: table.Data, rows: np.ndarray, *,
         has_columns: bool = True) -> Catalogue:
  """Finds by what each image, and its columns, will be known to have changed.

  Args:
    named: the task.
    data: all images.
    rows: int [n], those that belong into the index.
    has_columns: whether it has columns beside the images.
  """
  split = named.config.index.split
  names = list(map(embed.utf8, table.names_of(data, rows, split)))
  kinds, columns = _columns(named, data, split) if has_columns else ({}, {})
  states = fingerprint.file_states(data, rows.tolist())
  images = (map(json.dumps, states) if states else
            (digest.hex() for _, digest in fingerprint.contents(data, rows)))
  row_of: dict[str, int] = {}
  stamps = {}
  for row, title, image in zip(rows.tolist(), names, images):
    if title not in row_of:
      row_of[title] = row
      values = [column[row] for column in columns.values()]
      stamps[title] = image, hashlib.blake2b(
          json.dumps(values).encode(), digest_size=8).hexdigest()
  if len(row_of) < len(names):
    _console.warning('the names of %s stand twice: the first of each counts',
                     wording.count(len(names) - len(row_of), 'image'))
  return Catalogue(data, row_of, stamps, kinds, columns)


def _columns(named: named_lib.Named, data: table.Data, split: str,
             ) -> tuple[dict[str, str], dict[str, Sequence[Any]]]:
  """Returns kinds and values [N] of the columns: those of a list, or the label."""
  source = named.data.data
  found = {}
  if source.source == 'list':
    found = columns_lib.read_columns(
        source.path if split == 'train' else source.test_path,
        source.path_column or None)
    found = {title: cells for title, cells in found.items()
             if cells != list(data.names)}  # the paths
  elif data.labels is not None:
    labels = np.asarray(data.labels[np.arange(data.size)]).tolist()
    found = {'label': ['' if label < 0 else embed.utf8(
        data.class_names[label] if data.class_names else label) for label in labels]}
  kinds, columns = {}, {}
  for title, cells in found.items():
    title = re.sub(r'\W+', '_', title.strip()).strip('_') or 'column'
    while title in store_lib.OWN or title in columns:
      title += '_'
    is_number = any(cells) and all(_NUMBER.fullmatch(cell) for cell in cells if cell)
    kinds[title] = 'number' if is_number else 'text'
    columns[title] = [None if cell == '' else float(cell) if is_number else cell
                      for cell in cells]
  return kinds, columns
