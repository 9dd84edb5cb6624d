"""The paper's linear evaluation (appendix C.1) of a frozen encoder.

  python -m byol_jax.main --config=configs/linear_eval.py \\
      --config.weights=runs/fashion

SGD with Nesterov momentum, 80 epochs, five learning rates in one pass; the best one
on held-out training images trains once more on all of them. From 100,000 images on
with random crops and flips, as the paper; fewer on features of centred images, which
are computed once. The arguments `crops` and `cached` (configs/linear_eval.py:crops)
choose themselves. ImageNet and ResNet-50: expect 74.3 % (paper, table 1).
"""

from byol_jax.config import base


def get_config(features: str = 'auto'):
  c = base()
  c.task = 'linear_eval'
  c.data.source = 'same'
  c.linear_eval.features = features
  return c
