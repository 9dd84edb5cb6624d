"""Writes an encoder as a folder that timm, transformers and torchvision read.

Where these have no such network, a file of PyTorch code lies beside the arrays.
"""

from __future__ import annotations

from collections.abc import Callable
import importlib.util
import json
import os
import re
from typing import Any, NamedTuple

from etils import epath
import ml_collections
import numpy as np
import safetensors.numpy

from byol_jax import errors
from byol_jax.networks import architectures
from byol_jax.storage import files as files_lib
from byol_jax.storage import paths as paths_lib
from byol_jax.training import build
from byol_jax.weights import agreement
from byol_jax.weights import find
from byol_jax.weights import foreign
from byol_jax.weights import load
from byol_jax.weights import torch as torch_lib

CODE = 'byol_resnet.py'
TRANSFORM = 'timm, with its own preparation of images'
_TWINS = re.compile('resnet(18|34|50|101|152|200)')
_EPS = 1e-5  # of theirs, which no argument changes


class Twin(NamedTuple):
  """A network of other libraries that computes the same.

  Attributes:
    timm: timm's name.
    arguments: what timm's constructor is given beside the name.
    torchvision: torchvision's name; '' where it has none.
  """
  timm: str
  arguments: dict[str, Any]
  torchvision: str


def twin(config: ml_collections.ConfigDict) -> Twin | None:
  """Returns the twin of a config's encoder; None where there is none."""
  n = config.network
  if not (_TWINS.fullmatch(n.name) and n.stem == 'imagenet' and n.padding == 'torch'
          and n.bn_eps == _EPS):
    return None
  if n.width == 1:
    return Twin(n.name, {}, '' if n.name == 'resnet200' else n.name)
  known = architectures.ARCHITECTURES[n.name]
  if not known.bottleneck or n.width != int(n.width):
    return None
  arguments = {'preact': False, 'width_factor': int(n.width)}
  if n.name == 'resnet200':
    return Twin('resnetv2_50', arguments | {'layers': list(known.blocks)}, '')
  return Twin(n.name.replace('resnet', 'resnetv2_'), arguments, '')


def _is_v2(same: Twin | None) -> bool:
  return same is not None and same.timm.startswith('resnetv2')


def write(weights: load.Weights, directory: str) -> list[str]:
  """Writes config.json, model.safetensors and, without a twin, byol_resnet.py.

  Args:
    weights: the encoder.
    directory: where. A folder without config.json is no encoder, so that comes last.

  Returns:
    The names of the files.

  Raises:
    OSError: a file cannot be written.
  """
  same = twin(weights.config)
  arrays = torch_lib.to_torch(weights.params, weights.state, v2=_is_v2(same))
  about = {'config': weights.config.to_dict(), 'network': weights.network,
           'step': weights.step, 'digest': foreign.digest(dict(sorted(arrays.items())))}
  folder = epath.Path(directory)
  folder.mkdir(parents=True, exist_ok=True)
  (folder / 'config.json').unlink(missing_ok=True)
  files_lib.write_bytes(
      folder / find.MODEL,
      safetensors.numpy.save(arrays, {'format': 'pt', foreign.OURS: json.dumps(about)}))
  if same is None:
    # its text alone: importing it would import torch
    module = 'byol_jax.weights.torch_module'
    files_lib.write_bytes(folder / CODE, importlib.util.find_spec(
        module).loader.get_source(module).encode())
  files_lib.write_json(folder / 'config.json', _config(weights.config, same))
  return ['config.json', find.MODEL] + ([CODE] if same is None else [])


def _config(config: ml_collections.ConfigDict, same: Twin | None) -> dict[str, Any]:
  """Returns config.json: what timm reads, or what byol_resnet.py does."""
  spec, share = build.eval_view(config)
  n, size = config.network, [3, spec.image_size, spec.image_size]
  known, stem = architectures.ARCHITECTURES[n.name], architectures.STEMS[n.stem]
  channels = [round(x * n.width) for x in known.channels]
  prepared = {
      'tag': 'byol_jax', 'custom_load': False, 'input_size': size,
      'fixed_input_size': False, 'interpolation': 'bicubic', 'crop_pct': share,
      'crop_mode': 'center', 'mean': list(spec.mean), 'std': list(spec.std),
      'num_classes': n.embedding, 'pool_size': [7, 7],
      'first_conv': 'stem.conv' if _is_v2(same) else 'conv1',
      'classifier': 'head.fc' if _is_v2(same) else 'fc'}
  shared = {'num_classes': n.embedding, 'num_features': channels[-1],
            'global_pool': 'avg', 'pretrained_cfg': prepared}
  if same is not None:
    return {'architecture': same.timm} | shared | (
        {'model_args': same.arguments} if same.arguments else {})
  return shared | {'byol_resnet': {
      'blocks': list(known.blocks), 'channels': channels,
      'bottleneck': known.bottleneck,
      'stem_channels': round(known.stem_channels * n.width), 'kernel': stem.kernel,
      'stride': stem.stride, 'max_pool': stem.max_pool, 'same': n.padding == 'same',
      'eps': n.bn_eps, 'embedding': n.embedding}}


