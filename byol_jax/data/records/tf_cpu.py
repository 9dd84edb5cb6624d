"""The only import of TensorFlow: late, quiet and off the accelerators."""

from __future__ import annotations

import contextlib
import functools
import os
from typing import Any

from byol_jax.errors import UserError


@functools.cache
def import_tf() -> Any:
  """Imports TensorFlow, and keeps it from taking any accelerator's memory.

  Returns:
    The module `tensorflow`.

  Raises:
    UserError: TensorFlow is not installed or cannot be imported.
  """
  # Before the import: TensorFlow reads them once. Its errors also come as
  # exceptions, so nothing is lost; the oneDNN kernels, whose notice is printed
  # at any log level, are of no use to reading records.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
  with _silent_stderr():
    try:
      import tensorflow as tf
    except ImportError as error:
      raise UserError(
          'this data source needs TensorFlow, which cannot be imported '
          f'({error}): pip install tensorflow, or choose another '
          'config.data.source') from error
    for kind in ('GPU', 'TPU'):
      try:
        tf.config.set_visible_devices([], kind)
      except (RuntimeError, ValueError):
        pass  # somebody else has already started TensorFlow's runtime
  return tf


@contextlib.contextmanager
def _silent_stderr():
  """Drops the output of native code to file descriptor 2.

  TensorFlow's CUDA build reports a missing driver there before its own logging,
  and so its log level, is set up.
  """
  kept = os.dup(2)
  nowhere = os.open(os.devnull, os.O_WRONLY)
  try:
    os.dup2(nowhere, 2)
    yield
  finally:
    os.dup2(kept, 2)
    os.close(kept)
    os.close(nowhere)
