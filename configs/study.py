"""A study: a grid of pretrainings, and a table of what each change costs.

  python -m byol_jax.main --config=configs/study.py:batch_size
  python -m byol_jax.main --config=configs/study.py:methods,cifar10 \\
      --config.study.seeds=1
  python -m byol_jax.main --config=configs/study.py:methods,imagenet_r50:300 \\
      --config.data.path=gs://BUCKET/tensorflow_datasets

Arguments: what is varied (batch_size, augmentation, target, predictor or methods), and
the config file of this folder that the cells start from (default fashion; with an
argument of its own behind a colon). docs/studies.md has the cells, and how to state
others.

A method's cells have the settings that this folder has for the method: those of the
file with the method as its argument, as in fashion:simclr, or of a file of their own,
as simclr_r50 for imagenet_r50 (for batch_size and augmentation the SimCLR of BYOL's
paper). They win over what the command line sets for all cells.

Two CPU cores, fashion: about 4 minutes a run. With three seeds methods takes 50
minutes, target one hour, augmentation 1.6 hours, batch_size two, predictor 2.4.
The figures to expect are in docs/results.md, those of the papers beside them.
"""

import math
import os
import runpy

from byol_jax.config import cells
from byol_jax.methods import names as method_names

_FOLDER = os.path.dirname(os.path.abspath(__file__))
_OF_THE_PAPER = ('batch_size', 'augmentation')  # they have a SimCLR of their own
_R50 = {'byol': 'imagenet_r50'} | {
    name: f'{name}_r50' for name in method_names.METHODS if name != 'byol'}


def _path(file):
  return os.path.join(_FOLDER, f'{file}.py')


def _exists(file):
  return os.path.isfile(_path(file))


def _load(file, name='get_config'):
  return runpy.run_path(_path(file))[name]


def _of_method(argument, own, name):
  """Returns the argument for another method: 'byol-400' or '400' gives 'moco-400'."""
  if own in argument:
    return argument.replace(own, name)
  return f'{name}-{argument}' if argument else name


def _of_r50(name, epochs):
  """Returns a method's config of ImageNet, of BYOL's presets the nearest one."""
  preset = epochs
  if name == 'byol':
    preset = min(_load(_R50[name], 'PRESETS'),
                 key=lambda x: abs(math.log(x / float(epochs))))
  c = _load(_R50[name])(preset)
  c.train.epochs = float(epochs)
  return c


def _papers_simclr(epochs):
  """Returns the SimCLR of BYOL's tables 16 and 17: BYOL's but for loss and head."""
  c = _of_r50('byol', epochs)
  c.method.name = 'simclr'
  c.network.projector_layers = 2
  c.network.projector_hidden_size, c.network.projection_size = 2048, 128
  return c


def _others(axis, file, argument, c):
  """Yields the configs of the other methods, as far as there are any."""
  for name in method_names.METHODS:
    if name == c.method.name or file.endswith('_r50') and not _exists(_R50[name]):
      continue
    try:
      if file.endswith('_r50'):  # a file each, and all take the number of epochs
        epochs = argument or f'{c.train.epochs:g}'
        other = (_papers_simclr(epochs) if name == 'simclr' and axis in _OF_THE_PAPER
                 else _of_r50(name, epochs))
      else:
        other = _load(file)(_of_method(argument, c.method.name, name))
    except (LookupError, TypeError, ValueError):  # no method, or no argument
      continue
    if other.method.name == name:
      yield name, other


def get_config(argument='methods'):
  axis, _, file = argument.partition(',')
  file, colon, its_argument = (file or 'fashion').partition(':')
  if not _exists(file):
    raise ValueError(f'there is no {_path(file)}: name a file of this folder, as in '
                     f'configs/study.py:{axis},cifar10')
  c = _load(file)(*[its_argument] * bool(colon))
  c.study.by_method = cells.written({
      name: cells.differences(other, c) for name, other in _others(
          axis, file, its_argument, c)})
  c.task, c.study.axis = 'study', axis
  return c
