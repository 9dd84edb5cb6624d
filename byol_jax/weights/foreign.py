"""Reads encoders that other libraries wrote: safetensors files, and timm's folders.

A folder of timm or Hugging Face has `config.json` beside `model.safetensors`. It says
how images are prepared, too.
"""

from __future__ import annotations

from collections.abc import Mapping
import hashlib
import json
import logging
import re
from typing import Any, NamedTuple

from etils import epath
import numpy as np
import safetensors
import safetensors.numpy

from byol_jax import errors
from byol_jax import wording
from byol_jax.storage import files as files_lib
from byol_jax.weights import find
from byol_jax.weights import torch as torch_lib
from byol_jax.weights.torch import Unfit

_console = logging.getLogger('byol_jax')

OURS = 'byol_jax'  # the key of our own metadata beside torch's names
_MOST_HEADER = 16 << 20  # bytes
_MOST_CONFIG = 1 << 20
_MOST_NAME = 300  # characters
_MOST_NAMED = 4
# a network with more in its constructor has the same names, but computes otherwise
_ARCHITECTURES = re.compile('(tv_)?resnet(18|34|50|101|152|200)|resnetv2_(50|101|152)')
_ARGUMENTS = {  # and their values; None: shapes tell
    'preact': (False,), 'width_factor': None, 'layers': None, 'in_chans': (3,),
    'num_classes': None, 'global_pool': ('avg',)}
_TRANSFORMERS = {'hidden_act': 'relu', 'downsample_in_first_stage': False,
                 'downsample_in_bottleneck': False, 'num_channels': 3}


class Recognized(NamedTuple):
  """An encoder by torchvision's names, and what is known of it.

  Attributes:
    config: flat keys of a config, as far as they are known.
    arrays: float32, but for the numbers of batches.
    network: 'online' or 'target'.
    step: training steps done; 0 where nobody says it.
  """
  config: dict[str, Any]
  arrays: dict[str, np.ndarray]
  network: str
  step: int


def config_of(path: str) -> dict[str, Any]:
  """Returns the flat keys of a config that say that no run of ours made an encoder."""
  return {'task': 'export', 'weights': path, 'data.source': 'same',
          'network.precision': 'auto'}


