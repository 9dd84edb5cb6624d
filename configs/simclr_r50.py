"""SimCLR's runs: ResNet-50 on ImageNet, batch 4096.

  python -m byol_jax.main --config=configs/simclr_r50.py:100 \\
      --config.data.path=gs://BUCKET/tensorflow_datasets

Needs `imagenet2012` prepared by TFDS. Argument: the number of epochs, 1000 by default.
1.5 h for 100 epochs on 128 TPU v3 cores (Chen et al. 2020, section 2.2).

  epochs                       100    200    400    800    1000
  linear evaluation, top-1    64.6   66.5   68.2   68.9    69.3

(Chen et al. 2020, table B.1, batch 4096, linear rule.) The head has two layers, as in
the paper, and as in the authors' code a batch normalization behind the last one. That
code has three layers by default, --config.network.projector_layers=3
(66.5 at 100 epochs, Chen and He 2020, table 4). The paper's decay is 1e-6, the code's
README has 1e-4. Small batches want the square-root rule:
--config.train.rate_scaling=sqrt --config.train.base_learning_rate=0.075. Negatives and
statistics are those of a sub-batch: accumulation does not enlarge them. Not run with
this code yet.
"""

from byol_jax.config import augmentations
from byol_jax.config import base
from byol_jax.config import epochs


def get_config(argument='1000'):
  c = base()
  c.data.source, c.data.tfds_name = 'tfds', 'imagenet2012:5.*.*'
  c.data.test_split = 'validation'
  c.data.resident = 'no'
  augmentations.apply(c, 'simclr_v1')
  c.method.name, c.method.temperature = 'simclr', 0.1
  c.network.projector_layers = 2
  c.network.projector_hidden_size, c.network.projection_size = 2048, 128
  c.network.last_gamma = 0.0
  c.train.batch_size = 4096
  c.train.epochs, c.train.warmup_epochs = epochs(argument), 10.0
  c.train.base_learning_rate, c.train.weight_decay = 0.3, 1e-6
  c.train.rate_in_momentum = True
  c.evaluation.examples = 4096
  return c
