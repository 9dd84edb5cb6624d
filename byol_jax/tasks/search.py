"""task=search: finds what looks like some pictures, in an index."""

from __future__ import annotations

from collections.abc import Iterator
import csv
import io
import logging
import os
from typing import NamedTuple

import ml_collections

from byol_jax import wording
from byol_jax.data.images import decode
from byol_jax.data.images import thumbnail
from byol_jax.data.sources import folder as folder_lib
from byol_jax.errors import UserError
from byol_jax.pages import gallery
from byol_jax.retrieval import index as index_lib
from byol_jax.tasks import output

_console = logging.getLogger('byol_jax')

PAGE, HITS = 'gallery.html', 'hits.csv'
_AT_A_TIME = 128   # queries that are in memory with their files
_ON_THE_PAGE = 100  # queries
_TOLD = 3          # queries on the console


class Search(NamedTuple):
  """A query and its hits, as the page shows them; without pictures behind the first."""
  query: gallery.Found
  hits: list[gallery.Found]


def run(config: ml_collections.ConfigDict, workdir: str | None) -> str:
  """Searches, and writes hits.csv and gallery.html.

  Args:
    config: a valid config.
    workdir: where they are written; None: SEARCHED/search.

  Returns:
    The folder of the files.

  Raises:
    UserError: a mistake that the user can mend.
  """
  c = config.search
  index = index_lib.Index.open(c.index)
  if not index.about.get('complete', True):
    _console.warning('%s is not complete: the command that made it goes on', c.index)
  searches, left_out = [], []
  for search in _searches(index, c, left_out):
    if len(searches) >= _ON_THE_PAGE:  # hits.csv has no pictures
      search = Search(search.query._replace(jpeg=None),
                      [hit._replace(jpeg=None) for hit in search.hits])
    searches.append(search)
  if not searches:
    raise UserError(f'config key search.query is {c.query!r}, where no picture can be '
                    f'used ({left_out[0]})')
  if left_out:
    _console.warning('left out %s, of which no picture can be made; the first is %s',
                     wording.count(len(left_out), 'file'), left_out[0])
  place = workdir or os.path.join(c.index, 'search')
  _console.info('%s', _table(searches[:_TOLD]))
  if len(searches) > _TOLD:
    _console.info('and %s', wording.count(len(searches) - _TOLD, 'more query'))
  output.write(place, _csv(searches, index.columns), HITS)
  output.write(place, gallery.page('What looks alike', searches[:_ON_THE_PAGE],
                                   _about(c, index, len(searches))), PAGE)
  return place


def _searches(index: index_lib.Index, c: ml_collections.ConfigDict,
              left_out: list[str]) -> Iterator[Search]:
  """Yields each search; `left_out` gets what is said of each file that is bad."""
  where = c.where or None
  if not os.path.exists(c.query):
    if not index.has(c.query):
      raise UserError(f'config key search.query is {c.query!r}, which is no file, no '
                      f'folder, and no name of an image in {c.index!r}')
    query, hits = index.search_name(c.query, c.k, where)
    yield Search(_found(query)._replace(score=None), [_found(hit) for hit in hits])
    return
  if os.path.isdir(c.query):
    try:
      listing = folder_lib.list_folder(c.query, 'train')
    except UserError as error:
      raise UserError(f'config key search.query is {c.query!r}: {error}') from error
    paths = [os.path.join(listing.root, file) for file in listing.files]
  else:
    paths = [c.query]
  for start in range(0, len(paths), _AT_A_TIME):
    queries, files = [], []
    for path in paths[start:start + _AT_A_TIME]:
      try:
        data = folder_lib.read_file(path)
        pixels = decode.decode(data, at_least=2 * gallery.SIDE)
      except decode.BadImage as error:
        left_out.append(f'{path}: {error}')
        continue
      files.append(data)
      queries.append(gallery.Found(path, thumbnail.jpeg(pixels, gallery.SIDE), {}))
    try:
      found = index.search(files, c.k, where)
    except decode.BadImage as error:  # the encoder's own limit of pixels
      raise UserError(f'config key search.query is {c.query!r}: {error}') from error
    for query, hits in zip(queries, found):
      yield Search(query, [_found(hit) for hit in hits])


def _found(hit: index_lib.Hit) -> gallery.Found:
  return gallery.Found(hit.name, hit.thumbnail, hit.columns, hit.score)


def _about(c: ml_collections.ConfigDict, index: index_lib.Index,
           queries: int) -> list[str]:
  """Returns the paragraphs at the top of the page."""
  how = index.about.get('search', 'exact')
  lines = [f'{wording.count(len(index), "image", ",")} of {c.index}; encoder '
           f'{index.about["digest"][:8]}; {how} search by cosine, which is 1 for the '
           'same picture.']
  if c.where:
    lines.append(f'Only those with: {c.where}')
  if queries > _ON_THE_PAGE:
    lines.append(f'The first {_ON_THE_PAGE} of {queries:,} queries; {HITS} has all.')
  return [*lines, output.made()]


def _csv(searches: list[Search], columns: list[str]) -> str:
  """Returns a row for each hit."""
  file = io.StringIO()
  writer = csv.writer(file, lineterminator='\n')
  writer.writerow(['query', 'rank', 'score', 'image', *columns])
  for query, hits in searches:
    for rank, hit in enumerate(hits, 1):
      writer.writerow([query.name, rank, f'{hit.score:.6f}', hit.name, *(
          '' if hit.columns[title] is None else gallery.shown(hit.columns[title])
          for title in columns)])
  return file.getvalue().encode(errors='backslashreplace').decode()


def _table(searches: list[Search]) -> str:
  """Returns the hits as people read them on a console."""
  lines = []
  for query, hits in searches:
    lines.append(f'{query.name}:' if hits else f'{query.name}: nothing found')
    for rank, hit in enumerate(hits, 1):
      columns = ', '.join(f'{title} {gallery.shown(value)}'
                          for title, value in hit.columns.items())
      lines.append(f'{rank:>4}  {hit.score:.3f}  {hit.name}  {columns}'.rstrip())
  return '\n'.join(lines)
