"""Encoded bytes to uint8 pixels, in TensorFlow: two training views or one centre.

Every function works eagerly and inside `tf.data`. What comes out is uint8 RGB:
gray images are repeated, transparency is dropped without blending (as PIL's
`convert('RGB')` does), 16 bits become the upper 8, CMYK JPEGs are converted, of
an animated GIF the first frame counts, and an EXIF orientation is ignored.
JPEGs are decoded with the accurate DCT, which gives the same pixels as PIL.
"""

from __future__ import annotations

import types
from typing import Any

from byol_jax.data import crops
from byol_jax.data.tf_cpu import import_tf

Tensor = Any  # tf.Tensor; TensorFlow is imported only when a function runs


def decode_two_views(
    data: Tensor,
    u: Tensor,
    image_size: int,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
  """Decodes two random resized crops of one image.

  The image is decoded once and cut twice. The reference decodes each crop for
  itself (`decode_and_crop_jpeg`), which costs about 20 % more processor time on
  ImageNet's JPEGs.

  Args:
    data: string scalar, a JPEG, PNG, GIF, BMP or WebP file that passed
      `formats.problem`.
    u: float64 [2, 4], the draws of each view: `crops.crop_box`.
    image_size: S, the side of the views.
    area: range of the crop's share of the image's area.
    aspect: range of width / height.

  Returns:
    uint8 [2, S, S, 3]. Bicubic without antialiasing, rounded and clipped.
  """
  tf = import_tf()
  image = decode_image(data)
  shape = tf.shape(image)
  boxes = tf.stack(
      crops.crop_box(u, shape[0], shape[1], area, aspect, xp=_tf_as_numpy()),
      axis=-1)
  return tf.stack([_cut(image, boxes[view], image_size) for view in (0, 1)])


def decode_eval(data: Tensor, image_size: int,
                center_share: float = 0.875) -> Tensor:
  """Decodes the central square of one image, for evaluation.

  Args:
    data: string scalar, as for `decode_two_views`.
    image_size: S, the side of the result.
    center_share: the square's share of the shorter side.

  Returns:
    uint8 [S, S, 3]: `crops.center_box`, bicubic, rounded and clipped.
  """
  image = decode_image(data)
  shape = import_tf().shape(image)
  box = crops.center_box(shape[0], shape[1], center_share,
                         xp=_tf_as_numpy())
  return _cut(image, box, image_size)


def decode_image(data: Tensor) -> Tensor:
  """Decodes a whole image in its own size: uint8 [height, width, 3]."""
  tf = import_tf()
  image = tf.cond(
      tf.io.is_jpeg(data),
      lambda: tf.io.decode_jpeg(
          data, channels=3, dct_method='INTEGER_ACCURATE'),
      lambda: _decode_other(data))
  image.set_shape([None, None, 3])
  return image


def _decode_other(data: Tensor) -> Tensor:
  """Decodes what is not a JPEG to uint8 [height, width, 3]."""
  tf = import_tf()
  # channels=0, as they are: the BMP decoder refuses to add or drop channels.
  image = tf.io.decode_image(data, channels=0, expand_animations=False)
  image.set_shape([None, None, None])
  is_gray = tf.shape(image)[2] < 3  # with or without alpha
  return tf.gather(image, tf.where(is_gray, [0, 0, 0], [0, 1, 2]), axis=2)


def _cut(image: Tensor, box: Any, image_size: int) -> Tensor:
  """Cuts the box (top, left, h, w) and resizes it to uint8 [S, S, 3]."""
  tf = import_tf()
  top, left, h, w = box[0], box[1], box[2], box[3]
  image = tf.image.resize(
      image[top:top + h, left:left + w], [image_size, image_size], 'bicubic',
      antialias=False)
  return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)


def _tf_as_numpy() -> types.SimpleNamespace:
  """What `crops` needs of an array namespace, in TensorFlow.

  Not `tf.experimental.numpy`: half of its functions fail unless its behaviour
  is switched on for the whole process.
  """
  tf = import_tf()
  return types.SimpleNamespace(
      asarray=tf.cast, exp=tf.exp, sqrt=tf.sqrt, round=tf.round, floor=tf.floor,
      minimum=tf.minimum, maximum=tf.maximum, int32=tf.int32,
      float32=tf.float32)
