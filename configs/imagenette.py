"""Imagenette at 128 pixels: DeepMind's recipe for one GPU.

  tfds build imagenette/160px-v2 --file_format=array_record
  python -m byol_jax.main --config=configs/imagenette.py

ResNet-18, batch 256, 1000 epochs. DeepMind reports about 92.3 % of the online
probe, 4 h on one V100. Its network is --config.network.padding=same, with a projection
at the first shortcut, too; here it is torchvision's. Not run with this code yet.
"""

from byol_jax.config import base


def get_config():
  c = base()
  c.data.source, c.data.tfds_name = 'tfds', 'imagenette/160px-v2'
  c.data.test_split = 'validation'
  c.data.image_size = 128
  c.network.name = 'resnet18'
  c.train.batch_size = 256
  c.train.base_learning_rate = 2.0
  c.train.weight_decay = 1e-6
  return c
