"""A catalogue to search in: vectors, names, columns and thumbnails on disk.

  pip install 'byol_jax[index]'
  python -m byol_jax.main --config=configs/index.py --config.weights=runs/photos \
      --config.data.source=folder --config.data.path=CATALOGUE --workdir=INDEX
  byol_jax index runs/photos CATALOGUE INDEX      says the same

The same command brings it up to date: new and changed images are encoded, and those
that are gone leave. A list (--config.data.source=list) brings its columns, by which
searches may be narrowed. configs/search.py searches; docs/retrieval.md.
"""

from byol_jax.config import base


def get_config():
  c = base()
  c.task = 'index'
  c.data.source = 'same'
  return c
