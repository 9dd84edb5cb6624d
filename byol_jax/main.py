"""The command line.

  python -m byol_jax.main --config=configs/NAME.py [--workdir=DIR]
      [--config.key=value ...]

Exit codes: 0 done, or left in order on a signal; 1 it does not fit (preflight),
or a defect of this program; 2 a mistake of the user's; 75 a failure of the
machine, after which the same command goes on.
"""

from __future__ import annotations

from byol_jax import config as config_lib
from byol_jax import ending
from byol_jax import errors
from byol_jax.devices import compiler
from byol_jax.devices import hosts
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.run import console as console_lib
from byol_jax.run import signals
from byol_jax.storage import bucket
from byol_jax.storage import files as files_lib

# The imports below take seconds, in which Ctrl-C would end in a traceback.
LEAVING = signals.for_good() if __name__ == '__main__' else None

# pylint: disable=wrong-import-position,g-import-not-at-top,g-bad-import-order
import atexit
from collections.abc import Sequence
import contextlib
import linecache
import os
import re
import sys
import traceback
from typing import NoReturn

from absl import flags
import jax
import ml_collections
from ml_collections import config_flags


# pylint: enable=wrong-import-position,g-import-not-at-top,g-bad-import-order

_USAGE = ('usage: python -m byol_jax.main --config=configs/NAME.py '
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
    raise UserError(f'--config is missing\n{_USAGE}')
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
    raise UserError(f'unexpected argument {rest[1]!r}\n{_USAGE}')
  if not isinstance(config, ml_collections.ConfigDict):
    raise UserError(f'--config={path}: get_config() must return a ConfigDict')
  config_lib.validate(config)
  name = os.path.basename(path.split(':')[0]).removesuffix('.py')
  if ':' in path:
    name += '_' + path.split(':', 1)[1]
  return config, name


def _last_of_each_list(argv: Sequence[str]) -> list[str]:
  """Without lists that are given again later: ml_collections would join them."""
  lists = {f'config.{key}' for key, value in files_lib.flatten(
      config_lib.base()).items() if isinstance(value, list)}
  kept, seen = [], set()
  for argument in reversed(argv):
    flag, is_given, _ = argument.lstrip('-').partition('=')
    if not (is_given and flag in lists and flag in seen):
      kept.append(argument)
    seen.add(flag)
  return kept[::-1]


def _config_first(argv: Sequence[str]) -> list[str]:
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
  known = list(files_lib.flatten(config_lib.base()))
  line = _line(error, path.split(':')[0])
  is_flag = isinstance(error, flags.Error) and not line
  if not is_flag and not line:
    for argument in argv:
      if argument.lstrip('-').startswith('config.'):
        key = argument.lstrip('-').split('=')[0].removeprefix('config.')
        if key not in known:
          return f'unknown config key {key}{config_lib.nearest(key, known)}'
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
    message = f'unknown config key {key}{config_lib.nearest(key, known)}'
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


def main(argv: Sequence[str]) -> int:
  """Runs the task of the config; returns the exit code."""
  with contextlib.suppress(AttributeError):  # what stands in for it in tests
    # a path that the console cannot show must not end in a traceback
    sys.stdout.reconfigure(errors='backslashreplace')
  if any(argument in ('-h', '--help', '-help') for argument in argv[1:]):
    with contextlib.suppress(BrokenPipeError):  # of `| head`, which has seen enough
      print(f'{_USAGE}\n\nEvery key with its default:')
      for key, value in files_lib.flatten(config_lib.base()).items():
        print(f'  --config.{key}={value}')
      sys.stdout.flush()
    return 0
  compiler.set_compiler_flags()
  compiler.pin_numbers()
  bucket.choose_library()
  argv = _config_first(_last_of_each_list(argv))
  try:
    values = define_flags(argv)
    config, name = parse(argv, values)
    workdir = values.workdir or os.path.join('runs', name)  # but of evaluations
    hosts.initialize(values.distributed, config.safety.heartbeat,
                     config.safety.startup_timeout)
    console_lib.setup_console()
    if config.task == 'pretrain':
      # pylint: disable=g-import-not-at-top
      from byol_jax.run import orbax_repairs
      from byol_jax import pretrain
      orbax_repairs.silence()
      pretrain.run(config, workdir)
    elif config.task == 'prepare':
      if LEAVING is not None:
        LEAVING.now = signals.interrupt
      from byol_jax import prepare  # pylint: disable=g-import-not-at-top
      prepare.run(config)
    elif config.task in config_lib.EVALUATING:
      if LEAVING is not None:
        LEAVING.now = signals.interrupt
      # pylint: disable=g-import-not-at-top
      from byol_jax.run import orbax_repairs
      from byol_jax.evaluation import evaluate
      orbax_repairs.silence()
      evaluate.run(config, values.workdir, name)
    elif config.task == 'compare':
      from byol_jax.evaluation import compare  # pylint: disable=g-import-not-at-top
      compare.run(config.compare.workdirs)
    elif config.task == 'preflight':
      from byol_jax import preflight  # pylint: disable=g-import-not-at-top
      return 0 if preflight.run(config, workdir) else 1
    return 0
  except UserError as error:
    print(f'byol_jax: {error}', file=sys.stderr)
    return 2
  except TransientError as error:
    print(f'byol_jax: {error}', file=sys.stderr)
    return errors.EXIT_CODE
  except jax.errors.JaxRuntimeError:  # a device, or another process
    traceback.print_exc()
    return errors.EXIT_CODE
  except Exception:  # a defect; the others must not wait for this process
    traceback.print_exc()
    return 1


def _exit(code: int) -> NoReturn:
  """Ends the process, without joining its threads.

  Python would join them: those that orbax leaves behind a save that failed wait for
  ten minutes, and a Ctrl-C meanwhile would end a process that has done its work.
  """
  # of several, one that failed must not wait for the others: they would wait for
  # it in a barrier, while its heart goes on beating
  if not (code and hosts.is_one_of_several()):
    atexit._run_exitfuncs()  # pylint: disable=protected-access
  ending.exit_saying(code, '', sys.stdout)


if __name__ == '__main__':
  _exit(main(sys.argv))
