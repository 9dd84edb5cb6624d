"""The paper's transfer protocol (appendix D.2): logistic regression on features.

  python -m byol_jax.main --config=configs/logistic.py --config.weights=RUN \\
      --config.data.source=tfds --config.data.tfds_name=food101

L-BFGS for 45 values of the l2 penalty from 1e-6 to 1e5, chosen on held-out training
images; images resized to the encoder's size by their shorter side, without
augmentation. The objective is mean cross-entropy + l2 / 2 ||W||^2: scikit-learn's
with C = 1 / (l2 N). Minutes on two cores, beside the encoding.
"""

from byol_jax.config import base


def get_config():
  c = base()
  c.task = 'logistic'
  c.data.source = 'same'
  c.evaluation.center_share = 1.0
  return c
