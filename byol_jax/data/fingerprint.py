"""Whether a data set is the one that a run began with."""

from __future__ import annotations

import hashlib
import zlib

import numpy as np

from byol_jax.data.sources import Encoded
from byol_jax.data.sources import Images


def fingerprint(data: Images | Encoded) -> str:
  """A short digest of the images that a run is shown, and of their labels.

  Of images in memory the pixels count, of files their names and order, of
  records their number: reading all of them would cost more than it tells.

  Args:
    data: the training part.

  Returns:
    16 hexadecimal digits.
  """
  digest = hashlib.sha256()
  if isinstance(data, Images):
    digest.update(repr(data.images.shape).encode())
    digest.update(str(zlib.crc32(np.ascontiguousarray(data.images))).encode())
  elif isinstance(data.names, list):
    for name in data.names:
      digest.update(str(name).encode(errors='surrogateescape') + b'\0')
  else:
    digest.update(str(data.size).encode())
  if isinstance(data.labels, np.ndarray):
    digest.update(np.ascontiguousarray(data.labels, np.int32).tobytes())
  return digest.hexdigest()[:16]
