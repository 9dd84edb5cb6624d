"""A barrier at which all processes meet."""

from __future__ import annotations

import orbax.checkpoint as ocp


def wait_for_all(name: str, seconds: int) -> None:
  """Waits until every process has called this; no device takes part.

  Only orbax has a public way to the barriers of jax's coordination service.

  Args:
    name: the same on all processes, and another at each call.
    seconds: how long to wait.

  Raises:
    jax.errors.JaxRuntimeError: a process has died, or does not come.
  """
  ocp.multihost.get_barrier_sync_fn()(key=name, timeout_ms=seconds * 1000)
