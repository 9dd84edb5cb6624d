"""A table over several runs and their evaluations.

  python -m byol_jax.main --config=configs/compare.py \\
      --config.compare.workdirs=runs/a,runs/b

Runs that differ in their seed only get a row with mean and deviation; what else is
not alike between figures of one column is said below the table. With --workdir=DIR it
also writes DIR/report.html: the table, and the curves of the runs side by side.
"""

from byol_jax.config import base


def get_config():
  c = base()
  c.task = 'compare'
  return c
