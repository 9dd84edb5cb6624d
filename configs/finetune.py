"""Fine-tuning on few or all labels (paper, appendix C.2 and table 2).

  python -m byol_jax.main --config=configs/finetune.py:0.01 --config.weights=RUN

The argument is the share of the labels, the same of every class. Encoder and
classifier learn from random crops and flips; learning rate and epochs are chosen
from the paper's ten pairs on held-out images of that share, then all of it trains
once more. Batches are the paper's 1024, or for few images the power of two that makes
at least 12 steps an epoch. ImageNet and ResNet-50: expect 53.2 % with 1 % and 68.8 %
with 10 %. With all labels (:1.0) one pair saves nine tenths of the time:

  --config.finetune.learning_rates='(0.1,)' --config.finetune.epochs='(30,)'

--config.evaluation.baselines=True adds the same network trained from scratch.
"""

from byol_jax.config import base


def get_config(labels: str = '0.01'):
  c = base()
  c.task = 'finetune'
  c.data.source = 'same'
  try:
    c.finetune.labels = float(labels)
  except ValueError as error:
    raise ValueError(f'the share of the labels is {labels!r}: give a number from 0 to '
                     '1, as in configs/finetune.py:0.1') from error
  return c
