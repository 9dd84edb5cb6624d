"""The source 'parquet': images in tables, as data sets on Hugging Face's hub are."""

from __future__ import annotations

import collections
import json
import logging
import os
from typing import Any, NamedTuple

import numpy as np

from byol_jax import wording
from byol_jax.data import bad as bad_lib
from byol_jax.data import workers
from byol_jax.data.images.decode import BadImage
from byol_jax.data.records import index as index_lib
from byol_jax.data.records import parquet
from byol_jax.data.records import shards
from byol_jax.data.sources import columns as columns_lib
from byol_jax.data.sources import labels as labels_lib
from byol_jax.data.sources import parts
from byol_jax.data.sources import table
from byol_jax.errors import UserError
from byol_jax.storage import retry

_console = logging.getLogger('byol_jax')

ENDINGS = ('.parquet', '.pq')
# types of labels beside texts; fractions that are whole numbers, as pandas may write
_OF_LABELS = ('int', 'uint', 'bool', 'float', 'double', 'dictionary<values=string')
_SLOW = 4 << 20  # bytes that are decoded for a single image: more are worth a word


class _Columns(NamedTuple):
  """The columns of a data set."""
  wanted: parquet.Wanted
  class_names: tuple[str, ...] | None  # of Hugging Face's ClassLabel
  types: tuple[str, ...]  # of each column that is read


def open_split(request: table.Request, split: str) -> table.Encoded | None:
  """Opens one part.

  Args:
    request: `path` and `test_path` as in `parts.candidates`; `image_column`: the column
      with the images, which are binary or a struct of `bytes` and `path`, where there
      are several; `label_column`: that with the labels, or 'none'.
    split: as in `parts.candidates`.

  Returns:
    The images, in the order of the files and of their rows; see `parts.opened`.

  Raises:
    UserError: a file is missing, cut short or damaged, has no images, or other columns
      than the first. The message names the file.
    TransientError: the storage fails for a minute.
  """
  return parts.opened(request, split, ENDINGS, _opened)


def _opened(request: table.Request, split: str, files: list[str]) -> table.Encoded:
  """Opens some files as one part."""
  with parts.saying_what_to_do(files):
    every = list(workers.each(lambda path: retry.insist(
        lambda: _columns(path, request), repr(path)), files))
    columns = every[0]
    for path, other in zip(files, every):
      if other != columns:
        raise UserError(f'{path} has other columns than {files[0]}: '
                        f'{_described(other)}, there {_described(columns)}; give each '
                        'its own data.path')
    found = index_lib.indexes(files, lambda path: parquet.index(path, columns.wanted),
                              'Parquet', how=repr(columns.wanted), local=True)
    groups = parquet.RowGroups(files, found, columns.wanted.image)
  counts = [len(one['label']) for one in found]
  if not sum(counts):
    raise UserError(f'no images in {wording.quoted(files, 3)}: the tables are empty')
  names = parts.texts_of(found, 'name')
  if len(names) < sum(counts) or not np.diff(names.ends, prepend=0).all():
    names = parts.numbered(files, counts, 'row')
  labels, class_names = labels_lib.of_shards(request, split, files, found, names,
                                             columns.class_names)
  partition = os.path.basename(os.path.dirname(files[0]))
  if labels is None and '=' in partition:
    _console.warning('%s: no labels: what folders such as %r say is not read: write it '
                     'as a column', request.path, partition)
  if groups.largest > _SLOW:
    _console.warning(
        '%s: its images do not lie in the files as they are (compressed); each that is '
        'read at random decodes a row group of %.0f MiB, and some are kept in memory. '
        'task=prepare reads them once in order, and makes fast records', request.path,
        groups.largest / 2**20)

  def read(file: int, k: int) -> bytes:
    path, one = files[file], found[file]
    if not len(one['start']):
      value = retry.insist(lambda: groups.read(file, k), repr(path))
    elif one['size'][k] < 0:
      value = None
    else:
      at = (int(one[key][k]) for key in ('start', 'size', 'check'))
      value = retry.insist(lambda: parquet.read(path, *at), repr(path))
    if value is None:
      raise BadImage('no image (null)')
    return value

  return table.Encoded(
      shards.by_number(files, counts, read, parts.changed), sum(counts), labels, names,
      class_names, request.path,
      bad_lib.BadImages(names, request.path, request.max_bad),
      identity=json.dumps(['parquet', counts, [
          one['footer'].tobytes().hex() for one in found]]))


