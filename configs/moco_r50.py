"""MoCo v2's runs: ResNet-50 on ImageNet, batch 256, a queue of 65,536 keys.

  python -m byol_jax.main --config=configs/moco_r50.py:800 \\
      --config.data.path=gs://BUCKET/tensorflow_datasets

Needs `imagenet2012` prepared by TFDS. Argument: the number of epochs, 200 by default.
53 h for 200 epochs on 8 V100 GPUs (Chen, Fan et al. 2020, table 3).

  epochs                              100    200    400    800
  linear evaluation, top-1             -    67.5     -    71.1   (authors' README)
  the same, symmetric                67.4   69.9   71.0   72.2   (Chen and He 2020,
                                                                  table 4)

Statistics are those of 8 parts of 32 images, with the keys shuffled among them,
whatever the number of devices: as on the authors' 8 GPUs. Not run with this code yet.
"""

from byol_jax.config import augmentations
from byol_jax.config import base
from byol_jax.config import epochs


def get_config(argument='200'):
  c = base()
  c.data.source, c.data.tfds_name = 'tfds', 'imagenet2012:5.*.*'
  c.data.test_split = 'validation'
  c.data.resident = 'no'
  augmentations.apply(c, 'moco_v2')
  c.method.name, c.method.temperature, c.method.queue = 'moco', 0.2, 65_536
  c.network.projector_hidden_size, c.network.projection_size = 2048, 128
  c.network.bn_groups = 8
  c.train.batch_size = 256
  c.train.epochs, c.train.warmup_epochs = epochs(argument), 0.0
  c.train.optimizer, c.train.decay_all = 'sgd', True
  c.train.base_learning_rate, c.train.weight_decay = 0.03, 1e-4
  c.train.rate_per = 'epoch'
  c.train.target_init, c.train.tau_base, c.train.tau_end = 'copy', 0.999, 0.999
  c.evaluation.examples = 4096
  return c
