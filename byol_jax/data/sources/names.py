"""The catalogue of sources, with what each needs and is. Importing it costs nothing.

A new source is one line here and one file beside this one, named after it, with

  def open_split(request: table.Request, split: str) -> table.Data | None:

which returns None where `split` is 'test' and the data has no such part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Source(NamedTuple):
  """A source: what it needs of the config's section `data`, and what it is."""
  needs: Mapping[str, str] = {}  # keys that may not be empty: what each names
  local: bool = False    # reads files of this machine, none in a bucket
  encoded: bool = False  # files or records, decoded when needed: prepare takes them
  seeded: bool = False   # its images are drawn from the seed
  by_training: bool = False  # labels of all parts are numbered by the training part


CATALOGUE: Mapping[str, Source] = {
    'fashion_sample': Source(),
    'fashion_mnist': Source(local=True),
    'npz': Source({'path': 'an .npz file'}, local=True, by_training=True),
    'folder': Source({'path': 'a folder of images'}, local=True, encoded=True),
    'list': Source({'path': 'a text or CSV file that lists images'}, local=True,
                   encoded=True, by_training=True),
    'tar': Source({'path': 'a tar file, or several'}, encoded=True, by_training=True),
    'parquet': Source({'path': 'a Parquet file, or several'}, encoded=True,
                      by_training=True),
    'sop': Source({'path': 'the folder of Stanford Online Products'}, local=True,
                  encoded=True),
    'inshop': Source({'path': 'the folder of DeepFashion In-shop'}, local=True,
                     encoded=True),
    'cub': Source({'path': 'the folder of CUB-200-2011'}, local=True, encoded=True),
    'prepared': Source({'path': 'a folder that task=prepare wrote'}, encoded=True),
    'tfds': Source({'tfds_name': 'the name of a data set'}, encoded=True),
    'fake': Source(seeded=True),
    'auto': Source({'path': 'a folder or a file'}, encoded=True),  # finds one of these
}
SOURCES = tuple(CATALOGUE)
