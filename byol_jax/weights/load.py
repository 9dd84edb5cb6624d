"""Reads encoders from runs, finished or running, and reads and writes them as files.

The architecture and the preparation of images come with the weights: checkpoints and
exported files hold the config of the run that made them.
"""

from __future__ import annotations

from collections.abc import Mapping
import contextlib
import hashlib
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
from byol_jax.networks import resnet
from byol_jax.run import checkpoint
from byol_jax.storage import files as files_lib
from byol_jax.training import build
from byol_jax.weights import find

_console = logging.getLogger('byol_jax')

NETWORKS = ('online', 'target')
SUFFIX = '.safetensors'

_FORMAT = 'byol_jax encoder 1'
_MOST_HEADER = 16 << 20  # bytes


class Weights(NamedTuple):
  """An encoder, and where it comes from.

  Attributes:
    config: the complete config of the run that made it.
    params: {module: {name: float32 array}}.
    state: running averages, likewise; None for an untrained encoder, which gets
      them from images (`Encoder.calibrate`).
    network: 'online' or 'target'.
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

  def describe(self) -> dict[str, Any]:
    """Returns the entries about the weights in a protocol."""
    n = self.config.network
    return {'weights': self.path, 'step': self.step, 'network': self.network,
            'architecture': f'{n.name}, width {n.width:g}, stem {n.stem}, '
                            f'padding {n.padding}', 'digest': self.digest}


def load(path: str, network: str) -> Weights:
  """Reads an encoder.

  Args:
    path: WORKDIR, for its newest checkpoint; WORKDIR/checkpoints/STEP; or a file
      that `save` wrote.
    network: 'online' or 'target'; a file has only one of them.

  Returns:
    The encoder; for a WORKDIR the newest sound one. A warning names a damaged
    checkpoint, and the one before it is taken.

  Raises:
    UserError: there is no such checkpoint or file, or it is damaged, has diverged, or
      does not fit its own config.
  """
  if not path:
    raise UserError('config key weights is empty: name a WORKDIR, one of its '
                    'WORKDIR/checkpoints/STEP or an exported file, as in '
                    '--config.weights=runs/fashion')
  read = _from_file if path.endswith(SUFFIX) else _from_checkpoint
  weights = _checked(*read(path, network), path)
  _check_finite(weights)
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


def _from_checkpoint(path: str, network: str):
  """Returns (config, leaves {'params': ..., 'state': ...}, network, step)."""
  damaged = []
  while True:
    checkpoints, step = find.opened(path, 'weights', without=damaged)
    with contextlib.closing(checkpoints):
      try:
        opened = checkpoints.open(step)
        arrays = opened.read({
            name: leaf for name, leaf in opened.leaves.items() if name.startswith(
                (f'{network}_params.encoder', f'{network}_state.encoder'))})
        break
      except (checkpoint.DamagedError, UserError) as error:
        # a checkpoint that is gone has a newer one: a run keeps its newest
        if not find.is_gone(checkpoints, step, error):
          damaged.append(step)
          _tell_damaged(checkpoints, path, damaged, error)
        elif find.parse(path)[1] is not None:
          raise UserError(
              f'cannot read checkpoint {step} of {path!r}: the run removed it '
              'meanwhile; take a newer one, or let the run keep more '
              '(checkpoint.keep)') from error
  if not arrays and network == 'target':
    raise UserError(f'config key evaluation.network is {network!r}, but the method of '
                    f'{path!r} has no target network: set it to online')
  trees = {'params': {}, 'state': {}}
  for name, array in arrays.items():
    kind, module, leaf = name.split('.', 2)
    trees[kind.removeprefix(f'{network}_')].setdefault(module, {})[leaf] = array
  return opened.meta.get('config'), trees, network, step


def _tell_damaged(checkpoints: checkpoint.Checkpoints, path: str, damaged: list[int],
                  error: Exception) -> None:
  """Warns that an older checkpoint is taken; raises UserError if none may be."""
  if isinstance(error, UserError):  # a newer byol_jax wrote it
    raise UserError(f'cannot read checkpoint {damaged[-1]} of {path!r}: {error}'
                    ) from error
  what = (f'damaged{", or being removed by the run" if error.__cause__ else ""} '
          f'({errors.one_line(error)})')
  others = [x for x in checkpoints.steps() if x not in damaged]
  if find.parse(path)[1] is not None or not others:
    raise UserError(
        f'config key weights is {path!r}: checkpoint {damaged[-1]} is {what}; '
        f'the others: {find.listed(others)}') from error
  _console.warning('checkpoint %d of %s is %s: taking %d, the one '
                   'before it', damaged[-1], path, what, others[-1])


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
  try:
    epath.Path(path).parent.mkdir(parents=True, exist_ok=True)
    files_lib.write_bytes(path, safetensors.numpy.save(arrays, metadata))
  except OSError as error:
    raise UserError(f'cannot write {path}: {error}') from error


def _from_file(path: str, network: str):
  """Returns from a file the same values as `_from_checkpoint`."""
  try:
    data = epath.Path(path).read_bytes()
    size = int.from_bytes(data[:8], 'little')
    if size > _MOST_HEADER:
      raise ValueError('its header is too large')
    metadata = json.loads(data[8:8 + size])['__metadata__']
    arrays = safetensors.numpy.load(data)
    if metadata.get('format') != _FORMAT:
      raise ValueError(f'its format is {metadata.get("format")!r}')
    config = json.loads(metadata['config'])
    there, step = metadata['network'], int(metadata['step'])
  except FileNotFoundError as error:
    raise UserError(f'config key weights is {path!r}: there is no such file'
                    ) from error
  except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError,
          safetensors.SafetensorError) as error:
    raise UserError(f'{path!r} is not a file that task=export wrote '
                    f'({errors.one_line(error)})') from error
  if there != network:
    raise UserError(f'{path!r} has the {there} network: set '
                    f'--config.evaluation.network={there}')
  trees = {'params': {}, 'state': {}}
  for name, array in arrays.items():
    kind, _, rest = name.partition('/')
    module, _, leaf = rest.rpartition('/')
    if kind in trees:
      trees[kind].setdefault(module, {})[leaf] = array
  weights = _checked(config, trees, network, step, path)
  if metadata.get('digest') != weights.digest:
    raise UserError(f'{path!r} is damaged: its arrays are not those that were '
                    'written')
  return config, trees, network, step


def _checked(config: Any, trees: Mapping[str, Any], network: str, step: int,
             path: str) -> Weights:
  """Returns the weights, if the arrays fit the network that the config describes."""
  config = complete(config, path)
  model = build.make_model(config, 0, None)
  images = jax.ShapeDtypeStruct(
      (2, config.data.image_size, config.data.image_size, 3), np.float32)
  params, state = jax.eval_shape(
      lambda images: model.encoder.init(jax.random.PRNGKey(0), images, True),
      images)
  differ = []
  for like, tree in ((params, trees['params']), (state, trees['state'])):
    expected = {name: (tuple(x.shape), str(np.dtype(x.dtype)))
                for name, x in trees_lib.named(like).items()}
    found = {name: (tuple(x.shape), str(x.dtype))
             for name, x in trees_lib.named(tree).items()}
    differ += [f'{name}: {found.get(name, "missing")} there, '
               f'{expected.get(name, "none")} by the config'
               for name in sorted(expected.keys() | found.keys())
               if expected.get(name) != found.get(name)]
  if differ:
    raise UserError(f'{path!r} is of another architecture than its config says: '
                    + '; '.join(differ[:3]))
  # in haiku's order: digests and compiled functions depend on it
  params, state = (
      jax.tree.unflatten(jax.tree.structure(like), [
          np.asarray(tree[name]) for name in trees_lib.named(like)])
      for like, tree in ((params, trees_lib.named(trees['params'])),
                         (state, trees_lib.named(trees['state']))))
  return Weights(config, params, state, network, step, path,
                 _digest((params, state)))


def _check_finite(weights: Weights) -> None:
  for name, array in trees_lib.named((weights.params, weights.state)).items():
    if not np.isfinite(array).all():
      earlier = ''
      if not weights.path.endswith(SUFFIX):
        folder = find.parse(weights.path)[0]
        with contextlib.closing(
            checkpoint.Checkpoints(folder, read_only=True)) as opened:
          earlier = ': ' + find.listed([
              x for x in opened.steps() if x < weights.step])
      raise UserError(
          f'config key weights is {weights.path!r}: the {weights.network} encoder '
          f'of step {weights.step} has diverged, {name.partition(".")[2]} is not '
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
  digest = hashlib.sha256()
  for name, array in trees_lib.named(tree).items():
    digest.update(name.encode() + b'\0')
    digest.update(np.ascontiguousarray(array).tobytes())
  return digest.hexdigest()[:16]
