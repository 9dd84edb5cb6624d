"""Your own images: a folder of JPEG or PNG files, tars, Parquet files, a list.

  python -m byol_jax.main --config=configs/folder.py --config.data.path=PHOTOS

With one sub-folder a class the online probe and k-NN run too; a flat folder
needs no labels. docs/input.md shows the layouts, with parts as train/ and test/
too. Epochs, warm-up, learning rate, weight decay and tau are chosen from the
number of images and the batch size (config/schedule.py says how); set any of them
yourself with --config.train.epochs=300 and so on. ResNet-50 at 224 pixels wants
an accelerator; on a CPU start with

  --config.network.name=resnet18 --config.data.image_size=96 \\
  --config.train.batch_size=64
"""

from byol_jax.config import base


def get_config():
  c = base()
  c.data.source = 'auto'
  c.network.name = 'resnet50'
  c.train.batch_size = 256
  c.train.epochs = None
  c.train.warmup_epochs = None
  c.train.base_learning_rate = None
  c.train.weight_decay = None
  c.train.tau_base = None
  return c
