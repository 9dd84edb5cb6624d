"""A study: a grid of pretrainings, and a table of what each change costs.

  python -m byol_jax.main --config=configs/study.py:batch_size
  python -m byol_jax.main --config=configs/study.py:methods,cifar10 \\
      --config.study.seeds=1

Arguments: what is varied (batch_size, augmentation, target, predictor or methods), and
the config file of this folder that the cells start from (default fashion; with an
argument of its own behind a colon). docs/studies.md has the cells, and how to state
others.

A method's cells have the settings that the file has for this method, where its argument
names one, as in fashion:simclr. What the command line sets is for all cells.
"""

import os
import runpy

from byol_jax.config import cells
from byol_jax.methods import names as method_names


def _of_method(argument, own, name):
  """Returns the argument for another method: 'byol-400' or '400' gives 'moco-400'."""
  if own in argument:
    return argument.replace(own, name)
  return f'{name}-{argument}' if argument else name


def get_config(argument='methods'):
  axis, _, file = argument.partition(',')
  file, colon, its_argument = (file or 'fashion').partition(':')
  path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f'{file}.py')
  if not os.path.isfile(path):
    raise ValueError(f'there is no {path}: name a file of this folder, as in '
                     f'configs/study.py:{axis},cifar10')
  base = runpy.run_path(path)['get_config']
  c = base(*[its_argument] * bool(colon))
  settings = {}
  for name in method_names.METHODS:
    if name != c.method.name:
      try:
        other = base(_of_method(its_argument, c.method.name, name))
      except (LookupError, TypeError, ValueError):  # no method, or no argument
        break
      if other.method.name != name:
        break
      settings[name] = cells.differences(other, c)
  c.study.by_method = cells.written(settings)
  c.task, c.study.axis = 'study', axis
  return c
