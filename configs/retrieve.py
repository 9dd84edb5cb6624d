"""How good is a search for what looks alike? Recall@K, MAP@R, mAP, MRR and NDCG.

  python -m byol_jax.main --config=configs/retrieve.py --config.weights=runs/fashion

Each image of the test part is a query against all others, and those of its label are
relevant. Queries may be another part (--config.retrieve.queries=query
--config.retrieve.gallery=gallery) or another folder (--config.retrieve.queries_path),
and relevant what a column of a list (--config.retrieve.product) or a file of pairs
(--config.retrieve.pairs) says: docs/retrieval.md. Raw pixels and an untrained encoder
are measured, too; --config.evaluation.baselines=False leaves them out.
"""

from byol_jax.config import base


def get_config():
  c = base()
  c.task = 'retrieve'
  c.data.source = 'same'
  c.evaluation.baselines = True
  return c
