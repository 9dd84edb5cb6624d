"""CIFAR-10 on one GPU or TPU core: the images live on the device.

  tfds build cifar10
  python -m byol_jax.main --config=configs/cifar10.py
  python -m byol_jax.main --config=configs/cifar10.py:simclr-1000
  python -m byol_jax.main --config=configs/cifar10.py \\
      --config.data.source=folder --config.data.path=CIFAR_JPEG_FOLDER

ResNet-18 with the 3x3 stem. Argument: the method, byol (default), simclr, moco or
simsiam, and the number of epochs, 200 by default; without blur, as usual at 32 pixels.
Published, for other numbers of epochs than the default's; hours are not:

  method    settings of                                    accuracy
  byol      solo-learn (LARS, trust coefficient 0.02)      92.6 linear, 1000 epochs
  simclr    the authors' code, batch 512, temperature 0.5  about 91 linear, 1000 epochs
  moco      the authors' notebook, symmetric               85.3 88.5 89.7 k-NN on the
                                                           128-d output, 200 400 800
  simsiam   the paper, appendix D                          91.8 linear, 800 epochs

Sources: solo-learn's README, CIFAR-10; google-research/simclr, README and issue 22;
facebookresearch/moco, the notebook of its README; Chen and He 2020 (arXiv:2011.10566).

solo-learn clips the factor of its LARS: --config.train.trust_clip=True makes byol's the
same. None of these was run with this code yet.
"""

from byol_jax.config import augmentations
from byol_jax.config import base
from byol_jax.config import epochs

_MEAN, _STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
_NOTEBOOK_STD = (0.2023, 0.1994, 0.2010)  # the mean of each image's


def get_config(argument='byol'):
  method, _, number = argument.partition('-')
  if method.replace('.', '', 1).isdigit():
    method, number = 'byol', method
  c = base()
  c.data.source, c.data.tfds_name = 'tfds', 'cifar10'
  c.data.image_size = 32
  c.data.center_share = 1.0
  c.network.name, c.network.stem = 'resnet18', 'small'
  c.train.epochs = epochs(number or '200')
  c.method.name = method
  if method == 'byol':
    c.data.mean, c.data.std = _MEAN, _STD
    c.train.batch_size = 256
    c.train.base_learning_rate, c.train.trust_coefficient = 1.0, 0.02
    c.train.weight_decay = 1e-5
    c.train.tau_base = 0.99
  elif method == 'simclr':
    augmentations.apply(c, 'simclr_cifar10')
    c.method.temperature = 0.5
    c.network.projector_hidden_size, c.network.projection_size = 512, 128
    c.network.last_gamma = 0.0
    c.train.batch_size = 512
    c.train.base_learning_rate, c.train.weight_decay = 1.0, 1e-4
    c.train.rate_in_momentum = True
  elif method == 'moco':
    augmentations.apply(c, 'moco_v2')
    c.data.crop_area = (0.08, 1.0)
    c.data.mean, c.data.std = _MEAN, _NOTEBOOK_STD
    c.method.temperature, c.method.queue, c.method.symmetric = 0.1, 4096, True
    c.network.projector_layers, c.network.projection_size = 1, 128
    c.network.bn_groups = 8
    c.train.batch_size, c.train.warmup_epochs = 512, 0.0
    c.train.base_learning_rate, c.train.weight_decay = 0.03, 5e-4
    c.train.target_init, c.train.tau_base, c.train.tau_end = 'copy', 0.99, 0.99
  elif method == 'simsiam':
    augmentations.apply(c, 'simsiam')
    c.data.mean, c.data.std = _MEAN, _STD
    c.network.projector_layers = 2
    c.network.projector_hidden_size = c.network.projection_size = 2048
    c.network.predictor_hidden_size = 512
    c.network.last_gamma = 0.0
    c.train.batch_size, c.train.warmup_epochs = 512, 0.0
    c.train.base_learning_rate, c.train.weight_decay = 0.03, 5e-4
    c.train.predictor_schedule = 'constant'
  if method in ('moco', 'simsiam'):
    c.train.optimizer, c.train.decay_all, c.train.rate_per = 'sgd', True, 'epoch'
  for view in (c.augment.view1, c.augment.view2):
    view.blur = 0.0
  return c
