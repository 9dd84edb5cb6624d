"""An encoder that is measured, or a baseline, with its features."""

from __future__ import annotations

from collections.abc import Iterator
import hashlib
from typing import Any, NamedTuple

import jax
import numpy as np

from byol_jax.data.sources import table
from byol_jax.devices import mapped
from byol_jax.errors import UserError
from byol_jax.evaluation import encode
from byol_jax.evaluation import features as features_lib
from byol_jax.evaluation import figures
from byol_jax.evaluation import final
from byol_jax.training import build
from byol_jax.weights import load as weights_lib
from byol_jax.weights import onnx


def make_inference(weights: weights_lib.Weights, *, image_size: int,
                   center_share: float, batch_size: int, threads: int = 0,
                   crop_area: tuple[float, float] | None = None,
                   runtime: str = 'jax') -> encode.Inference:
  """Builds an `Inference` for some weights; see `build.eval_view`.

  `crop_area` is that of evaluations on random crops; None: the run's. With the runtime
  'onnx' onnxruntime computes the features, of these weights alone.
  """
  if runtime not in ('jax', 'onnx'):
    raise UserError(f"the runtime is {runtime!r}: name 'jax' or 'onnx'")
  spec, share = build.eval_view(weights.config, image_size, center_share)
  if crop_area:
    spec = spec._replace(area=tuple(crop_area))
  other = None
  if runtime == 'onnx':
    other = encode.Runtime(onnx.features(weights), 'float32, onnxruntime')
  return encode.Inference(
      build.make_model(weights.config, 0, None), spec, center_share=share,
      batch_size=batch_size, threads=threads, runtime=other)


class Subject(NamedTuple):
  """One of the encoders that are measured beside one another.

  Attributes:
    kind: one of `figures.kinds`.
    inference: prepares images and runs networks over them.
    networks: (params, state) on the devices; None for raw pixels.
    key: identifies its features.
    store: keeps its features.
  """
  kind: str
  inference: encode.Inference
  networks: Any
  key: dict[str, Any]
  store: features_lib.Store

  def features(self, data: table.Data, rows: np.ndarray, *, is_test: bool,
               title: str = '') -> features_lib.Features:
    """Returns the features of the images `rows`, int [n], computed once.

    For the title '' the progress line shows kind, number and part.
    """
    if self.kind == figures.RAW_PIXELS:
      return self.inference.pixels(
          data, rows, min(self.inference.spec.image_size, final.RAW_PIXELS_SIZE))
    title = title or (f'{self.kind.replace("_", " ")}, features of {len(rows)} '
                      f'{"test" if is_test else "training"} images')
    return features_lib.joined(list(self.parts(data, rows, is_test, title)))

  def parts(self, data: table.Data, rows: np.ndarray, is_test: bool,
            title: str) -> Iterator[features_lib.Features]:
    """Yields the features of networks part by part, as `Store.parts` does."""
    return self.store.parts(
        lambda data, rows: self.inference(self.networks, data, rows),
        self.key | {'is_test': is_test}, data, rows, title)


def make(kind: str, weights: weights_lib.Weights, inference: encode.Inference,
         store: features_lib.Store, data: table.Data, rows: np.ndarray) -> Subject:
  """Makes the trained encoder, or one of its baselines, ready to be measured.

  The first of the training images `rows`, int [n], give an untrained encoder its
  statistics.
  """
  digest, networks = weights.digest, None
  if figures.is_trained(kind):
    networks = mapped.replicate((weights.params, weights.state))
  elif kind == figures.UNTRAINED:
    rows = np.ascontiguousarray(rows[:final.CALIBRATION_IMAGES], np.int64)
    digest = (f'untrained {weights.config.seed} {digest} '
              f'{hashlib.sha256(rows.tobytes()).hexdigest()[:16]}')
    before = weights_lib.untrained(weights)
    networks = mapped.replicate(jax.tree.map(np.asarray, inference.calibrate(
        (before.params, before.state), data, rows)))
  key = {'encoder': digest} | preparation(weights, inference)
  return Subject(kind, inference, networks, key, store)


def preparation(weights: weights_lib.Weights,
                inference: encode.Inference) -> dict[str, Any]:
  """Returns how images are prepared, for protocols and for the keys of features."""
  spec = inference.spec
  return {'image_size': spec.image_size, 'center_share': inference.center_share,
          'mean': list(spec.mean), 'std': list(spec.std),
          'precision': inference.runtime.precision if inference.runtime else (
              weights.config.network.precision)}
