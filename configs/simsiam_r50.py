"""SimSiam's runs: ResNet-50 on ImageNet, batch 512.

  python -m byol_jax.main --config=configs/simsiam_r50.py:100 \\
      --config.data.path=gs://BUCKET/tensorflow_datasets

Needs `imagenet2012` prepared by TFDS. Argument: the number of epochs, 100 by default. 8
GPUs in the paper; hours are not published. A step costs 49.2 GFLOP an image, MoCo v2's
32.8: by that, 100 epochs would take about 40 h on the 8 V100 GPUs of
configs/moco_r50.py.

  epochs                       100    200    400    800
  linear evaluation, top-1    68.1   70.0   70.8   71.3   (Chen and He 2020, table 4)

Table 4 has batch 256; at 512 the paper has 68.1 after 100 epochs, too. Not run with
this code yet.
"""

from byol_jax.config import augmentations
from byol_jax.config import base
from byol_jax.config import epochs


def get_config(argument='100'):
  c = base()
  c.data.source, c.data.tfds_name = 'tfds', 'imagenet2012:5.*.*'
  c.data.test_split = 'validation'
  c.data.resident = 'no'
  augmentations.apply(c, 'simsiam')
  c.method.name = 'simsiam'
  c.network.projector_hidden_size = c.network.projection_size = 2048
  c.network.predictor_hidden_size = 512
  c.network.last_gamma = 0.0
  c.train.batch_size = 512
  c.train.epochs, c.train.warmup_epochs = epochs(argument), 0.0
  c.train.optimizer, c.train.decay_all = 'sgd', True
  c.train.base_learning_rate, c.train.weight_decay = 0.05, 1e-4
  c.train.rate_per, c.train.predictor_schedule = 'epoch', 'constant'
  c.evaluation.examples = 4096
  return c
