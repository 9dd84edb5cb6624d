"""The project's only way to TensorFlow: late, quiet and off the accelerators."""

from __future__ import annotations

import functools
import os
from typing import Any

from byol_jax.errors import UserError


@functools.cache
def import_tf() -> Any:
  """Imports TensorFlow, keeps it from taking any accelerator's memory.

  Returns:
    The module `tensorflow`.

  Raises:
    UserError: TensorFlow is not installed or cannot be imported.
  """
  # Before the import: TensorFlow reads them once. Its errors also come as
  # exceptions, so nothing is lost; the oneDNN kernels, whose notice is printed
  # at any log level, are of no use to decoding and resizing.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
  try:
    import tensorflow as tf  # pylint: disable=g-import-not-at-top
  except ImportError as error:
    raise UserError(
        f'this data source needs TensorFlow, which cannot be imported ({error}): '
        'pip install tensorflow, or choose another config.data.source') from error
  for kind in ('GPU', 'TPU'):
    try:
      tf.config.set_visible_devices([], kind)
    except (RuntimeError, ValueError):
      pass  # somebody else has already started TensorFlow's runtime
  return tf
