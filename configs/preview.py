"""A look at your images, and at what a run would do with them, in seconds.

  python -m byol_jax.main --config=configs/preview.py --config.data.path=PHOTOS

Writes runs/preview/preview.html, or DIR/preview.html with --workdir=DIR. It takes the
keys that you will give to configs/folder.py. Of any other run, set the task:

  python -m byol_jax.main --config=configs/fashion.py --config.task=preview

docs/report.md says what stands on the page.
"""

from byol_jax.config import base


def get_config():
  c = base()
  c.task = 'preview'
  c.data.source = 'auto'
  c.network.name = 'resnet50'
  c.train.batch_size = 256
  c.train.epochs = None
  c.train.warmup_epochs = None
  c.train.base_learning_rate = None
  c.train.weight_decay = None
  c.train.tau_base = None
  return c
