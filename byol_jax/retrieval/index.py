"""An index of a catalogue: given pictures, what is there that looks like them?

  from byol_jax.retrieval.index import Index

  index = Index.open('INDEX')
  [hits] = index.search('photo.jpg', k=10, where='price < 50')
  print(hits[0].name, hits[0].score, hits[0].columns)
"""

from __future__ import annotations

from collections.abc import Sequence
import io
import os
from typing import Any, NamedTuple
import zipfile

import numpy as np

from byol_jax import encoder as encoder_lib
from byol_jax.errors import UserError
from byol_jax.retrieval import neighbours
from byol_jax.retrieval import store as store_lib
from byol_jax.storage import files as files_lib

FORMAT = 'byol_jax index 1'
ABOUT, ENCODER, TABLE = 'index.json', 'encoder.safetensors', 'table'
EMBEDDINGS = 'embeddings.npz'
_KINDS = {'weights': str, 'network': str, 'digest': str, 'image_size': int,
          'center_share': (int, float)}  # what a query's encoder is found by


class Hit(NamedTuple):
  """An image that was found.

  Attributes:
    name: its name in the catalogue.
    score: the cosine, 1 for the same picture.
    columns: {title: value} of the catalogue, as label and price.
    thumbnail: a JPEG file's bytes; None where there is none.
  """
  name: str
  score: float
  columns: dict[str, Any]
  thumbnail: bytes | None


