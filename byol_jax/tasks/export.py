"""task=export: writes an encoder for other programs, and says how exact it is there."""

from __future__ import annotations

from collections.abc import Callable
import logging
import os
from typing import Any, NamedTuple

from etils import epath
import jax
import ml_collections
import numpy as np

from byol_jax import __version__
from byol_jax import wording
from byol_jax.data.images import decode
from byol_jax.data.sources import table
from byol_jax.devices import hosts
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.evaluation import figures
from byol_jax.evaluation import place as place_lib
from byol_jax.evaluation import rows as rows_lib
from byol_jax.storage import files as files_lib
from byol_jax.tasks import data as data_lib
from byol_jax.tasks import named as named_lib
from byol_jax.weights import agreement
from byol_jax.weights import card
from byol_jax.weights import find
from byol_jax.weights import load as weights_lib
from byol_jax.weights import onnx
from byol_jax.weights import timm_folder

_console = logging.getLogger('byol_jax')

_IMAGES = 8    # that an export is checked with
_LOOKED_AT = 64  # images, for some that can be read
_SIDE = 1.2    # of a made-up image / that of the encoder's
_MOST = 1e-3   # relative L2 that needs no word; float16 has some 3e-4


class Format(NamedTuple):
  """A way to write encoders.

  Attributes:
    name: the file or folder below the workdir.
    write: (weights, path, options) writes it; refuses before it has written anything.
    check: (weights, path, sample) -> {who computes it: `agreement.difference`, or why
      there is none}.
  """
  name: str
  write: Callable[[weights_lib.Weights, str, ml_collections.ConfigDict], Any]
  check: Callable[[weights_lib.Weights, str, agreement.Sample], dict[str, Any]]


def _check_onnx(weights: weights_lib.Weights, path: str,
                sample: agreement.Sample) -> dict[str, Any]:
  del weights
  try:
    return {'onnxruntime': onnx.check(path, sample)}
  except UserError as error:
    return {'onnxruntime': f'not checked: {error}'}


def _check_ours(weights: weights_lib.Weights, path: str,
                sample: agreement.Sample) -> dict[str, Any]:
  again = weights_lib.load(path, weights.network)
  return {'byol_jax': agreement.difference(
      sample.features, agreement.features(again, sample.prepared))}


# ONNX is an extra: where it is not installed `all` writes nothing
FORMATS = {
    'onnx': Format(
        'encoder.onnx', lambda weights, path, options: onnx.write(
            weights, path, preparation=options.preparation, half=options.half),
        _check_onnx),
    'timm': Format(
        'timm', lambda weights, path, options: timm_folder.write(weights, path),
        timm_folder.check),
    'safetensors': Format(
        f'encoder{find.SUFFIX}',
        lambda weights, path, options: weights_lib.save(weights, path), _check_ours),
}


def run(config: ml_collections.ConfigDict, workdir: str | None, name: str) -> str:
  """Writes the formats of the config and export.json, each below WORKDIR.

  For arguments and errors see `named_lib.load`.

  Returns:
    WORKDIR.
  """
  named = named_lib.load(config, workdir, name)
  with hosts.together('export'):
    if jax.process_index() == 0:
      try:
        _write(named)
      except OSError as error:
        raise UserError(f'cannot write {named.workdir}: {error}') from error
  return named.workdir


def _write(named: named_lib.Named) -> None:
  """Writes and checks each format in turn, then says how exact they are."""
  weights, options = named.weights, named.config.export
  sample = agreement.sample(weights, *_pictures(named))
  checked = {}
  for title, kind in FORMATS.items():
    if options.format not in (title, 'all'):
      continue
    path = os.path.join(named.workdir, kind.name)
    kind.write(weights, path, options)
    checked[title] = kind.check(weights, path, sample)
    if title == 'timm':
      files_lib.write_bytes(os.path.join(path, card.NAME), card.text(
          weights, checked[title], sample.what, _figures(weights),
          options.licence).encode())
    _console.info('%s: %s', title, path)
    for who, found in checked[title].items():
      _tell(who, found)
  files_lib.write_json(os.path.join(named.workdir, 'export.json'), {
      'encoder': weights.describe(), 'files': {x: FORMATS[x].name for x in checked},
      'options': options.to_dict(), 'checked': checked, 'checked_with': sample.what,
      'version': __version__, 'jax': jax.__version__})


def _tell(who: str, found: dict[str, float] | str) -> None:
  """Logs how far one library's features are from ours."""
  if isinstance(found, str):
    log = _console.warning if found.startswith('failed') else _console.info
    log('  %s: %s', who, found)
    return
  is_far = found['relative_l2'] > _MOST and who != timm_folder.TRANSFORM
  (_console.warning if is_far else _console.info)(
      '  %s: relative L2 %.1e, 1 - cosine %.1e%s', who, *found.values(),
      ': this is not the same encoder' if is_far else '')


def _pictures(named: named_lib.Named) -> tuple[list[np.ndarray], str]:
  """Returns images to check an export with, uint8 [H, W, 3], and what they are."""
  config = named.data
  found = []
  if config.data.source != 'same':  # of foreign weights
    try:
      data = data_lib.open_part(config.data, config.data.train_split,
                                seed=config.seed)
      for row in range(min(_LOOKED_AT, data.size) if data else 0):
        if len(found) < _IMAGES and (image := _picture(data, row)) is not None:
          found.append(image)
      if found:
        return found, (f'{wording.count(len(found), "image")} of '
                       f'{os.path.basename(data.name)}')
    except (UserError, TransientError) as error:
      _console.warning('the export is checked with noise, as its images cannot be '
                       'opened: %s', error)
  side = round(_SIDE * named.inference.spec.image_size)
  draw = np.random.default_rng(0).integers
  return [draw(0, 256, (side, side, 3), np.uint8) for _ in range(_IMAGES)], (
      f'{_IMAGES} images of noise')


def _picture(data: table.Data, row: int) -> np.ndarray | None:
  """Returns an image as decoded; None if it cannot be read."""
  if isinstance(data, table.Images):
    image = data.images[row]
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image
  try:
    return decode.decode(data.read(row), how=data.how)
  except decode.BadImage:
    return None


def _figures(weights: weights_lib.Weights) -> list[card.Figure]:
  """Returns what was measured of an encoder, in the workdir that holds it."""
  return [
      card.Figure(row.name or f'{row.task} at the end of the run', row.metric,
                  row.value, row.protocol)
      for row in rows_lib.of_run(epath.Path(place_lib.root(weights)))
      if figures.is_trained(row.encoder) and row.network == weights.network
      and row.step == str(weights.step)
      and row.protocol.get('digest', weights.digest) == weights.digest]
