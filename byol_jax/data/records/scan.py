"""Reads a file here and there, forwards, to find what lies in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib

from byol_jax.storage import paths as paths_lib

_BUCKET_BLOCK = 8 << 20  # bytes that a thread reads from a bucket at a time


@contextlib.contextmanager
def reading(path: str, block: int,
            ) -> Iterator[tuple[Callable[[int, int], bytes], int]]:
  """Yields (start, length) -> bytes of a file, and the file's size in bytes.

  What is read behind the wanted bytes is kept for the next call: reads of a disk are
  short, but those of a bucket take long, however short they are.

  Args:
    path: a file, local or in a bucket.
    block: the fewest bytes that are read of a local file.

  Raises:
    ValueError: the file ends before the wanted bytes do; names the byte.
    OSError: the file cannot be read.
  """
  size, _ = paths_lib.stat(path)
  block = _BUCKET_BLOCK if paths_lib.in_bucket(path) else block
  held, held_from = b'', 0
  with paths_lib.ranges(path) as read_range:
    def read_at(start: int, length: int) -> bytes:
      nonlocal held, held_from
      at = start - held_from
      if at < 0 or at + length > len(held):
        held = read_range(start, min(start + max(length, block), size))
        held_from, at = start, 0
        if len(held) < length:
          raise ValueError(f'{path} is cut short at byte {start}')
      return held[at:at + length]
    yield read_at, size
