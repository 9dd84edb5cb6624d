"""Bad images that one process has met, known to all."""

from __future__ import annotations

import jax

from byol_jax.data.sources.table import Encoded
from byol_jax.data.sources.table import Images
from byol_jax.devices import hosts


def share_bad(data: Images | Encoded) -> None:
  """Lets all processes know which images any of them has found bad."""
  if data.bad is not None and jax.process_count() > 1:
    for reasons in hosts.gather_json(data.bad.reasons()):
      data.bad.learn(reasons)
