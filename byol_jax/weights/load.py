"""Reads encoders from runs, finished or running, and reads and writes them as files.

The architecture and the preparation of images come with the weights: checkpoints and
exported files hold the config of the run that made them. Files of other libraries tell
both as far as they know (`foreign.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
import contextlib
import json
import logging
from typing import Any, NamedTuple

from etils import epath
import jax
import ml_collections
import numpy as np
import safetensors
import safetensors.numpy

from byol_jax import errors
from byol_jax.config import keys as keys_lib
from byol_jax.config import rules
from byol_jax.config import schedule
from byol_jax.devices import trees as trees_lib
from byol_jax.errors import UserError
from byol_jax.methods import names as method_names
from byol_jax.networks import resnet
from byol_jax.run import checkpoint
from byol_jax.storage import files as files_lib
from byol_jax.training import build
from byol_jax.weights import deepmind
from byol_jax.weights import find
from byol_jax.weights import foreign
from byol_jax.weights import of_run
from byol_jax.weights import torch as torch_lib

_console = logging.getLogger('byol_jax')

NETWORKS = ('online', 'target')

_FORMAT = 'byol_jax encoder 1'


class Weights(NamedTuple):
  """An encoder, and where it comes from.

  Attributes:
    config: the complete config of the run that made it; one with task=export and
      data.source=same where no run of ours has made it.
    params: {module: {name: float32 array}}.
    state: running averages, likewise; None for an untrained encoder, which gets
      them from images (`Inference.calibrate`).
    network: 'online', 'target' or 'untrained'.
    step: training steps done.
    path: the path as the user named it.
    digest: the digest of the arrays.
  """
  config: ml_collections.ConfigDict
  params: Mapping[str, Mapping[str, np.ndarray]]
  state: Any
  network: str
  step: int
  path: str
  digest: str

  @property
  def is_foreign(self) -> bool:
    """Returns whether no run of ours made the encoder: it comes without data."""
    return self.config.data.source == 'same'

  @property
  def kind(self) -> str:
    """Returns the kind of the encoder in results.json: its method, or 'pretrained'."""
    return 'pretrained' if self.is_foreign else (
        method_names.result_name(self.config.method))

  def describe(self) -> dict[str, Any]:
    """Returns the entries about the weights in a protocol."""
    n = self.config.network
    return {'weights': self.path, 'step': self.step, 'network': self.network,
            'architecture': f'{n.name}, width {n.width:g}, stem {n.stem}, '
                            f'padding {n.padding}', 'digest': self.digest}


def load(path: str, network: str | None, key: str = 'weights') -> Weights:
  """Reads an encoder.

  Args:
    path: WORKDIR, for its newest checkpoint; WORKDIR/checkpoints/STEP; a file that
      `save` wrote; or what others wrote: a folder of timm or Hugging Face, or a
      safetensors file by the names of torchvision, timm, transformers or lightly.
    network: 'online' or 'target'; a file has only one of them. None: the one that a
      file has.
    key: the config key with the path, for messages.

  Returns:
    The encoder; for a WORKDIR the newest sound one. A warning names a damaged
    checkpoint, and the one before it is taken.

  Raises:
    UserError: there is no such checkpoint or file, or it is damaged, has diverged, or
      does not fit its own config.
  """
  if not path:
    raise UserError(f'config key {key} is empty: name a WORKDIR, one of its '
                    'WORKDIR/checkpoints/STEP or an exported file, as in '
                    f'--config.{key}=runs/fashion')
  kind = find.form(path)
  try:
    if kind in ('run', 'deepmind'):
      read = of_run.read if kind == 'run' else deepmind.read
      config, *rest = read(path, network or 'online')
      if kind == 'deepmind':
        config = foreign.config_of(path) | files_lib.flatten(config)
      weights = _checked(config, *rest, path)
    else:
      weights = _from_file(path, kind, network)
  except torch_lib.Unfit as error:
    raise UserError(f'config key {key} is {path!r}: it {error}') from error
  _check_finite(weights, key)
  return weights


def with_head(weights: Weights, params: Any, state: Any, w: np.ndarray,
              b: np.ndarray) -> Weights:
  """Returns an encoder with other arrays, and a linear layer behind its features.

  Where there is such a layer, the new one is multiplied into it.

  Args:
    weights: the encoder that gives the config.
    params: as `Weights.params`; heads do not matter.
    state: as `Weights.state`.
    w: float32 [D, d].
    b: float32 [d].
  """
  config = weights.config.copy_and_resolve_references().unlock()
  params, state = _encoder_only(params), _encoder_only(state)
  if config.network.embedding:
    before = params[resnet.EMBEDDING]
    w, b = before['w'] @ w, before['b'] @ w + b
  params[resnet.EMBEDDING] = {'w': w, 'b': b}
  config.network.embedding = len(b)
  return _checked(config.to_dict(), {'params': params, 'state': state}, weights.network,
                  weights.step, weights.path)


def untrained(weights: Weights) -> Weights:
  """Returns the encoder as it was before its first step, without statistics."""
  config = weights.config
  model = build.make_model(config, 0, None)
  images = np.zeros((2, config.data.image_size, config.data.image_size, 3),
                    np.float32)
  # the key of `step.init`; the rest follows from the names of the modules
  key = jax.random.split(jax.random.PRNGKey(config.seed), 3)[0]
  params, state = jax.jit(model.online.init, static_argnums=2)(key, images, True)
  params = _encoder_only(params)
  return weights._replace(
      params=params, state=_encoder_only(state), step=0, network='untrained',
      digest=_digest(params))


def save(weights: Weights, path: str) -> None:
  """Writes an encoder with its config as one file, in the safetensors format.

  Arrays are named 'params/MODULE/NAME' and 'state/MODULE/NAME'.

  Raises:
    UserError: the file cannot be written.
  """
  arrays = {f'{kind}/{module}/{name}': np.asarray(array, order='C')
            for kind in ('params', 'state')
            for module, leaves in getattr(weights, kind).items()
            for name, array in trees_lib.named(leaves).items()}
  metadata = {'format': _FORMAT, 'network': weights.network,
              'step': str(weights.step), 'digest': weights.digest,
              'config': json.dumps(weights.config.to_dict())}
  files_lib.write_for_user(path, safetensors.numpy.save(arrays, metadata))


def _from_file(path: str, kind: str, network: str | None) -> Weights:
  """Returns the encoder of a file or of a folder that holds one.

  Raises:
    Unfit: it cannot be used.
  """
  if kind == 'torch':
    raise torch_lib.Unfit(f'cannot be read: {find.how_to_convert(path)}')
  file = foreign.folder_file(path) if kind == 'folder' else path
  try:
    arrays, metadata = foreign.parse(epath.Path(file).read_bytes())
  except FileNotFoundError as error:
    raise torch_lib.Unfit('cannot be read: there is no such file') from error
  except (OSError, ValueError) as error:
    raise torch_lib.Unfit(
        'cannot be read: it is damaged, or no safetensors file of float32 arrays '
        f'({errors.one_line(error)})') from error
  if metadata.get('format') == _FORMAT:
    weights = _checked(*_ours(arrays, metadata), path)
    if metadata.get('digest') != weights.digest:
      raise torch_lib.Unfit('is damaged: its arrays are not those that were written')
  else:
    found = foreign.read(file, arrays, metadata)
    config = found.config
    if 'data.source' not in config:  # no run of ours
      config = foreign.config_of(path) | config
    known = complete(config, path)
    trees = torch_lib.to_haiku(found.arrays, *build.encoder_shapes(known),
                               known.network.bn_decay_rate)
    weights = _checked(config, trees, found.network, found.step, path)
  if network not in (None, weights.network):
    raise torch_lib.Unfit(f'has the {weights.network} network: set '
                          f'--config.evaluation.network={weights.network}')
  return weights


def _ours(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]):
  """Returns from a file of `save` the same values as `of_run.read`."""
  try:
    config = json.loads(metadata['config'])
    network, step = metadata['network'], int(metadata['step'])
  except (ValueError, KeyError, TypeError, RecursionError) as error:
    raise torch_lib.Unfit('is not a file that task=export wrote '
                          f'({errors.one_line(error)})') from error
  trees = {'params': {}, 'state': {}}
  for name, array in arrays.items():
    kind, _, rest = name.partition('/')
    module, _, leaf = rest.rpartition('/')
    if kind in trees:
      trees[kind].setdefault(module, {})[leaf] = array
  return config, trees, network, step


def _checked(config: Any, trees: Mapping[str, Any], network: str, step: int,
             path: str) -> Weights:
  """Returns the weights, if the arrays fit the network that the config describes."""
  config = complete(config, path)
  shapes, differ = build.encoder_shapes(config), []
  both = list(zip(shapes, (trees['params'], trees['state'])))
  for like, tree in both:
    expected, found = trees_lib.spec(like), trees_lib.spec(tree)
    differ += [f'{name}: {found.get(name, "missing")} there, '
               f'{expected.get(name, "none")} by the config'
               for name in sorted(expected.keys() | found.keys())
               if expected.get(name) != found.get(name)]
  if differ:
    raise UserError(f'{path!r} is of another architecture than its config says: '
                    + '; '.join(differ[:3]))
  params, state = jax.tree.map(np.asarray, tuple(
      trees_lib.filled(like, trees_lib.named(tree)) for like, tree in both))
  return Weights(config, params, state, network, step, path,
                 _digest((params, state)))


def _check_finite(weights: Weights, key: str) -> None:
  for name, array in trees_lib.named((weights.params, weights.state)).items():
    if np.isfinite(array).all() and not (
        name.endswith('var_ema.average') and (array < 0).any()):
      continue
    name = name.partition('.')[2]
    if weights.is_foreign:
      raise UserError(f'config key {key} is {weights.path!r}: its array {name} is not '
                      'finite, or a variance below 0; take another file')
    earlier = ''
    if find.form(weights.path) == 'run':
      folder = find.parse(weights.path)[0]
      with contextlib.closing(
          checkpoint.Checkpoints(folder, read_only=True)) as opened:
        earlier = ': ' + find.listed([
            x for x in opened.steps() if x < weights.step])
    raise UserError(
        f'config key {key} is {weights.path!r}: the {weights.network} encoder '
        f'of step {weights.step} has diverged, {name} is not '
        f'finite; use an earlier checkpoint{earlier}')


def complete(config: Any, path: str) -> ml_collections.ConfigDict:
  """Returns a run's config with the keys that it lacks, at their old values."""
  if not isinstance(config, Mapping):
    raise UserError(f'{path!r} does not say of what config it is')
  result = keys_lib.base().unlock()
  known = keys_lib.was()
  try:
    result.update_from_flattened_dict({
        key: tuple(value) if isinstance(value, list) else value
        for key, value in (known | files_lib.flatten(config)).items() if key in known})
    rules.validate(result)
    result.network.precision = schedule.precision(
        result.network.precision, jax.default_backend())
  except (UserError, TypeError, ValueError) as error:
    raise UserError(f'the config of {path!r} cannot be used: {error}') from error
  return result.lock()


def _encoder_only(tree: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the leaves of the encoder, without projector and predictor."""
  return {module: dict(leaves) for module, leaves in tree.items()
          if module.split('/')[0] == 'encoder'}


def _digest(tree: Any) -> str:
  """Returns 16 hexadecimal digits of the SHA-256 of all names and arrays."""
  return foreign.digest(trees_lib.named(tree))
