"""Cuts a box out of an image and resizes it: bicubic, compiled, without the GIL."""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np

_MARGIN = 2  # the four pixels around a position reach so far beyond the edge


def _compiled(function: Callable) -> Callable:
  """Compiles a function; where the result cannot be kept, for this process alone."""
  try:
    return numba.njit(nogil=True, cache=True)(function)
  except RuntimeError:  # neither the package nor the home can be written to
    return numba.njit(nogil=True)(function)


@_compiled
def _taps(size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns the four neighbours of `size` pixels that make each of `count` new ones.

  Returns:
    The first neighbour, from -2, int64 [count], and the weights of the four,
    float32 [count, 4]: Keys' cubic (a = -0.5). Pixels outside have weight 0, and
    their share goes to the others.
  """
  first = np.empty(count, np.int64)
  weight = np.empty((count, 4), np.float32)
  for i in range(count):
    position = (i + 0.5) * size / count - 0.5
    floor = np.floor(position)
    t = position - floor
    k = int(floor) - 1
    w0 = 0.5 * t * (2.0 * t - t * t - 1.0) if k >= 0 else 0.0
    w1 = 0.5 * (2.0 + t * t * (3.0 * t - 5.0)) if k >= -1 else 0.0
    w2 = 0.5 * t * (1.0 + t * (4.0 - 3.0 * t)) if k + 2 < size else 0.0
    w3 = 0.5 * t * t * (t - 1.0) if k + 3 < size else 0.0
    total = w0 + w1 + w2 + w3
    first[i] = k
    weight[i, 0], weight[i, 1] = w0 / total, w1 / total
    weight[i, 2], weight[i, 3] = w2 / total, w3 / total
  return first, weight


@_compiled
def _cut(image: np.ndarray, top: int, left: int, height: int, width: int,
         out: np.ndarray) -> None:
  """Does `cut` on rows of interleaved pixels: image [H, W * 3], out [S, S * 3]."""
  size = out.shape[0]
  row_first, row_weight = _taps(height, size)
  first, weight = _taps(width, size)
  # Unsigned, or each access is checked for an index from the end.
  start = (3 * (first + _MARGIN)).astype(np.uint64)
  one, next_pixel = np.uint64(1), np.uint64(3)
  third, fourth = np.uint64(6), np.uint64(9)
  row = np.zeros(3 * (width + 2 * _MARGIN), np.float32)
  line = np.empty(3 * size, np.float32)
  inner = row[3 * _MARGIN:3 * (_MARGIN + width)]
  for i in range(size):
    k, last = row_first[i], height - 1
    r0 = image[top + min(max(k, 0), last), 3 * left:3 * (left + width)]
    r1 = image[top + min(max(k + 1, 0), last), 3 * left:3 * (left + width)]
    r2 = image[top + min(max(k + 2, 0), last), 3 * left:3 * (left + width)]
    r3 = image[top + min(max(k + 3, 0), last), 3 * left:3 * (left + width)]
    a0, a1 = row_weight[i, 0], row_weight[i, 1]
    a2, a3 = row_weight[i, 2], row_weight[i, 3]
    for x in range(3 * width):
      inner[x] = (a0 * np.float32(r0[x]) + a1 * np.float32(r1[x])
                  + a2 * np.float32(r2[x]) + a3 * np.float32(r3[x]))
    q = np.uint64(0)
    for j in range(np.uint64(size)):
      b0, b1, b2, b3 = weight[j, 0], weight[j, 1], weight[j, 2], weight[j, 3]
      for c in range(np.uint64(3)):
        p = start[j] + c
        line[q] = (b0 * row[p] + b1 * row[p + next_pixel]
                   + b2 * row[p + third] + b3 * row[p + fourth])
        q += one
    target = out[i]
    for x in range(3 * size):
      value = line[x] + np.float32(0.5)
      target[x] = np.uint8(min(max(value, np.float32(0.0)), np.float32(255.0)))


def cut(image: np.ndarray, box: tuple[int, int, int, int],
        out: np.ndarray) -> None:
  """Resizes `image[top:top + h, left:left + w]` into `out`.

  The result is that of `tf.image.resize(..., 'bicubic', antialias=False)` of the box
  (half-pixel centres, Keys' kernel, no neighbours from outside of the box), up to
  rounding, at a fraction of the time: rows first, then columns. The arithmetic
  is float32 in a fixed order, so the result is the same on every machine.

  Args:
    image: uint8 [H, W, 3], contiguous.
    box: (top, left, h, w), inside the image.
    out: uint8 [S, S, 3], contiguous; written.
  """
  height, width, _ = image.shape
  size = out.shape[0]
  _cut(image.reshape(height, width * 3), *box, out.reshape(size, size * 3))
