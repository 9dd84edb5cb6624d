"""task=export: writes an encoder as one file."""

from __future__ import annotations

import logging
import os

import jax
import ml_collections

from byol_jax.devices import hosts
from byol_jax.tasks import subject
from byol_jax.weights import find
from byol_jax.weights import load as weights_lib

_console = logging.getLogger('byol_jax')


def run(config: ml_collections.ConfigDict, workdir: str | None, name: str) -> str:
  """Writes WORKDIR/encoder.safetensors; for arguments and errors see `subject.load`.

  Returns:
    WORKDIR.
  """
  named = subject.load(config, workdir, name)
  path = os.path.join(named.workdir, f'encoder{find.SUFFIX}')
  with hosts.together('export'):
    if jax.process_index() == 0:
      weights_lib.save(named.weights, path)
  _console.info('encoder: %s', path)
  return named.workdir
