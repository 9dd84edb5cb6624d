"""Shares the bad images that one process has met with all processes."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np

from byol_jax.data.bad import BadImages
from byol_jax.data.sources.table import Data
from byol_jax.devices import hosts


def share_bad(data: Data) -> None:
  """Shares the bad images that any process has met with all processes."""
  if data.bad is not None and jax.process_count() > 1:
    for reasons in hosts.gather_json(data.bad.reasons()):
      data.bad.learn(reasons)


def sharing(bad: BadImages | None) -> Callable[[], None] | None:
  """Makes the function that shares the bad images met since its last call.

  Args:
    bad: the training part's; None if it can have none.

  Returns:
    A function that every process must call at the same steps. It raises UserError on
    all of them if there are too many. None for one process, which raises by itself.
  """
  if bad is None or jax.process_count() == 1:
    return None
  bad.together = True
  reported = 0

  def share() -> None:
    nonlocal reported
    count = len(bad)  # images met from here on are for the next call
    if hosts.gather(np.array([count > reported])).any():
      for reasons in hosts.gather_json(bad.reasons()):
        bad.learn(reasons)
    reported = count
  return share