def parse(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Returns the arrays and the metadata of a safetensors file.

  Raises:
    ValueError: the bytes are damaged, or of another format.
  """
  try:
    if len(data) < 9:
      raise ValueError('it is empty')
    if data.startswith(b'version https://git-lfs'):
      raise ValueError('it is a pointer to the file: git lfs pull fetches it')
    size = int.from_bytes(data[:8], 'little')
    if size > _MOST_HEADER:
      raise ValueError('its header is too large')
    header = json.loads(data[8:8 + size])
    kinds = {name: entry['dtype'] for name, entry in header.items()
             if name != '__metadata__'}
    for name, kind in kinds.items():
      if len(name) > _MOST_NAME or not name.isprintable():
        raise ValueError('a name in it is none of an array')
      if kind != 'F32' and kind.startswith(('F', 'BF')):
        raise ValueError(f'{name} is {kind}: convert the arrays to float32')
    metadata = header.get('__metadata__', {})
    return safetensors.numpy.load(data), {
        str(key): value for key, value in metadata.items()}
  except ValueError:
    raise
  except (KeyError, TypeError, AttributeError, RecursionError,
          safetensors.SafetensorError) as error:
    raise ValueError(errors.one_line(error)) from error


def read(path: str, arrays: Mapping[str, np.ndarray],
         metadata: Mapping[str, str]) -> Recognized:
  """Finds an encoder in a file that `parse` has read.

  Args:
    path: of the file; a config.json beside it is read, too.
    arrays, metadata: what the file holds.

  Raises:
    Unfit: there is no encoder that byol_jax has.
  """
  if OURS in metadata:
    return _ours(arrays, metadata[OURS])
  found = _beside(path)
  encoder, names, left = torch_lib.recognized(arrays)
  try:
    _check_architecture(found.get('config.json', {}))
    prepared = _preparation(found)
  except (AttributeError, TypeError, LookupError) as error:
    raise Unfit('lies beside a config.json or preprocessor_config.json that is none '
                f'of timm or transformers ({errors.one_line(error)})') from error
  wrong = [name for name, array in encoder.items() if array.dtype != np.float32
           and not name.endswith('num_batches_tracked')]
  if wrong:
    raise Unfit(f'has {wrong[0]} as {encoder[wrong[0]].dtype}: convert the arrays '
                'to float32')
  network = torch_lib.network_of(encoder)
  _console.info(
      '%s: a %s by the names of %s%s; left: %s', path, network['name'], names,
      ', its first convolution taken for stride 1 without pooling (stem small)'
      if network['stem'] == 'small' else '',
      wording.some(left, _MOST_NAMED) or 'nothing')
  if not prepared:
    _console.warning('%s: no config.json beside it says how images are prepared: '
                     "taking ImageNet's mean and deviation, and a centre crop of "
                     '0.875', path)
  config = {f'network.{key}': value for key, value in network.items()} | prepared
  return Recognized(config, encoder, 'online', 0)


def folder_file(path: str) -> str:
  """Returns the file of a folder's arrays; raises Unfit without one."""
  folder = epath.Path(path)
  if not (folder / find.MODEL).exists():
    others = sorted(x.name for x in folder.iterdir() if x.suffix in find.PICKLED)
    raise Unfit(f'has no {find.MODEL}' + (
        f', but {others[0]}: '
        + find.how_to_convert(str(folder / others[0]), str(folder / find.MODEL))
        if others else ''))
  if not (folder / 'config.json').exists():
    raise Unfit('has no config.json, which says how images are prepared; to do '
                f"without, and take ImageNet's mean and deviation, name "
                f'{folder / find.MODEL}')
  return str(folder / find.MODEL)


def digest(arrays: Mapping[str, np.ndarray]) -> str:
  """Returns 16 digits of the SHA-256 of all names and arrays, in their order."""
  found = hashlib.sha256()
  for name, array in arrays.items():
    found.update(name.encode() + b'\0')
    found.update(np.ascontiguousarray(array).tobytes())
  return found.hexdigest()[:16]


def _ours(arrays: Mapping[str, np.ndarray], text: str) -> Recognized:
  try:
    about = json.loads(text)
    config, network = files_lib.flatten(about['config']), about['network']
    step, written = int(about['step']), about['digest']
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
    raise Unfit(f'has metadata of byol_jax that are damaged '
                f'({errors.one_line(error)})') from error
  if digest(dict(sorted(arrays.items()))) != written:
    raise Unfit('is damaged: its arrays are not those that were written')
  encoder = torch_lib.recognized(arrays)[0]
  if config.get('network.embedding'):
    encoder |= torch_lib.head(arrays)
  return Recognized(config, encoder, network, step)


def _beside(path: str) -> dict[str, dict[str, Any]]:
  """Returns the JSON objects that lie beside a file, by name."""
  found = {}
  for name in ('config.json', 'preprocessor_config.json'):
    file = epath.Path(path).parent / name
    try:
      data = file.read_bytes()
    except OSError:
      continue
    value = files_lib.parse_json(data) if len(data) <= _MOST_CONFIG else None
    if not isinstance(value, dict):
      raise Unfit(f'lies beside {file}, which is damaged')
    found[name] = value
  return found


def _check_architecture(config: Mapping[str, Any]) -> None:
  """Refuses networks whose names and shapes are a ResNet's, but which compute else."""
  name = config.get('architecture')
  if name is not None and not _ARCHITECTURES.fullmatch(str(name)):
    raise Unfit(f'is of the architecture {name!r} by its config.json, which '
                'byol_jax does not have')
  for key, value in (config.get('model_args') or {}).items():
    if key not in _ARGUMENTS or (
        _ARGUMENTS[key] is not None and value not in _ARGUMENTS[key]):
      raise Unfit(f'is made with {key}={value!r} by its config.json, which '
                  'byol_jax does not have')
  if config.get('model_type') == 'resnet':
    for key, value in _TRANSFORMERS.items():
      if config.get(key, value) != value:
        raise Unfit(f'is made with {key}={config[key]!r} by its config.json, '
                    'which byol_jax does not have')


def _preparation(found: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
  """Returns the keys data.* that the files beside the arrays tell."""
  timm = found.get('config.json', {}).get('pretrained_cfg') or {}
  other = found.get('preprocessor_config.json', {})
  size = timm.get('input_size') or [other.get('size')]
  side = size[-1]
  if isinstance(side, dict):
    side = side.get('shortest_edge') or side.get('height')
  keys = {'data.mean': timm.get('mean') or other.get('image_mean'),
          'data.std': timm.get('std') or other.get('image_std'),
          'data.center_share': timm.get('crop_pct') or other.get('crop_pct'),
          'data.image_size': side}
  return {key: value for key, value in keys.items() if value is not None}
