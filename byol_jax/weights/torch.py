"""PyTorch's names of an encoder's arrays, both ways; needs no PyTorch.

torchvision and timm have the same names for ResNets, `conv1.weight` to
`layer4.1.bn2.running_var`. Other names are turned into these before anything else.
"""

from __future__ import annotations

from collections.abc import Mapping
import re
from typing import Any, NamedTuple

import numpy as np

from byol_jax.errors import UserError
from byol_jax.networks import architectures
from byol_jax.networks import resnet

_MODULE = re.compile(r'encoder/~/(?:block_group_(\d)/~/block_(\d+)/~/)?'
                     r'([a-z]+_[a-z0-9]+)(?:/~/(mean|var)_ema)?')
_LAYERS = {'initial_conv': 'conv1', 'initial_batchnorm': 'bn1',
           'shortcut_conv': 'downsample.0', 'shortcut_batchnorm': 'downsample.1'}
_LEAVES = {(None, 'w'): 'weight', (None, 'scale'): 'weight', (None, 'offset'): 'bias',
           ('mean', 'average'): 'running_mean', ('var', 'average'): 'running_var',
           ('mean', 'counter'): 'num_batches_tracked'}
_HEAD = {'w': 'fc.weight', 'b': 'fc.bias'}  # a head inside, in a classifier's place
_MANY = 1_000_000  # batches that are behind averages of which nobody has counted them


class Unfit(UserError):
  """Arrays that cannot be used as an encoder.

  The message is to be read behind 'PATH: it'.
  """


class Scheme(NamedTuple):
  """A library's names of a ResNet's arrays.

  Attributes:
    first: the name of the first convolution.
    block: the name of the first convolution in a block; no other scheme has both.
    renamed: (pattern, replacement) in order, which make torchvision's names of them.
  """
  first: str
  block: str
  renamed: tuple[tuple[str, Any], ...] = ()


def _group(plus: int):
  return lambda found: f'layer{int(found[1]) + plus}.'


SCHEMES = {
    'torchvision and timm': Scheme('conv1.weight', 'layer1.0.conv1.weight'),
    "timm's resnetv2": Scheme('stem.conv.weight', 'stages.0.blocks.0.conv1.weight', (
        (r'^stem\.conv\.', 'conv1.'), (r'^stem\.norm\.', 'bn1.'),
        (r'^stages\.(\d)\.blocks\.', _group(1)), (r'\.norm(\d)\.', r'.bn\1.'),
        (r'\.downsample\.conv\.', '.downsample.0.'),
        (r'\.downsample\.norm\.', '.downsample.1.'))),
    "transformers' ResNet": Scheme(
        'embedder.embedder.convolution.weight',
        'encoder.stages.0.layers.0.layer.0.convolution.weight', (
        (r'^embedder\.embedder\.convolution\.', 'conv1.'),
        (r'^embedder\.embedder\.normalization\.', 'bn1.'),
        (r'^encoder\.stages\.(\d)\.layers\.', _group(1)),
        (r'\.shortcut\.convolution\.', '.downsample.0.'),
        (r'\.shortcut\.normalization\.', '.downsample.1.'),
        (r'\.layer\.(\d)\.convolution\.', lambda found: f'.conv{int(found[1]) + 1}.'),
        (r'\.layer\.(\d)\.normalization\.', lambda found: f'.bn{int(found[1]) + 1}.'))),
    # Sequential(*resnet.children()); without ReLU and pooling its numbers are smaller
    "lightly's Sequential": Scheme('0.weight', '4.0.conv1.weight', (
        (r'^0\.', 'conv1.'), (r'^1\.', 'bn1.'), (r'^([4-7])\.', _group(-3)))),
    "lightly's small ResNet": Scheme('0.weight', '2.0.conv1.weight', (
        (r'^0\.', 'conv1.'), (r'^1\.', 'bn1.'), (r'^([2-5])\.', _group(-1)),
        (r'\.shortcut\.', '.downsample.'))),
}
# what people's own modules call the encoder within them: where there are several
# encoders, as the target network, this is the one that learns
_PREFIXES = {'module', 'model', 'backbone', 'encoder', 'resnet', 'timm_model', 'net',
             'base_encoder', 'encoder_q', 'online_encoder', 'online_network',
             '_orig_mod'}
_NEAREST = 'the nearest network of byol_jax'  # in messages
_OURS = re.compile(r'(conv1|bn1|layer\d)\..*')


