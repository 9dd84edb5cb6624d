"""Says how far features that others compute of an exported encoder are from ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from byol_jax.data.images import decode
from byol_jax.training import build
from byol_jax.views import make as views_lib


class Sample(NamedTuple):
  """Images that an export is checked with, and our features of them.

  Attributes:
    whole: the images as decoded, uint8 [H, W, 3] each.
    prepared: their centre crops as evaluations see them, normalized, float32
      [n, 3, S, S], as PyTorch and ONNX have them.
    features: ours, float32 [n, D].
    what: which images they are, for people.
  """
  whole: Sequence[np.ndarray]
  prepared: np.ndarray
  features: np.ndarray
  what: str


def sample(weights: Any, images: Sequence[np.ndarray], what: str) -> Sample:
  """Prepares images, and computes our features of them.

  Args:
    weights: the encoder, a `load.Weights`.
    images: uint8 [H, W, 3] each, at least one.
    what: which images they are, for people.
  """
  spec, share = build.eval_view(weights.config)
  cut = np.empty((len(images), spec.image_size, spec.image_size, 3), np.uint8)
  for image, out in zip(images, cut):
    decode.center(np.ascontiguousarray(image), out, share)
  prepared = np.asarray(views_lib.for_evaluation(cut, spec, 1.0)).transpose(0, 3, 1, 2)
  return Sample(images, prepared, features(weights, prepared), what)


def features(weights: Any, prepared: np.ndarray) -> np.ndarray:
  """Returns our features, in float32 whatever network.precision is.

  Args:
    weights: the encoder, a `load.Weights`.
    prepared: normalized float32 [n, 3, S, S].
  """
  config: ml_collections.ConfigDict = weights.config.copy_and_resolve_references()
  with config.unlocked():
    config.network.precision = 'float32'
  encoder = build.make_model(config, 0, None).encoder
  with jax.default_matmul_precision('highest'):  # a TPU's own is bfloat16
    return np.asarray(jax.jit(encoder.apply, static_argnums=3)(
        weights.params, weights.state, prepared.transpose(0, 2, 3, 1), False)[0])


def difference(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
  """Returns the largest difference of features [n, D] of the same images.

  Returns:
    'relative_l2', |theirs - ours| / |ours|, and 'one_minus_cos', 1 - their cosine, each
    of the image where it is largest.
  """
  a, b = (np.asarray(x, np.float64) for x in (ours, theirs))
  of_a, of_b = (np.maximum(np.linalg.norm(x, axis=1), 1e-30) for x in (a, b))
  return {'relative_l2': float(np.max(np.linalg.norm(b - a, axis=1) / of_a)),
          'one_minus_cos': float(np.max(1 - np.sum(a * b, 1) / (of_a * of_b)))}
