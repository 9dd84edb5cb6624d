"""The command line: turns argv into a config, or says what is wrong in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import importlib.machinery
import importlib.util
import linecache
import os
import re
import sys
import traceback
from typing import Any, NamedTuple

import ml_collections

from byol_jax.config import keys as keys_lib
from byol_jax.config import kinds
from byol_jax.config import names as task_names
from byol_jax.config import rules
from byol_jax.config.keys import Key
from byol_jax.errors import UserError
from byol_jax.storage import files as files_lib

USAGE = ('usage: python -m byol_jax.main --config=configs/NAME.py '
         '[--workdir=DIR] [--config.key=value ...]\n'
         '   or: byol_jax pretrain PHOTOS, and other short commands (--help)')
FLAGS = {
    'config': Key('', kinds.path(), 'the config file, or the name of one that comes '
                  'with byol_jax; its argument follows a colon, as in '
                  'configs/imagenet_r50.py:300'),
    'workdir': Key('', kinds.path(), 'where the run lives; empty: runs/NAME of the '
                   'config, for evaluations a folder beside the weights'),
    'distributed': Key('auto', kinds.choice('auto', 'on', 'off'), 'whether this is one '
                       'of several processes; auto: if a cluster is found'),
}
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# where the configs that come with byol_jax lie: within an installed package, or beside
# the package in a clone of the repository
_SHIPPED = (os.path.join(_PACKAGE, 'configs'),
            os.path.join(os.path.dirname(_PACKAGE), 'configs'))
_MODULE = 'config_config'  # the config file's name among Python's modules
_MOST_SHOWN = 400  # characters of another's message


class Command(NamedTuple):
  """A command line that was understood: the config, its name, the other flags."""
  config: ml_collections.ConfigDict
  name: str
  flags: dict[str, Any]

  @property
  def workdir(self) -> str | None:
    """Returns where the task writes; None where it finds a place by itself."""
    if self.flags['workdir'] or self.config.task not in task_names.IN_RUNS:
      return self.flags['workdir'] or None
    return os.path.join('runs', self.name)


def help_text() -> str:
  """Returns every flag and key with its default, use and range."""
  return ('Flags, each with its default:\n'
          + '\n'.join(key.described(name) for name, key in FLAGS.items())
          + f'\n\nKeys of the config, likewise:\n{keys_lib.described()}')


def parse(argv: Sequence[str], flags: Mapping[str, Key] = FLAGS) -> Command:
  """Reads the command line.

  Flags may stand in any order, with one dash or two, as --flag=value or --flag value;
  the last one of a name counts.

  Args:
    argv: the program's name and its arguments.
    flags: the flags beside --config.key; `config` is one of them.

  Raises:
    UserError: anything is wrong with the command line.
  """
  given = _given(argv[1:], flags)
  path = given.pop('config', None)
  if path is None:
    raise UserError(f'--config is missing\n{USAGE}')
  return made(path, {name.removeprefix('config.'): value
                     for name, value in given.items() if name not in flags},
              {name: given.get(name, flag.default) for name, flag in flags.items()})


def made(path: str, values: Mapping[str, Any], flags: Mapping[str, Any]) -> Command:
  """Makes a command of a config and of values that take the place of the config's.

  Args:
    path: a config file, or the name of one that comes with byol_jax, as `find` takes
      it; its argument follows a colon.
    values: by key, as in {'train.epochs': 100}.
    flags: the values of the other flags.

  Raises:
    UserError: there is no such config, or a key or a value is wrong.
  """
  name, colon, argument = kinds.at_home(path).partition(':')
  file = find(name)
  if not file:
    raise UserError(f'--config={path}: there is no such file{_shipped(name)}')
  for key in values:
    if key not in keys_lib.KEYS:
      raise UserError(rules.unknown(key))
  config = _loaded(path, file, [argument] if colon else [])
  rules.check_keys(config)
  with config.ignore_type():  # values are checked below; a file may have other types
    config.update_from_flattened_dict(dict(values))
  if config.task in task_names.EVALUATING and not config.data.own:
    config.data.own = ','.join(
        key.removeprefix('data.') for key in keys_lib.of_the_data()
        if key in values and values[key] == keys_lib.KEYS[key].default)
  rules.validate(config)
  config.update_from_flattened_dict({
      key: kinds.at_home(value) for key, value in files_lib.flatten(config).items()
      if keys_lib.KEYS[key].kind.is_path})
  return Command(
      config, os.path.basename(file).removesuffix('.py') + '_' * bool(colon)
      + argument.replace(',', '_'),  # of workdirs, which commas separate elsewhere
      {flag: kinds.at_home(value) if flag == 'workdir' else value
       for flag, value in flags.items()})


def find(name: str) -> str:
  """Returns the path of a config file; '' if there is none.

  A file of the user's comes first. `folder`, `folder.py` and `configs/folder.py` are
  otherwise the config of that name that comes with byol_jax: an installed package has
  no folder configs/ in the place where a user works.
  """
  if os.path.isfile(name):
    return name
  file = name.removeprefix('configs/').removesuffix('.py') + '.py'
  return next((path for folder in _SHIPPED for path in [os.path.join(folder, file)]
               if file == os.path.basename(file) and os.path.isfile(path)), '')


def _shipped(name: str) -> str:
  """Returns the end of a message: the config of byol_jax with the nearest name."""
  known = sorted(file.removesuffix('.py') for folder in _SHIPPED
                 if os.path.isdir(folder) for file in os.listdir(folder)
                 if file.endswith('.py'))
  return kinds.nearest(os.path.basename(name).removesuffix('.py'), known)


def _given(arguments: Sequence[str], flags: Mapping[str, Key]) -> dict[str, Any]:
  """Returns the command line's values: {'workdir': ..., 'config.data.path': ...}."""
  known = dict(flags) | {f'config.{name}': key for name, key in keys_lib.KEYS.items()}
  given, rest = {}, iter(arguments)
  for argument in rest:
    if not argument.startswith('-') or argument == '--':  # behind -- are no flags
      if argument == '--' and (argument := next(rest, None)) is None:
        break
      raise UserError(f'unexpected argument {kinds.shown(argument)}\n{USAGE}')
    name, has_value, text = argument.removeprefix('-').removeprefix('-').partition('=')
    opposite = name.removeprefix('no')
    if name in known and known[name].kind.type is bool and not has_value:
      given[name] = True
    elif (name not in known and not has_value and opposite in known
          and known[opposite].kind.type is bool):
      given[opposite] = False
    elif name not in known:
      raise UserError(_unknown(name))
    else:
      if not has_value and (text := next(rest, None)) is None:
        raise UserError(f'Missing value for flag --{name}')
      called = f'config key {name[7:]}' if name.startswith('config.') else f'--{name}'
      given[name] = known[name].kind.read(called, text)
  return given


