"""The command line: argv becomes a config, or a line that says what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
import linecache
import os
import re
import traceback

from absl import flags
import ml_collections
from ml_collections import config_flags

from byol_jax.config import keys as keys_lib
from byol_jax.config import kinds
from byol_jax.config import rules
from byol_jax.errors import UserError
from byol_jax.storage import files as files_lib

USAGE = ('usage: python -m byol_jax.main --config=configs/NAME.py '
         '[--workdir=DIR] [--config.key=value ...]')
_MOST_SHOWN = 400  # characters of another's message


def define_flags(argv: Sequence[str]) -> flags.FlagValues:
  """The flags of this program, and no other module's, for a command line."""
  values = flags.FlagValues()
  try:
    config_flags.DEFINE_config_file(
        'config', None, 'the config file, with an argument after a colon '
        '(configs/imagenet_r50.py:300)', flag_values=values,
        sys_argv=list(argv))
  except flags.Error as error:  # of a --flagfile
    raise UserError(str(error)) from error
  flags.DEFINE_string(
      'workdir', None, 'where the run lives; runs/NAME of the config by default',
      flag_values=values)
  flags.DEFINE_enum(
      'distributed', 'auto', ('auto', 'on', 'off'),
      'whether this process is one of several (jax.distributed); auto: if a '
      'cluster is found',
      flag_values=values)
  return values


def parse(
    argv: Sequence[str], values: flags.FlagValues,
) -> tuple[ml_collections.ConfigDict, str]:
  """Reads the command line.

  Args:
    argv: the program's name and its arguments.
    values: of `define_flags`; parsed here.

  Returns:
    The config, checked, and its name.

  Raises:
    UserError: anything is wrong with it.
  """
  path = _value_of('config', argv)
  if path is None:
    raise UserError(f'--config is missing\n{USAGE}')
  if not os.path.isfile(path.split(':')[0]):
    raise UserError(f'--config={path}: there is no such file')
  try:
    rest = values(list(argv))
    config = values.config
    hasattr(config, 'lock')  # raises what kept the file from being read
  # a config file is code: anything can go wrong
  except (Exception, SystemExit) as error:
    raise UserError(_why(error, argv, path)) from error
  if len(rest) > 1:
    raise UserError(f'unexpected argument {rest[1]!r}\n{USAGE}')
  if not isinstance(config, ml_collections.ConfigDict):
    raise UserError(f'--config={path}: get_config() must return a ConfigDict')
  rules.validate(config)
  name = os.path.basename(path.split(':')[0]).removesuffix('.py')
  if ':' in path:
    name += '_' + path.split(':', 1)[1]
  return config, name


def last_of_each_list(argv: Sequence[str]) -> list[str]:
  """Without lists that are given again later: ml_collections would join them."""
  lists = {f'config.{key}' for key, value in files_lib.flatten(
      keys_lib.base()).items() if isinstance(value, list)}
  kept, seen = [], set()
  for argument in reversed(argv):
    flag, is_given, _ = argument.lstrip('-').partition('=')
    if not (is_given and flag in lists and flag in seen):
      kept.append(argument)
    seen.add(flag)
  return kept[::-1]


def config_first(argv: Sequence[str]) -> list[str]:
  """With --config before its keys: ml_collections takes no other order."""
  end = argv.index('--') if '--' in argv else len(argv)  # of the flags
  path, rest = _value_of('config', argv), []
  arguments = iter(argv[1:end])
  for argument in arguments:
    if argument in ('--config', '-config'):
      if next(arguments, None) is None:
        rest.append(argument)  # absl says that its value is missing
    elif not argument.startswith(('--config=', '-config=')):
      rest.append(argument)
  return [argv[0], *([] if path is None else [f'--config={path}']), *rest,
          *argv[end:]]


def _value_of(flag: str, argv: Sequence[str]) -> str | None:
  """The last --flag=value or --flag value."""
  value = None
  for i, argument in enumerate(argv):
    if argument == '--':  # no flags follow
      break
    if argument.startswith((f'--{flag}=', f'-{flag}=')):
      value = argument.split('=', 1)[1]
    elif argument in (f'--{flag}', f'-{flag}') and i + 1 < len(argv):
      value = argv[i + 1]
  return value


def _why(error: BaseException, argv: Sequence[str], path: str) -> str:
  """What is wrong with a command line or its config file, in a line."""
  known = list(files_lib.flatten(keys_lib.base()))
  line = _line(error, path.split(':')[0])
  is_flag = isinstance(error, flags.Error) and not line
  if not is_flag and not line:
    for argument in argv:
      if argument.lstrip('-').startswith('config.'):
        key = argument.lstrip('-').split('=')[0].removeprefix('config.')
        if key not in known:
          return f'unknown config key {key}{kinds.nearest(key, known)}'
  if isinstance(error, OSError) and error.__cause__:
    error = error.__cause__
  message = str(error).strip()
  # ml_collections knows no more than a part of the key
  unknown = (re.search(r'Did you mean ".+?" instead of "(.+?)"', message)
             or re.search(r'Key "(.+?)" (?:does not exist|cannot be set)', message)
             or isinstance(error, AttributeError)
             and re.fullmatch(r"""["']*([\w.]+)["']*""", message))
  if unknown:
    key = _as_written(path.split(':')[0], line, unknown[1])
    message = f'unknown config key {key}{kinds.nearest(key, known)}'
  elif 'parsing config file' in message:  # a whole traceback: its last line
    message, is_flag = message.splitlines()[-1], False
  elif not isinstance(error, flags.Error):
    name = type(error).__name__
    message = f'{name}: {message}' if message else name
  if isinstance(error, flags.UnrecognizedFlagError) and error.flagname in known:
    message += f' (did you mean --config.{error.flagname}?)'
  message = ' '.join(message.split())
  if len(message) > _MOST_SHOWN:
    message = f'{message[:_MOST_SHOWN]} ...'
  return message if is_flag else f'--config={path}{line}: {message}'


def _as_written(file: str, line: str, part: str) -> str:
  """The key of a config file's line that has a part: c.a.b.d = 1 has a.b.d."""
  if line:
    linecache.checkcache(file)
    written = linecache.getline(file, int(line.split()[-1]))
    for key in re.findall(r'\w+\.([\w.]+)', written):
      if part in key:
        return key
  return part


def _line(error: BaseException | None, file: str) -> str:
  """', line 7', where an error was raised in a file, or was first of all."""
  line = ''
  while error is not None:
    for frame, number in traceback.walk_tb(error.__traceback__):
      if frame.f_code.co_filename == file:
        line = f', line {number}'
    error = error.__cause__ or error.__context__
  return line
