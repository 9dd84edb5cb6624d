"""Makes the pictures of a page: thumbnails, views, nearest images, the map."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent import futures
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from byol_jax import wording
from byol_jax.data.feed import feed as feed_lib
from byol_jax.data.feed import order
from byol_jax.data.images import decode
from byol_jax.data.images import thumbnail
from byol_jax.data.sources import table
from byol_jax.devices import mapped
from byol_jax.evaluation import confusion
from byol_jax.evaluation import knn
from byol_jax.evaluation import overview
from byol_jax.evaluation.features import Features
from byol_jax.pages import pictures as pictures_lib
from byol_jax.training import build

_VIEWED, _QUERIES, _NEAREST = 12, 8, 6  # images
_ON_THE_MAP = 600


class Showing:
  """The pictures of one data set; each thumbnail is made once."""

  def __init__(self, data: table.Data, split: str, threads: int = 0):
    """Makes none yet.

    Args:
      data: the images.
      split: the part's name, for images without names.
      threads: decoding threads; 0 for one a core.
    """
    self.data, self._split, self._threads = data, split, threads or None
    self._thumbnails: dict[int, bytes | None] = {}
    self._sheet: tuple[list[int], bytes] | None = None
    self._views: Sequence[tuple[pictures_lib.Shown, list[bytes]]] = ()

  def label(self, number: int) -> str:
    """Returns the name of a class; '' of a label below 0, which stands for none."""
    if number < 0:
      return ''
    names = self.data.class_names
    return str(names[number] if names and number < len(names) else number)

  def labels(self, rows: np.ndarray) -> list[str]:
    """Returns the classes of images; '' for each without labels."""
    if self.data.labels is None:
      return [''] * len(rows)
    return [self.label(int(label)) for label in np.asarray(self.data.labels[rows])]

  def shown(self, rows: Sequence[int]) -> list[pictures_lib.Shown]:
    """Returns images with their names, classes and thumbnails."""
    rows = np.asarray(rows, np.int64)
    missing = [row for row in rows.tolist() if row not in self._thumbnails]
    for row, pixels in zip(missing, self._pixels(missing)):
      self._thumbnails[row] = (None if pixels is None else
                               thumbnail.jpeg(pixels, pictures_lib.SIDE))
    return [pictures_lib.Shown(str(name), label, self._thumbnails[row])
            for row, name, label in zip(
                rows.tolist(), table.names_of(self.data, rows, self._split),
                self.labels(rows))]

  def thumbnails(self, rows: np.ndarray, side: int) -> list[bytes | None]:
    """Returns a JPEG file of each image, of at most `side` pixels; keeps none."""
    return [None if pixels is None else thumbnail.jpeg(pixels, side)
            for pixels in self._pixels(rows.tolist(), side)]

  def views(self, program: build.Program, seed: int, batch_size: int,
            ) -> Sequence[tuple[pictures_lib.Shown, list[bytes]]]:
    """Returns the first images of a run, each with its views of the first step.

    Args:
      program: the run's functions.
      seed: the run's.
      batch_size: the run's.
    """
    if not self._views:
      first = order.rows(seed, 0, batch_size, self.data.size)
      rows = np.array(list(dict.fromkeys(first.tolist()))[:_VIEWED])
      feed = feed_lib.make(table.take(self.data, rows), program.spec.crop, seed=seed,
                           batch_size=len(rows), threads=self._threads or 0)
      [batch] = feed.batches(0, 1, np.arange(len(rows), dtype=np.int32))
      shared = {'key': jax.random.PRNGKey(seed)} | feed.shared()
      made = _make_views(program)(mapped.replicate(shared), batch)
      rows = rows[order.rows(seed, 0, len(rows), len(rows))]
      self._views = [(image, [thumbnail.jpeg(view, pictures_lib.SIDE)
                              for view in of_image])
                     for image, of_image in zip(self.shown(rows), made)]
    return self._views

  def queries(self, features: Features) -> list[pictures_lib.Query]:
    """Returns some of the images, each with those that have the nearest features."""
    rows, x = features
    if len(rows) < 2:
      return []
    labels = None if self.data.labels is None else np.asarray(self.data.labels[rows])
    asked = overview.queries(labels, len(rows), _QUERIES)
    found, cosines = overview.nearest(x, asked, _NEAREST)
    return [
        pictures_lib.Query(*self.shown(rows[[query]]), list(zip(
            self.shown(rows[of_query]), of_query_cosines.tolist())))
        for query, of_query, of_query_cosines in zip(asked, found, cosines)]

  def map(self, features: Features) -> pictures_lib.Map | None:
    """Returns the map of features; None where there is nothing to see."""
    rows, x = features
    plane = overview.plane(x)
    if plane is None:
      return None
    drawn = np.unique(np.linspace(0, len(rows) - 1, _ON_THE_MAP).astype(int))
    wanted = rows[drawn].tolist()
    if self._sheet is None or self._sheet[0] != wanted:
      self._sheet = wanted, thumbnail.sheet(
          self._pixels(wanted), pictures_lib.MAP_SIDE, pictures_lib.MAP_COLUMNS)
    return pictures_lib.Map(
        plane.points[drawn], plane.shares,
        [str(name) for name in table.names_of(self.data, rows[drawn], self._split)],
        self.labels(rows[drawn]), self._sheet[1], len(rows))

  def by_class(self, features: Features, voting: knn.Voting) -> dict[str, Any]:
    """Returns `confusion.by_class` of k-NN, each image against all the others."""
    rows, x = features
    labels = np.asarray(self.data.labels[rows])
    found, cosines = overview.nearest(x, range(len(rows)), voting.k)
    votes = voting.votes(cosines, labels[found], labels.max() + 1)
    return confusion.by_class(
        votes.argmax(axis=1), labels, self.data.class_names,
        f'k-NN, each of {wording.count(len(rows), "training image")} against the '
        'others')

  def _pixels(self, rows: Sequence[int],
              side: int = pictures_lib.SIDE) -> list[np.ndarray | None]:
    """Returns the pixels of images, None for those that are gone or damaged."""
    if isinstance(self.data, table.Images):
      return [self.data.images[row] for row in rows]
    with futures.ThreadPoolExecutor(self._threads) as pool:
      return list(pool.map(lambda row: self._decoded(row, side), rows))

  def _decoded(self, row: int, side: int) -> np.ndarray | None:
    try:
      pixels = decode.decode(self.data.read(row), at_least=2 * side,
                             how=self.data.how)
    except (decode.BadImage, OSError):
      return None
    # the whole of it waits for the others
    step = max(1, min(pixels.shape[:2]) // (2 * side))
    return np.ascontiguousarray(pixels[::step, ::step])


def _make_views(program: build.Program):
  """Returns (shared, batch) -> uint8 [n, V, S, S, 3]: views as people see them."""
  spec = program.spec
  def make(shared, batch):
    images = program.make_views(shared, jnp.int32(0), batch).images
    pixels = (images * jnp.asarray(spec.std) + jnp.asarray(spec.mean)) * 255
    return jnp.round(jnp.clip(pixels, 0, 255)).astype(jnp.uint8).swapaxes(0, 1)
  return mapped.map_batches(make)
