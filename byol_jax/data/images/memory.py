"""Gives large arrays back to the system once they are freed.

glibc takes what is freed once as a sign that such sizes come again, and from then on
cuts them out of its heaps (mallopt(3), M_MMAP_THRESHOLD): batches of 20 MB between
images of 0.3 MB, from several threads, leave holes. An input from records grew from
550 to 920 MiB in a minute that way, and stays at 330 with fixed thresholds, at the
same speed.
"""

from __future__ import annotations

import ctypes
import functools
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # from malloc.h
_BATCH = 4 << 20   # larger blocks come from the system; images are smaller
_KEPT = 64 << 20   # bytes a heap keeps: giving back after each image takes time


@functools.cache  # once a process
def give_back() -> None:
  """Fixes the thresholds where the C library has them."""
  if not sys.platform.startswith('linux'):
    return
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)  # musl has none
  if mallopt is not None:
    mallopt(_M_MMAP_THRESHOLD, _BATCH)
    mallopt(_M_TRIM_THRESHOLD, _KEPT)