def name_of(module: str, leaf: str) -> str | None:
  """Returns torchvision's name of one of our arrays; None where it has no such array.

  Args:
    module: a Haiku module of the encoder.
    leaf: the array's name in it.
  """
  if module == resnet.EMBEDDING:
    return _HEAD[leaf]
  group, block, layer, average = _MODULE.fullmatch(module).groups()
  if (average, leaf) not in _LEAVES:
    return None  # `hidden` and the counter of the variance
  if layer not in _LAYERS:
    kind, number = layer.split('_')
    layer = f'{"conv" if kind == "conv" else "bn"}{int(number) + 1}'
  within = f'layer{int(group) + 1}.{block}.' if group else ''
  return f'{within}{_LAYERS.get(layer, layer)}.{_LEAVES[average, leaf]}'


def to_torch(params: Mapping[str, Any], state: Mapping[str, Any],
             *, v2: bool = False) -> dict[str, np.ndarray]:
  """Returns an encoder's arrays by torchvision's and timm's names.

  Args:
    params, state: as in `load.Weights`.
    v2: whether the names are those of timm's resnetv2.

  Returns:
    float32 arrays, convolutions as [out, in, height, width]; the numbers of batches
    are int64.
  """
  arrays = {}
  for tree in (params, state):
    for module, leaves in tree.items():
      for leaf, array in leaves.items():
        name = name_of(module, leaf)
        if name is not None:
          array = _as_torch(leaf, np.asarray(array))
          if v2 and name == _HEAD['w']:
            array = array[..., None, None]  # a convolution of 1 x 1 there
          arrays[v2_name(name) if v2 else name] = array
  return arrays


def v2_name(name: str) -> str:
  """Returns resnetv2's name for one of torchvision's."""
  for pattern, new in (
      (r'^conv1\.', 'stem.conv.'), (r'^bn1\.', 'stem.norm.'),
      (r'^layer(\d)\.', lambda found: f'stages.{int(found[1]) - 1}.blocks.'),
      (r'\.bn(\d)\.', r'.norm\1.'), (r'\.downsample\.0\.', '.downsample.conv.'),
      (r'\.downsample\.1\.', '.downsample.norm.'), (r'^fc\.', 'head.fc.')):
    name = re.sub(pattern, new, name)
  return name


def _as_torch(leaf: str, array: np.ndarray) -> np.ndarray:
  if leaf == 'w':
    array = array.T if array.ndim == 2 else array.transpose(3, 2, 0, 1)
  elif leaf == 'counter':
    array = array.astype(np.int64)
  else:
    array = array.reshape(-1)
  return np.asarray(array, order='C')  # ascontiguousarray makes a vector of a number


def recognized(arrays: Mapping[str, np.ndarray]) -> tuple[
    dict[str, np.ndarray], str, list[str]]:
  """Finds a ResNet among arrays, whatever their names are.

  Args:
    arrays: by the names of one of `SCHEMES`, maybe with a prefix such as 'module.'.

  Returns:
    The encoder's arrays by torchvision's names, what the names were, and the names of
    the arrays that are not the encoder's, such as a classifier's.

  Raises:
    Unfit: there is no ResNet, or there are several and none of `_PREFIXES`.
  """
  there = [(prefix, title) for title, scheme in SCHEMES.items()
           for prefix in _prefixes(arrays, scheme)]
  known = [it for it in there if {*it[0].split('.')[:-1]} <= _PREFIXES]
  if not there:
    names = ', '.join(sorted(arrays)[:3])[:200]
    raise Unfit('holds no ResNet by the names of torchvision, timm, transformers or '
                f'lightly; its first names are {names or "none"}')
  if len(there) > 1 and not known:
    raise Unfit(f'holds {len(there)} encoders, behind ' + ', '.join(
        repr(prefix) for prefix, _ in there[:3]) + ': keep the arrays of one')
  prefix, title = min(known or there, key=lambda it: len(it[0]))
  renamed = {}
  for name in arrays:
    if name.startswith(prefix):
      new = name.removeprefix(prefix)
      for pattern, replacement in SCHEMES[title].renamed:
        new = re.sub(pattern, replacement, new)
      if _OURS.fullmatch(new):
        renamed[new] = name
  return ({new: arrays[name] for new, name in renamed.items()},
          f'{title}{f", behind {prefix!r}" if prefix else ""}',
          sorted(arrays.keys() - set(renamed.values())))


def _prefixes(arrays: Mapping[str, np.ndarray], scheme: Scheme) -> list[str]:
  """Returns what stands before a scheme's names, wherever a ResNet begins."""
  found = (re.fullmatch(rf'((?:.*\.)?){re.escape(scheme.first)}', x) for x in arrays)
  return [it[1] for it in found if it and it[1] + scheme.block in arrays]


