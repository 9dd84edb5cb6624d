"""The default job: a small ResNet on the embedded Fashion-MNIST images.

  bash launch/local.sh
  python -m byol_jax.main --config=configs/fashion.py
"""

from byol_jax.config import base


def get_config():
  c = base()
  c.data.source = 'fashion_sample'
  c.data.image_size = 28
  c.data.center_share = 1.0
  c.data.crop_area = (0.2, 1.0)
  c.data.mean, c.data.std = (0.286,) * 3, (0.353,) * 3
  c.network.name, c.network.width, c.network.stem = 'resnet8', 2.0, 'half'
  c.network.precision = 'float32'
  c.network.projector_hidden_size = c.network.predictor_hidden_size = 1024
  c.network.projection_size = 128
  c.train.batch_size = 64
  c.train.epochs, c.train.warmup_epochs = 12.0, 1.0
  c.train.base_learning_rate = 4.0
  c.train.weight_decay = 1e-6
  c.train.tau_base = 0.97
  for view in (c.augment.view1, c.augment.view2):
    view.saturation = view.hue = view.grayscale = view.blur = 0.0
    view.solarize = 0.0
  return c
