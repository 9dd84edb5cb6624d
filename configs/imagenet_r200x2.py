"""The paper's largest network: ResNet-200 with twice the width, ImageNet.

  python -m byol_jax.main --config=configs/imagenet_r200x2.py \\
      --config.data.path=gs://BUCKET/tensorflow_datasets

250 M parameters; 79.6 % linear evaluation in the paper (table 1). Not run with
this code yet.
"""

from byol_jax.config import base


def get_config():
  c = base()  # the 1000-epoch schedule
  c.data.source, c.data.tfds_name = 'tfds', 'imagenet2012:5.*.*'
  c.data.test_split = 'validation'
  c.data.resident = 'no'
  c.network.name, c.network.width = 'resnet200', 2.0
  c.evaluation.examples = 4096
  return c