def head(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns the arrays of the head in a file of ours, by torchvision's names."""
  found = {name: arrays.get(name, arrays.get(v2_name(name))) for name in _HEAD.values()}
  return {name: array.reshape(array.shape[:2]) for name, array in found.items()
          if array is not None}


def network_of(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Returns the keys network.* of an encoder, as far as shapes tell them.

  A first convolution of 3 x 3 is taken for the stem `small`: its stride is no array.

  Args:
    arrays: by torchvision's names.

  Raises:
    Unfit: we have no such network.
  """
  blocks: dict[int, int] = {}
  for name in arrays:
    if found := re.match(r'layer(\d)\.(\d{1,9})\.', name):
      group, block = map(int, found.groups())
      blocks[group] = max(blocks.get(group, 0), block + 1)
  sizes = tuple(count for _, count in sorted(blocks.items()))
  bottleneck = 'layer1.0.conv3.weight' in arrays
  shape = arrays['conv1.weight'].shape
  alike = [name for name, known in architectures.ARCHITECTURES.items()
           if (known.blocks, known.bottleneck) == (sizes, bottleneck)]
  if not alike:
    raise Unfit(f'is a ResNet of {sizes} blocks, which byol_jax does not have')
  kernels = {stem.kernel: title for title, stem in reversed(
      architectures.STEMS.items()) if title != 'half'}
  if len(shape) != 4 or shape[2] not in kernels:
    raise Unfit(f'has a first convolution conv1.weight {shape}, which byol_jax '
                'does not have')
  known = architectures.ARCHITECTURES[alike[0]]
  return {'name': alike[0], 'width': shape[0] / known.stem_channels,
          'stem': kernels[shape[2]]}


def to_haiku(arrays: Mapping[str, np.ndarray], params: Any, state: Any,
             decay_rate: float) -> dict[str, Any]:
  """Returns arrays by our names.

  Args:
    arrays: by torchvision's names.
    params, state: the encoder's, as shapes, with which it must agree.
    decay_rate: of our running averages, network.bn_decay_rate.

  Returns:
    {'params': ..., 'state': ...} like those given.

  Raises:
    Unfit: names the first array that differs, with both shapes.
  """
  unused = dict(arrays)
  def take(name: str, like: Any, leaf: str, optional: bool = False):
    array = unused.pop(name, None)
    if array is None and optional:
      return np.int64(0)
    expected = tuple(like.shape) if leaf == 'counter' else (
        (like.shape[-1],) if leaf != 'w' else tuple(like.shape[::-1])
        if len(like.shape) == 2 else tuple(like.shape[i] for i in (3, 2, 0, 1)))
    if array is None or tuple(array.shape) != expected:
      there = 'missing' if array is None else f'of shape {tuple(array.shape)}'
      raise Unfit(f'is of another network: {name} is {there} there, of shape '
                  f'{expected} in {_NEAREST}')
    if leaf == 'counter' and not 0 <= array < 2**63:
      raise Unfit(f'has {name} that is no number of batches')
    return array

  def module_of(module: str, leaves: Mapping[str, Any]) -> dict[str, np.ndarray]:
    if not module.endswith('_ema'):
      return {leaf: _as_ours(take(name_of(module, leaf), like, leaf), like)
              for leaf, like in leaves.items()}
    average = _as_ours(
        take(name_of(module, 'average'), leaves['average'], 'average'),
        leaves['average'])
    counted = take_counter(module, leaves['counter'])
    return {'average': average,
            'counter': np.asarray(counted, leaves['counter'].dtype),
            'hidden': average * np.float32(1 - decay_rate**counted)}

  def take_counter(module: str, like: Any) -> int:
    # mean and variance have one counter there
    name = name_of(module.replace('var_ema', 'mean_ema'), 'counter')
    if name not in counters:
      counters[name] = int(take(name, like, 'counter', optional=True))
    return min(counters[name], _MANY) or _MANY

  counters: dict[str, int] = {}
  result = {kind: {module: module_of(module, leaves) for module, leaves in tree.items()}
            for kind, tree in (('params', params), ('state', state))}
  if unused:
    name = min(unused)
    raise Unfit(f'is of another network: it has {name}, which {_NEAREST} lacks')
  return result


def _as_ours(array: np.ndarray, like: Any) -> np.ndarray:
  if array.ndim == 4:
    array = array.transpose(2, 3, 1, 0)
  elif array.ndim == 2:
    array = array.T
  return np.asarray(array.reshape(like.shape), order='C')
