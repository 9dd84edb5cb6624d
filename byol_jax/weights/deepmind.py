"""Reads the checkpoints that DeepMind published with BYOL, without executing them.

Source of their layout and of the networks' names: google-deepmind/deepmind-research,
byol/utils/checkpointing.py, byol_experiment.py and networks.py.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import logging
import mmap
import re
from typing import Any

from etils import epath
import numpy as np

from byol_jax.networks import architectures
from byol_jax.storage import paths as paths_lib
from byol_jax.weights import find
from byol_jax.weights import unpickle
from byol_jax.weights.pickled import Refused
from byol_jax.weights.torch import Unfit

_console = logging.getLogger('byol_jax')

LICENCE = 'CC BY-NC 4.0'

# byol/utils/dataset.py: how images are prepared
_DATA = {'image_size': 224, 'center_share': 224 / 256,
         'mean': (0.485, 0.456, 0.406), 'std': (0.229, 0.224, 0.225)}
_MOST_TOLD = 200
_NETWORK = {'stem': 'imagenet', 'padding': 'same', 'bn_eps': 1e-5,
            'precision': 'auto'}


def read(path: str, network: str) -> tuple[dict[str, Any], dict[str, Any], str, int]:
  """Reads the encoder of a checkpoint, as `weights.load` takes it.

  Args:
    path: a file such as pretrain_res50x1.pkl.
    network: 'online' or 'target'.

  Returns:
    The config as far as the file tells it, the leaves {'params': ..., 'state': ...} by
    our names, the network, and the step. Whether the arrays fit the config is not
    looked at.

  Raises:
    Unfit: there is no such file, or it is another pickle, cut short, or not a ResNet.
  """
  try:
    with _opened(path) as data:
      if data[:2] == b'PK':
        raise Refused(f'it is of PyTorch: {find.how_to_convert(path)}')
      pickle = unpickle.Pickle(data)
      content = pickle.content()
      name, trees = _encoder(pickle, content, network)
      step = content.get('step', 0)
      if not isinstance(step, int):
        array = pickle.read(step)
        if array.size != 1 or array.dtype.kind not in 'iu':
          raise Refused('its step is no number')
        step = int(array.item())
  except FileNotFoundError as error:
    raise Unfit('cannot be read: there is no such file') from error
  except OSError as error:
    raise Unfit(f'cannot be read: {error}') from error
  except Refused as error:
    raise Unfit(f"is not a checkpoint of DeepMind's BYOL ({error}); nothing in it was "
                'executed') from error
  _console.warning('%s: weights by DeepMind, under the licence %s: not for commercial '
                   'use', path, LICENCE)
  stem = architectures.ARCHITECTURES[name].stem_channels
  width = trees['params']['encoder/~/initial_conv']['w'].shape[-1] / stem
  return ({'network': _NETWORK | {'name': name, 'width': width}, 'data': _DATA}, trees,
          network, step)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Any]:
  """Opens a file's bytes; those of a local file are read when they are asked for."""
  if paths_lib.in_bucket(path):
    yield epath.Path(path).read_bytes()
    return
  with open(path, 'rb') as f:
    if not f.seek(0, 2):
      raise Refused('it is empty')
    with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
      yield data


def _encoder(pickle: unpickle.Pickle, content: Any,
             network: str) -> tuple[str, dict[str, dict[str, dict[str, np.ndarray]]]]:
  """Returns the architecture's name, and the leaves by our names."""
  state = content.get('experiment_state') if isinstance(content, dict) else None
  there = [state.get(f'{network}_{kind}') if isinstance(state, dict) else None
           for kind in ('params', 'state')]
  if not all(isinstance(tree, dict) for tree in there):
    raise Refused(f'it has no experiment_state with {network}_params and '
                           f'{network}_state, as pretraining writes it')
  found, trees = set(), {'params': {}, 'state': {}}
  for kind, tree in zip(trees, there):
    for module, leaves in tree.items():
      top, _, rest = str(module).partition('/')
      if top in ('projector', 'predictor', 'classifier'):
        continue
      if not isinstance(leaves, dict):
        raise Refused(f'{str(module)[:60]} has no arrays')
      found.add(top)
      # haiku numbers a module that was named twice
      rest = re.sub(r'^(~/initial_(?:conv|batchnorm))_1(?=/|$)', r'\1', rest)
      trees[kind][f'encoder/{rest}'] = {
          str(name): pickle.read(leaf) for name, leaf in leaves.items()}
  names = [top.replace('res_net', 'resnet') for top in found]
  if len(names) != 1 or names[0] not in architectures.ARCHITECTURES:
    raise Refused('its encoder is ' + (
        ', '.join(sorted(found))[:_MOST_TOLD] or 'missing') + ', not a ResNet of ours')
  first = trees['params'].get('encoder/~/initial_conv', {}).get('w')
  if first is None or first.ndim != 4:
    raise Refused('its encoder has no initial_conv')
  return names[0], trees
