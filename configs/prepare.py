"""Images become ArrayRecord shards, which read fast from disks and buckets.

  python -m byol_jax.main --config=configs/prepare.py --config.data.path=PHOTOS \\
      --config.prepare.output=DIR [--config.prepare.short_side=256]

DIR must lie outside PHOTOS. Then train with --config.data.source=prepared
--config.data.path=DIR. PHOTOS is a folder, a list, tars or Parquet files; a TFDS
data set takes --config.data.source=tfds. With short_side images become smaller
JPEGs (antialiased bicubic, quality 95), which makes training input faster; 0 keeps
every byte. The same command goes on after a kill and, when all is there, checks
every shard.
"""

from byol_jax.config import base


def get_config():
  c = base()
  c.task = 'prepare'
  c.data.source = 'auto'
  return c