def _unknown(flag: str) -> str:
  """Returns the message for a flag that does not exist."""
  shown = ' '.join(flag.split())[:_MOST_SHOWN]
  if flag.startswith('config.'):
    return rules.unknown(shown.removeprefix('config.'))
  if flag in ('flagfile', 'undefok'):
    return f'--{flag} is not understood: write the flags on the command line'
  near = f' (did you mean --config.{flag}?)' if flag in keys_lib.KEYS else ''
  return f'unknown flag --{shown}{near}\n{USAGE}'


def _loaded(path: str, file: str, arguments: list[str]) -> ml_collections.ConfigDict:
  """Runs a config file's get_config, and locks what it returns."""
  try:
    loader = importlib.machinery.SourceFileLoader(_MODULE, file)
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader(_MODULE, loader))
    sys.modules[_MODULE] = module  # dataclasses look there
    loader.exec_module(module)
    config = module.get_config(*arguments)
    if isinstance(config, ml_collections.ConfigDict):
      return config.lock()
  # a config file is code: anything can go wrong
  except (Exception, SystemExit) as error:
    where = _line(error, file)
    message = ' '.join(_why(error, file, where).split())
    if len(message) > _MOST_SHOWN:
      message = f'{message[:_MOST_SHOWN]} ...'
    raise UserError(f'--config={path}{f", line {where}" if where else ""}: '
                    f'{message}') from error
  raise UserError(f'--config={path}: get_config() must return a ConfigDict')


def _why(error: BaseException, file: str, line: int) -> str:
  """Returns what is wrong with a config file; `line` is where, 0 if unknown."""
  name, message = type(error).__name__, str(error)
  frames = list(traceback.walk_tb(error.__traceback__))
  if frames and frames[-1][0].f_globals['__name__'].startswith('ml_collections'):
    # the message begins with a part of the unknown key
    unknown = re.match(r'(?:Key ["\'])?([\w.]+)(?:["\'](?! object)|$)',
                       message.replace('\\', '').strip('"\''))
    if unknown:
      linecache.checkcache(file)
      written = re.findall(r'\w+\.([\w.]+)', linecache.getline(file, line))
      return rules.unknown(next((key for key in written
                                 if f'.{unknown[1]}.' in f'.{key}.'), unknown[1]))
  return f'{name}: {message}' if message else name


def _line(error: BaseException | None, file: str) -> int:
  """Returns the line of a file where an error or its cause was raised; 0 for none."""
  line = 0
  while error is not None:
    for frame, number in traceback.walk_tb(error.__traceback__):
      if frame.f_code.co_filename == file:
        line = number
    error = error.__cause__ or error.__context__
  return line
