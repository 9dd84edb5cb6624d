"""What looks like this picture? Searches an index, or the features of task=embed.

  python -m byol_jax.main --config=configs/search.py --config.search.index=INDEX \
      --config.search.query=photo.jpg '--config.search.where=price < 50'
  byol_jax search INDEX photo.jpg                 says the same, without a condition

The query is a picture, a folder of pictures, or the name of an image in the index. The
hits are on the console, in INDEX/search/hits.csv, and as pictures in gallery.html
beside it; --workdir=DIR puts them elsewhere.
"""

from byol_jax.config import base


def get_config():
  c = base()
  c.task = 'search'
  return c
