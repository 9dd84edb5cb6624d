"""What is evaluated: an encoder or its baseline, and the features that it makes."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import jax
import numpy as np

from byol_jax.data.sources import table
from byol_jax.devices import mapped
from byol_jax.evaluation import encode
from byol_jax.evaluation import features as features_lib
from byol_jax.evaluation import figures
from byol_jax.evaluation import final
from byol_jax.training import build
from byol_jax.weights import load as weights_lib


def make_encoder(weights: weights_lib.Weights, *, image_size: int, center_share: float,
                 batch_size: int, threads: int = 0) -> encode.Encoder:
  """Builds what runs an encoder over images, prepared as its run says.

  Args:
    weights: the encoder.
    image_size: pixels; 0: as its run says.
    center_share: the centre crop's share of the shorter side; 0: likewise.
    batch_size: images that a device takes in one call.
    threads: that decode; 0 for one a core.
  """
  spec, share = build.eval_view(weights.config, image_size, center_share)
  return encode.Encoder(build.make_model(weights.config, 0, None), spec,
                        center_share=share, batch_size=batch_size, threads=threads)


class Subject(NamedTuple):
  """One of the encoders that are measured beside one another.

  Attributes:
    kind: one of `figures.KINDS`.
    encoder: prepares images and runs networks over them.
    networks: (params, state) on the devices; None for raw pixels.
    key: tells its features from those of all others.
    store: keeps them.
  """
  kind: str
  encoder: encode.Encoder
  networks: Any
  key: dict[str, Any]
  store: features_lib.Store

  def features(self, data: table.Data, rows: np.ndarray, *, is_test: bool,
               title: str = '') -> features_lib.Features:
    """Returns the features of some images, computed once.

    Args:
      data: where the images are.
      rows: int [n], which ones.
      is_test: whether they are for the test.
      title: of the progress line; '' says kind, number and part.
    """
    if self.kind == figures.RAW_PIXELS:
      return self.encoder.pixels(
          data, rows, min(self.encoder.spec.image_size, final.RAW_PIXELS_SIZE))
    title = title or (f'{self.kind.replace("_", " ")}, features of {len(rows)} '
                      f'{"test" if is_test else "training"} images')
    return self.store(
        lambda data, rows: self.encoder(self.networks, data, rows),
        self.key | {'is_test': is_test}, data, rows, title)


class Subjects:
  """Makes the subjects of one encoder."""

  def __init__(self, weights: weights_lib.Weights, encoder: encode.Encoder,
               store: features_lib.Store):
    """Takes the trained encoder, what runs it, and where features are kept."""
    self._weights, self._encoder, self._store = weights, encoder, store
    self._made: dict[tuple[str, str], Subject] = {}

  def __call__(self, kind: str, data: table.Data, rows: np.ndarray) -> Subject:
    """Returns the subject of one kind.

    Args:
      kind: one of `figures.KINDS`.
      data: training images.
      rows: int [n], which ones: the first of them give an untrained encoder its
        statistics.
    """
    calibrating = rows[:final.CALIBRATION_IMAGES] if kind == figures.UNTRAINED else (
        rows[:0])
    which = hashlib.sha256(
        np.ascontiguousarray(calibrating, np.int64).tobytes()).hexdigest()[:16]
    if (kind, which) not in self._made:
      weights, encoder, digest, networks = (
          self._weights, self._encoder, self._weights.digest, None)
      if kind == figures.TRAINED:
        networks = mapped.replicate((weights.params, weights.state))
      elif kind == figures.UNTRAINED:
        digest = f'untrained {weights.config.seed} {digest} {which}'
        before = weights_lib.untrained(weights)
        networks = mapped.replicate(jax.tree.map(np.asarray, encoder.calibrate(
            (before.params, before.state), data, calibrating)))
      self._made[kind, which] = Subject(
          kind, encoder, networks, {'encoder': digest} | preparation(weights, encoder),
          self._store)
    return self._made[kind, which]


def preparation(weights: weights_lib.Weights,
                encoder: encode.Encoder) -> dict[str, Any]:
  """Says how images reach the encoder, for protocols and for what is kept."""
  spec = encoder.spec
  return {'image_size': spec.image_size, 'center_share': encoder.center_share,
          'mean': list(spec.mean), 'std': list(spec.std),
          'precision': weights.config.network.precision}
