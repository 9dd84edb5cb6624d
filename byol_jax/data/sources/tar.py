"""The source 'tar': tar files as WebDataset and img2dataset write them."""

from __future__ import annotations

from collections.abc import Sequence
import hashlib
import json
import logging

from byol_jax import wording
from byol_jax.data import bad as bad_lib
from byol_jax.data.records import index as index_lib
from byol_jax.data.records import shards
from byol_jax.data.records import tar
from byol_jax.data.records import texts
from byol_jax.data.sources import folder
from byol_jax.data.sources import labels as labels_lib
from byol_jax.data.sources import layout
from byol_jax.data.sources import parts
from byol_jax.data.sources import table
from byol_jax.errors import UserError
from byol_jax.storage import retry

_console = logging.getLogger('byol_jax')

_LOOKED_AT = 10_000  # names of members
# those of compressed tars, too: reading one says what to do
ENDINGS = ('.tar', '.tar.gz', '.tgz', '.tar.bz2', '.tar.xz', '.tar.zst', '.tar.lz4')


def open_split(request: table.Request, split: str) -> table.Encoded | None:
  """Opens one part.

  Args:
    request: `path` and `test_path` as in `parts.candidates`; `image_column`: the ending
      of the image, where a sample has several; `label_column`: the field of .json that
      holds the label, in place of .cls, or 'none'.
    split: as in `parts.candidates`.

  Returns:
    The images, in the order of the shards and of their members; see `parts.opened`.

  Raises:
    UserError: a shard is missing, compressed, cut short or damaged, or its samples
      cannot be understood. The message names the file.
    TransientError: the storage fails for a minute.
  """
  return parts.opened(request, split, ENDINGS, _opened)


def _opened(request: table.Request, split: str, files: list[str]) -> table.Encoded:
  """Opens some shards as one part."""
  wanted = tar.Wanted(folder.EXTENSIONS, request.image_column or '',
                      request.label_column or '')
  with parts.saying_what_to_do(files):
    found = index_lib.indexes(files, lambda path: tar.index(path, wanted), 'tar',
                              how=f'2 {wanted!r}', local=True)
  names = parts.texts_of(found, 'name')
  _tell_without(request, files, found, len(names))
  if not len(names):
    raise UserError(f'no images in {wording.quoted(files, 3)}: a sample is an image, '
                    f'with one of the endings {", ".join(folder.EXTENSIONS)}')
  labels, class_names = labels_lib.of_shards(request, split, files, found, names)
  if split == 'train':
    _tell_of_folders(request, names, labels is None and not request.label_column)
  counts = [len(one['start']) for one in found]

  def read(file: int, k: int) -> bytes:
    at = (int(found[file][key][k]) for key in ('start', 'size', 'check'))
    return retry.insist(lambda: tar.read(files[file], *at), repr(files[file]))

  return table.Encoded(
      shards.by_number(files, counts, read, parts.changed),
      len(names), labels, names, class_names, request.path,
      bad_lib.BadImages(names, request.path, request.max_bad),
      identity=_identity(found))


def _identity(found: Sequence[index_lib.Index]) -> str:
  """Returns a text that changes with the images' number, order, names and sizes."""
  digest = hashlib.sha256()
  for one in found:
    for key in ('size', 'check', 'name_texts'):
      digest.update(one[key])
  return json.dumps(['tar', [len(one['start']) for one in found], digest.hexdigest()])


def _tell_of_folders(request: table.Request, names: Sequence[str],
                     is_unlabelled: bool) -> None:
  """Tells of folders within the tars: parts, and classes that are not taken."""
  step = max(len(names) // _LOOKED_AT, 1)
  folders = layout.folders_of(names[k] for k in range(0, len(names), step))
  if parts := layout.like_parts(folders):
    _console.warning(
        '%s: the folders %s within look like parts of a data set, and all are trained '
        'on: write a tar for each part', request.path, layout.named(parts))
  if is_unlabelled and len(folders) > 1:
    _console.info(
        '%s: no labels: there is no .cls, and the folders within, %s, are no classes; '
        'to take them as classes unpack it (data.source=folder)', request.path,
        layout.named(folders))


def _tell_without(request: table.Request, files: Sequence[str],
                  found: Sequence[index_lib.Index], images: int) -> None:
  """Warns of samples without an image; raises UserError if they are too many."""
  count = sum(int(one['num_without']) for one in found)
  if not count:
    return
  path, names = next((path, list(texts.of(one, 'without'))) for path, one in
                     zip(files, found) if one['num_without'])
  limit = request.max_bad
  if limit is None:
    limit = bad_lib.default_limit(images + count)
  what = f' {request.image_column!r}' if request.image_column else ''
  message = (f'no image{what} in {wording.count(count, "sample")} of {request.path}, '
             f'as {names[0]!r} of {path}')
  if count > limit:
    raise UserError(f'{message}; config key data.max_bad_images allows {limit}: mend '
                    'them, or raise it; config key data.image_column may name the '
                    'ending of the image')
  _console.warning('%s: passed over', message)
