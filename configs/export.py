"""The encoder of a run as one file, with its config.

  python -m byol_jax.main --config=configs/export.py --config.weights=RUN \\
      --workdir=OUT

Writes OUT/encoder.safetensors, which other tasks take as --config.weights. Without
--workdir it lies in RUN/evaluations/export-STEP.
"""

from byol_jax.config import base


def get_config():
  c = base()
  c.task = 'export'
  c.data.source = 'same'
  return c
