"""An encoder learns from what people click, buy or put together.

  python -m byol_jax.main --config=configs/finetune_pairs.py --config.weights=RUN \\
      --config.pairs.path=PAIRS

PAIRS is a .csv, .tsv or .parquet of anchor, positive[, weight][, time], or an event
log of session (or user), item, time[, event]; docs/pairs.md says by which rules.
Items are named as images are, or by --config.pairs.items=ITEMS, a table of item and
image. A linear head is learned on the features; the encoder with the head inside is
written as encoder.safetensors, which search, embed, export and programs take as any
other.

Without PAIRS the demonstration: clicks that are made of the labels, 3 of 10 of them
noise. The argument is their number. Two CPU cores, some minutes after the default job:

  python -m byol_jax.main --config=configs/finetune_pairs.py:8000 \\
      --config.weights=runs/fashion --config.evaluation.baselines=True
"""

from byol_jax.config import base


def get_config(made: str = '8000'):
  c = base()
  c.task = 'finetune_pairs'
  c.data.source = 'same'
  try:
    c.pairs.made = int(made)
  except ValueError as error:
    raise ValueError(f'the number of made pairs is {made!r}: give a whole number, as '
                     'in configs/finetune_pairs.py:2000') from error
  return c