def _columns(path: str, request: table.Request) -> _Columns:
  """Finds the columns of one file."""
  file = parquet.opened(path)
  schema = file.schema_arrow
  twice = [name for name, count in collections.Counter(schema.names).items()
           if count > 1]
  if twice:
    raise UserError(f'{path} has two columns named {twice[0]!r}: give each a name of '
                    'its own')
  features = _features(schema)
  image = _image(path, schema, features, request.image_column or '')
  kind = schema.field(image).type
  wanted = parquet.Wanted(image)
  if _is_struct(kind):
    fields = {kind.field(k).name: kind.field(k).type for k in range(kind.num_fields)}
    has_name = 'path' in fields and _is_text(fields['path'])
    wanted = parquet.Wanted(f'{image}.bytes', f'{image}.path' if has_name else '')
  if parquet.is_null(file.metadata, wanted.image):
    raise UserError(
        f'{path} has no image in {wanted.image!r}, but nulls alone: a table of paths '
        'is a list (data.source=list); `datasets` puts files into tables with '
        'push_to_hub, or if they are given as bytes')
  label = _label(path, schema, features, request.label_column or '', image)
  names = features.get(label, {}).get('names')
  return _Columns(
      wanted._replace(label=label), tuple(map(str, names)) if names else None,
      (str(kind), str(schema.field(label).type) if label else ''))


def _described(columns: _Columns) -> str:
  return ', '.join(f'{name!r} ({kind})' for name, kind in zip(
      (columns.wanted.image, columns.wanted.label), columns.types) if name)


def _features(schema: Any) -> dict[str, dict[str, Any]]:
  """Returns what Hugging Face's `datasets` wrote about each column, or {}."""
  description = (schema.metadata or {}).get(b'huggingface', b'{}')
  try:
    features = json.loads(description)['info']['features']
    return {name: one for name, one in features.items() if isinstance(one, dict)}
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
    return {}


def _is_bytes(kind: Any) -> bool:
  return str(kind) in ('binary', 'large_binary', 'binary_view')


def _is_text(kind: Any) -> bool:
  return str(kind) in ('string', 'large_string', 'string_view')


def _is_struct(kind: Any) -> bool:
  return str(kind).startswith('struct<')


def _is_image(kind: Any) -> bool:
  """Returns whether a column may hold images: bytes, or a struct with some."""
  if _is_struct(kind):
    return any(kind.field(k).name == 'bytes' and _is_bytes(kind.field(k).type)
               for k in range(kind.num_fields))
  return _is_bytes(kind)


def _image(path: str, schema: Any, features: dict[str, dict[str, Any]],
           asked: str) -> str:
  """Returns the column with the images."""
  able = [name for name in schema.names if _is_image(schema.field(name).type)]
  there = ', '.join(f'{field.name!r} ({str(field.type)[:60]})' for field in schema)
  if asked:
    if asked in able:
      return asked
    raise UserError(
        f'{path} has no column {asked!r} with images: its columns are {there}; images '
        'are binary, or a struct with bytes: check config key data.image_column')
  likely = [name for name in able if features.get(name, {}).get('_type') == 'Image']
  found = likely or able
  if len(found) == 1:
    return found[0]
  if found:
    raise UserError(f'{path} has images in the columns {wording.quoted(found, 20)}: '
                    f"choose one with config key data.image_column='{found[0]}'")
  urls = [name for name in schema.names if 'url' in name.lower()]
  hint = '; it has addresses of images only: download them, as img2dataset does' if (
      urls) else ''
  lists = [field.name for field in schema if 'list<' in str(field.type)]
  hint = hint or (f'; {lists[0]!r} is a list: write one image a row' if lists else '')
  raise UserError(f'{path} has no column with images, which are binary or a struct '
                  f'with bytes: its columns are {there}{hint}')


def _label(path: str, schema: Any, features: dict[str, dict[str, Any]], asked: str,
           image: str) -> str:
  """Returns the column with the labels, '' without one."""
  def is_able(name):
    kind = str(schema.field(name).type)
    return name != image and (_is_text(kind) or kind.startswith(_OF_LABELS))
  if asked == 'none':
    return ''
  if asked:
    if asked in schema.names and is_able(asked):
      return asked
    raise UserError(f'{path} has no column {asked!r} with whole numbers or names: its '
                    f'columns are {wording.quoted(schema.names, 20)}: check config key '
                    "data.label_column; 'none' is for no labels")
  able = list(filter(is_able, schema.names))
  classes = [x for x in able if features.get(x, {}).get('_type') == 'ClassLabel']
  titled = columns_lib.label_title(classes or able)
  if titled is not None:
    return (classes or able)[titled]
  if len(classes) > 1:
    raise UserError(f'{path} has labels in the columns {wording.quoted(classes, 20)}: '
                    f"choose one with config key data.label_column='{classes[0]}', or "
                    "none with 'none'")
  odd = [f'{name!r} ({str(schema.field(name).type)[:60]})' for name in schema.names
         if name not in (image, *able) and columns_lib.label_title([name]) is not None]
  if odd and not classes:
    _console.warning('%s: no labels: %s is neither a whole number nor a name an image',
                     path, ', '.join(odd))
  return classes[0] if classes else ''
