"""InfoMin Aug's runs: ResNet-50 on ImageNet; MoCo v2 with RandAugment and a jigsaw.

  python -m byol_jax.main --config=configs/infomin_r50.py:200 \\
      --config.data.path=gs://BUCKET/tensorflow_datasets

Needs `imagenet2012` prepared by TFDS. Argument: the number of epochs, 200 by default.
Hardware and hours are not published. A step costs 50.9 GFLOP an image, MoCo v2's 32.8:
by that, 200 epochs would take about 82 h on the 8 V100 GPUs of configs/moco_r50.py.

  epochs                       100    200    800
  linear evaluation, top-1    67.4   70.1   73.0   (PyContrast's README)

As configs/moco_r50.py, with the constants of PyContrast. Its rate counts epochs from 1,
ours from 0. Not run with this code yet.
"""

from byol_jax.config import augmentations
from byol_jax.config import base
from byol_jax.config import epochs


def get_config(argument='200'):
  c = base()
  c.data.source, c.data.tfds_name = 'tfds', 'imagenet2012:5.*.*'
  c.data.test_split = 'validation'
  c.data.resident = 'no'
  augmentations.apply(c, 'infomin')
  c.method.name, c.method.temperature, c.method.queue = 'moco', 0.15, 65_536
  c.method.jigsaw = 0.5
  c.network.projector_hidden_size, c.network.projection_size = 2048, 128
  c.network.bn_groups = 8
  c.train.batch_size = 256
  c.train.epochs, c.train.warmup_epochs = epochs(argument), 0.0
  c.train.optimizer, c.train.decay_all = 'sgd', True
  c.train.base_learning_rate, c.train.weight_decay = 0.03, 1e-4
  c.train.rate_per, c.train.rate_end = 'epoch', 1e-3
  c.train.target_init, c.train.tau_base, c.train.tau_end = 'copy', 0.999, 0.999
  c.evaluation.examples = 4096
  return c