class Index:
  """An index of task=index, or the features that task=embed wrote.

  Attributes:
    path: its folder.
    about: what index.json says; for features what they were made with.
    columns: titles of the catalogue's columns.
  """

  def __init__(self, path: str, about: dict[str, Any], table: Any):
    """Takes its parts; programs call `open`."""
    self.path, self.about, self._table = path, about, table
    self.columns: list[str] = table.columns
    self._encoder: encoder_lib.Encoder | None = None

  @classmethod
  def open(cls, path: str | os.PathLike) -> Index:
    """Opens an index.

    Args:
      path: the workdir of task=index, or that of task=embed.

    Raises:
      UserError: there is no index, it is damaged or of another version, or LanceDB is
        not installed.
    """
    path = os.fspath(path)
    if os.path.exists(os.path.join(path, ABOUT)):
      about = read_about(path)
      return cls(path, about, store_lib.open_table(os.path.join(path, TABLE)))
    if os.path.exists(os.path.join(path, EMBEDDINGS)):
      return cls(path, *_embedded(path))
    raise UserError(f'{path!r} is no index: task=index makes one, and task=embed '
                    f'writes {EMBEDDINGS}, which will do')

  def __len__(self) -> int:
    """Returns the number of images."""
    return self._table.size

  @property
  def encoder(self) -> encoder_lib.Encoder:
    """Returns the encoder of the index, which encodes queries.

    Raises:
      UserError: it is not there, or it is another one than that of the index.
    """
    if self._encoder is None:
      about = self.about
      path = os.path.join(self.path, ENCODER)
      if not os.path.exists(path):
        path = about['weights']
      # the digest is the arrays': it is compared before anything is searched
      loaded = encoder_lib.load(
          path, network=about['network'], image_size=about['image_size'],
          center_share=about['center_share'])
      if loaded.digest != about['digest']:
        raise UserError(f'{path} is another encoder ({loaded.digest[:8]}) than the one '
                        f'that {self.path!r} was made with ({about["digest"][:8]}): '
                        'make the index again')
      self._encoder = loaded
    return self._encoder

  def search(self, images: Any, k: int = 10,
             where: str | None = None) -> list[list[Hit]]:
    """Finds the images that look most like each of some pictures.

    Args:
      images: as for `encoder.Encoder`: paths, the bytes of files, arrays, or one.
      k: how many for each.
      where: a condition on the columns in SQL, as in "price < 50"; None for all.

    Returns:
      Hits by descending score, a list for each picture.

    Raises:
      UserError: `where` is no condition, or the encoder cannot be loaded.
      decode.BadImage: a file cannot be used as a picture.
    """
    return [self._hits(vector, k, where) for vector in self.encoder(images)]

  def has(self, name: str) -> bool:
    """Returns whether there is an image of this name."""
    return bool(self._table.rows([name]))

  def search_name(self, name: str, k: int = 10,
                  where: str | None = None) -> tuple[Hit, list[Hit]]:
    """Finds what looks like an image of the index, which is left out itself.

    Returns:
      The image itself with score 1, and the hits.

    Raises:
      UserError: there is no such image, or as `search`.
    """
    row = self._table.rows([name]).get(name)
    if row is None:
      raise UserError(f'{name!r} is no image of {self.path!r}')
    hits = self._hits(np.asarray(row[store_lib.VECTOR], np.float32), k + 1, where)
    return _hit(1.0, row), [hit for hit in hits if hit.name != name][:k]

  def exact_recall(self, queries: int, k: int = 10) -> float:
    """Returns the share of the true k nearest that a search finds, of some images."""
    if not isinstance(self._table, store_lib.Store):
      return 1.0  # task=embed's are searched exactly
    names = sorted(self._table.stamps())
    names = names[::max(len(names) // queries, 1)][:queries]
    vectors = [np.asarray(row[store_lib.VECTOR], np.float32)
               for row in self._table.rows(names).values()]
    true = self._table.nearest_of_all(np.stack(vectors), k)
    ours = ({row[store_lib.NAME] for _, row in self._table.nearest(vector, k)}
            for vector in vectors)
    return float(np.mean([len(a & b) / len(a) for a, b in zip(true, ours)]))

  def _hits(self, vector: np.ndarray, k: int, where: str | None) -> list[Hit]:
    return [_hit(*found) for found in self._table.nearest(vector, k, where)]


def read_about(path: str) -> dict[str, Any]:
  """Reads index.json.

  Raises:
    UserError: it is damaged, or of another version.
  """
  file = os.path.join(path, ABOUT)
  about = files_lib.read_json(file)
  if about and about.get('format', FORMAT) != FORMAT:
    raise UserError(f'{file} is of the format {about["format"]!r}, this version knows '
                    f'{FORMAT!r}: make the index again')
  if not _is_whole(about):
    raise UserError(f'{file} is damaged: remove {path!r}, and make the index again')
  return about


def _is_whole(about: dict[str, Any] | None) -> bool:
  return (about is not None and all(
      isinstance(about.get(key), kind) for key, kind in _KINDS.items())
          and about['image_size'] > 1 and 0 < about['center_share'] <= 1)


def _hit(score: float, row: dict[str, Any]) -> Hit:
  return Hit(row[store_lib.NAME], float(score),
             {title: value for title, value in row.items()
              if title not in store_lib.OWN}, row.get(store_lib.THUMBNAIL))


class _Features:
  """The features of task=embed, searched exactly in the way of `Store`."""

  def __init__(self, arrays: dict[str, np.ndarray]):
    self._x = np.asarray(arrays['features'], np.float32)  # embed.float16
    self._row = {str(name): row for row, name in enumerate(arrays['names'])}
    self._names = [str(name) for name in arrays['names']]
    labels, names = arrays.get('labels'), arrays.get('class_names')
    self._labels = None if labels is None else [
        None if k < 0 else k if names is None else str(names[k])
        for k in labels.tolist()]
    self.columns = [] if labels is None else ['label']
    self.size = len(self._x)

  def rows(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {name: self._of(self._row[name], vector=True)
            for name in names if name in self._row}

  def nearest(self, query: np.ndarray, k: int, where: str | None = None,
              ) -> list[tuple[float, dict[str, Any]]]:
    if where:
      raise UserError('config key search.where needs an index: task=index makes one '
                      f'(features in {EMBEDDINGS} have no columns)')
    cosines, rows = neighbours.nearest(self._x, query[None], min(k, self.size))
    return [(float(cosine), self._of(int(row)))
            for cosine, row in zip(cosines[0], rows[0])]

  def _of(self, row: int, vector: bool = False) -> dict[str, Any]:
    about: dict[str, Any] = {store_lib.NAME: self._names[row]}
    if self._labels is not None:
      about['label'] = self._labels[row]
    return about | ({store_lib.VECTOR: self._x[row]} if vector else {})


def _embedded(path: str) -> tuple[dict[str, Any], _Features]:
  """Returns what features were made with, and the features."""
  file = os.path.join(path, EMBEDDINGS)
  results = files_lib.read_json(os.path.join(path, 'results.json'))
  try:
    about = {key: results['protocol'][key] for key in _KINDS}
    if not _is_whole(about):
      raise ValueError(f'the protocol says {about}')
    with open(file, 'rb') as f:
      data = io.BytesIO(f.read())
    with np.load(data, allow_pickle=False) as arrays:
      found = _Features(dict(arrays))
  except (OSError, ValueError, KeyError, TypeError, EOFError,
          zipfile.BadZipFile) as error:
    raise UserError(f'{file} or its results.json is damaged ({error!r}): make them '
                    'again with task=embed') from error
  return about, found
