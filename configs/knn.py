"""How good is an encoder? k nearest neighbours vote; nothing is learned.

  python -m byol_jax.main --config=configs/knn.py --config.weights=runs/fashion

Weights: a workdir (its newest checkpoint), WORKDIR/checkpoints/STEP, a file of
configs/export.py, or an encoder of others (docs/weights.md). Exact search by cosine,
20 neighbours with weight exp(cosine / 0.07), as in Wu et al. and DINO;
--config.evaluation.knn_k=200 for theirs on ImageNet. Images are those of the
pretraining, unless others are named (--config.data.source=folder
--config.data.path=PHOTOS).
--config.evaluation.baselines=True adds an untrained encoder and raw pixels.
"""

from byol_jax.config import base


def get_config():
  c = base()
  c.task = 'knn'
  c.data.source = 'same'
  return c
