"""The default job: a small ResNet learns from the embedded Fashion-MNIST images.

  bash launch/local.sh
  python -m byol_jax.main --config=configs/fashion.py
  python -m byol_jax.main --config=configs/fashion.py:simclr

Two CPU cores, about 4 minutes. Argument: the method, byol (default), simclr, moco or
simsiam. Expect, in percent (three seeds on one machine; another one gave BYOL 83.3 and
86.6: docs/results.md):

           raw pixels   untrained    byol   moco   simclr   simsiam
  k-NN        80.0         74.4      82.8   83.1    84.6     82.7
  linear      82.8         74.0      85.8   86.5    86.4     85.8

MoCo has no groups of statistics here.

The augmentations are the paper's; on gray images saturation, hue and grayscale
change nothing and are left out. Crops keep more of the image than the paper's 8 %,
views are smaller than the evaluated images, which costs half and loses nothing
here, and tau starts lower, as short runs want it.
"""

from byol_jax.config import base


def get_config(method='byol'):
  c = base()
  c.data.source = 'fashion_sample'
  c.data.image_size, c.data.eval_image_size = 20, 28
  c.data.center_share = 1.0
  c.data.crop_area = (0.4, 1.0)
  c.data.mean, c.data.std = (0.286,) * 3, (0.353,) * 3
  c.network.name, c.network.width, c.network.stem = 'resnet8', 2.0, 'half'
  c.network.precision = 'float32'
  c.network.projector_hidden_size = c.network.predictor_hidden_size = 1024
  c.network.projection_size = 128
  c.train.batch_size = 64
  c.train.epochs, c.train.warmup_epochs = 24.0, 1.0
  c.train.base_learning_rate = 8.0
  c.train.weight_decay = 1e-6
  for view in (c.augment.view1, c.augment.view2):
    view.saturation = view.hue = view.grayscale = 0.0
  c.log.every_steps = 100
  c.evaluation.every_epochs = 8.0
  c.evaluation.examples = 512  # below 2 % of the run

  c.method.name = method
  if method == 'byol':
    c.train.tau_base = 0.98
  elif method == 'simclr':
    c.method.temperature = 0.2
    c.network.projector_layers = 2
  elif method == 'moco':
    c.method.queue, c.method.symmetric = 4096, True
    c.train.target_init, c.train.tau_base, c.train.tau_end = 'copy', 0.99, 0.99
  elif method == 'simsiam':
    c.network.projector_layers = 2
    c.network.predictor_hidden_size = 256
    c.network.projection_size = 512
    c.train.base_learning_rate = 4.0
    c.train.predictor_schedule = 'constant'
  return c
