"""CIFAR-10 on one GPU or TPU core: the images live on the device.

  tfds build cifar10
  python -m byol_jax.main --config=configs/cifar10.py
  python -m byol_jax.main --config=configs/cifar10.py \\
      --config.data.source=folder --config.data.path=CIFAR_JPEG_FOLDER

ResNet-18 with the 3x3 stem, batch 256, by default 200 epochs (argument: another
number). The optimizer's settings follow solo-learn's recipe (LARS, trust
coefficient 0.02, 92.6 % linear after 1000 epochs there); without blur, as usual
at 32 pixels. Not run with this code yet.
"""

from byol_jax.config import base


def get_config(epochs='200'):
  c = base()
  c.data.source, c.data.tfds_name = 'tfds', 'cifar10'
  c.data.image_size = 32
  c.data.center_share = 1.0
  c.data.mean, c.data.std = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
  c.network.name, c.network.stem = 'resnet18', 'small'
  c.train.batch_size = 256
  c.train.epochs = float(epochs)
  c.train.base_learning_rate = 1.0
  c.train.trust_coefficient = 0.02
  c.train.weight_decay = 1e-5
  c.train.tau_base = 0.99
  for view in (c.augment.view1, c.augment.view2):
    view.blur = 0.0
  return c
