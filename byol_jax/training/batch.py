"""Names and shapes of the arrays that travel to the devices, and that live there.

A batch has leaves [devices, N, n, ...]: N sub-batches of n examples. Streamed images
travel as the host's crops, resident ones as indices into the data set.
"""

from __future__ import annotations

import jax
import numpy as np

Shapes = dict[str, jax.ShapeDtypeStruct]


def streamed(grid: tuple[int, ...], num_views: int, image_size: int,
             labelled: bool, jigsaw_size: int = 0) -> Shapes:
  """Describes a batch of `data.feed.streamed.Streamed`.

  Args:
    grid: (devices, N, n).
    num_views: V.
    image_size: S, of a view in pixels.
    labelled: whether there are labels.
    jigsaw_size: of one more crop, for a jigsaw, in pixels; 0: there is none.

  Returns:
    'views' uint8 [*grid, V, S, S, 3]; 'examples' int32 [*grid], global example
    indices; 'labels' int32 [*grid]; 'jigsaw' uint8 [*grid, size, size, 3].
  """
  shapes = {
      'views': jax.ShapeDtypeStruct(
          (*grid, num_views, image_size, image_size, 3), np.uint8),
      'examples': jax.ShapeDtypeStruct(grid, np.int32)}
  if jigsaw_size:
    shapes['jigsaw'] = jax.ShapeDtypeStruct(
        (*grid, jigsaw_size, jigsaw_size, 3), np.uint8)
  return shapes | ({'labels': shapes['examples']} if labelled else {})


def resident(grid: tuple[int, ...]) -> Shapes:
  """Describes a batch of `data.feed.resident.Resident`.

  Returns:
    'rows' and 'examples', int32 [*grid]: which images, and their global example
    indices.
  """
  return dict.fromkeys(('rows', 'examples'), jax.ShapeDtypeStruct(grid, np.int32))


def shared(images: tuple[int, ...] | None, labelled: bool) -> Shapes:
  """Describes the arrays that live on the devices.

  Args:
    images: [N, H, W, C] of a resident data set; None where images travel.
    labelled: whether there are labels.

  Returns:
    'key' uint32 [2], the run's; of a resident data set 'images' uint8 and 'labels'
    int32 [N].
  """
  shapes = {'key': jax.ShapeDtypeStruct((2,), np.uint32)}
  if images is not None:
    shapes['images'] = jax.ShapeDtypeStruct(images, np.uint8)
    if labelled:
      shapes['labels'] = jax.ShapeDtypeStruct(images[:1], np.int32)
  return shapes