def check(weights: load.Weights, directory: str,
          sample: agreement.Sample) -> dict[str, dict[str, float] | str]:
  """Compares what each library computes with what `write` wrote.

  Args:
    weights: the encoder that was written.
    directory: where.
    sample: the images.

  Returns:
    {library: its `agreement.difference`, or why there is none}.
  """
  again = load.load(directory, None)
  result: dict[str, Any] = {'byol_jax': agreement.difference(
      sample.features, agreement.features(again, sample.prepared))}
  same = twin(weights.config)
  for name, compute in _libraries(same).items():
    if paths_lib.in_bucket(directory):
      result[name] = 'not checked: it reads local folders'
      continue
    try:
      result[name] = agreement.difference(
          sample.features, compute(directory, same, sample))
    except ImportError as error:
      result[name] = f'not checked: {error.name} is not installed'
    except Exception as error:  # whatever another library raises
      result[name] = f'failed: {errors.one_line(error)}'
  return result


def _libraries(same: Twin | None) -> dict[str, Callable[..., np.ndarray]]:
  """Returns (directory, twin, sample) -> features of each library, by its name."""
  if same is None:
    return {CODE: _by_code}
  return {'timm': _by_timm, 'transformers': _by_transformers} | (
      {'torchvision': _by_torchvision} if same.torchvision else {}) | {
          TRANSFORM: _by_transform}


def _features(model: Any, images: Any) -> np.ndarray:
  import torch
  with torch.inference_mode():
    return model(torch.as_tensor(np.ascontiguousarray(images))).numpy()


def _by_code(directory: str, same: None, sample: agreement.Sample) -> np.ndarray:
  """Runs byol_resnet.py, by the module whose text it is."""
  from byol_jax.weights import torch_module
  return _features(torch_module.load(directory), sample.prepared)


def _by_timm(directory: str, same: Twin, sample: agreement.Sample) -> np.ndarray:
  return _features(_timm_model(directory), sample.prepared)


def _timm_model(directory: str) -> Any:
  import timm
  return timm.create_model(f'local-dir:{directory}', pretrained=True).eval()


def _by_torchvision(directory: str, same: Twin, sample: agreement.Sample) -> np.ndarray:
  import safetensors.torch
  import torch
  import torchvision
  model = getattr(torchvision.models, same.torchvision)(weights=None)
  arrays = safetensors.torch.load_file(os.path.join(directory, find.MODEL))
  model.fc = (torch.nn.Linear(*arrays['fc.weight'].shape[::-1])
              if 'fc.weight' in arrays else torch.nn.Identity())
  model.load_state_dict(arrays, strict=True)
  return _features(model.eval(), sample.prepared)


def _by_transformers(directory: str, same: Twin,
                     sample: agreement.Sample) -> np.ndarray:
  import timm  # what transformers runs it with
  import transformers
  del timm
  bars = transformers.utils.logging
  was_shown = bars.is_progress_bar_enabled()
  bars.disable_progress_bar()
  try:
    model, output = transformers.AutoModel, 'pooler_output'
    config = files_lib.read_json(os.path.join(directory, 'config.json'))
    if config['num_classes']:  # a head, which the former leaves out
      model, output = transformers.AutoModelForImageClassification, 'logits'
    model = model.from_pretrained(directory).eval()
  finally:
    (bars.enable_progress_bar if was_shown else bars.disable_progress_bar)()
  return _features(lambda x: model(pixel_values=x)[output], sample.prepared)


def _by_transform(directory: str, same: Twin, sample: agreement.Sample) -> np.ndarray:
  model = _timm_model(directory)
  import timm
  import torch
  from torchvision.transforms import functional
  transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
  return _features(model, torch.stack([
      transform(functional.to_pil_image(image)) for image in sample.whole]))
