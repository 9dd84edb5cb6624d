"""The page of a run, of an evaluation or of a study that is there already.

  python -m byol_jax.main --config=configs/report.py --config.weights=RUN

Writes RUN/report.html, or DIR/report.html with --workdir=DIR: one file, to be opened in
any browser or sent. A run writes its own page while it goes on, and at its end.
docs/report.md says what stands on it.
"""

from byol_jax.config import base


def get_config():
  c = base()
  c.task = 'report'
  c.data.source = 'same'
  return c
