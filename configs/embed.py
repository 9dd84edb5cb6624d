"""Features of any images, labelled or not, for use elsewhere.

  python -m byol_jax.main --config=configs/embed.py --config.weights=RUN \\
      --config.data.source=folder --config.data.path=PHOTOS --workdir=OUT

Writes OUT/embeddings.npz (features, names and, where there are any, labels) and
OUT/embeddings.parquet. The same command goes on where it stopped. Many processes share
the work with --config.shard=3/16: docs/clusters.md.
"""

from byol_jax.config import base


def get_config():
  c = base()
  c.task = 'embed'
  c.data.source = 'same'
  return c
