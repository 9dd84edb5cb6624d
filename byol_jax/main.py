"""The command line.

  python -m byol_jax.main --config=configs/NAME.py [--workdir=DIR]
      [--config.key=value ...]

Exit codes: 0 done, or left in order on a signal; 2 a mistake of the user's; 75 a
failure of the machine, after which the same command goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
import os
import sys

from absl import flags
import ml_collections
from ml_collections import config_flags

from byol_jax import config as config_lib
from byol_jax import hosts
from byol_jax import logs
from byol_jax import parallel
from byol_jax import watchdog
from byol_jax.errors import TransientError
from byol_jax.errors import UserError

_USAGE = ('usage: python -m byol_jax.main --config=configs/NAME.py '
          '[--workdir=DIR] [--config.key=value ...]')


def define_flags(argv: Sequence[str]) -> flags.FlagValues:
  """The flags of this program, and no other module's, for a command line."""
  values = flags.FlagValues()
  config_flags.DEFINE_config_file(
      'config', None, 'the config file, with an argument after a colon '
      '(configs/imagenet_r50.py:300)', flag_values=values,
      sys_argv=list(argv))
  flags.DEFINE_string(
      'workdir', None, 'where the run lives; runs/NAME of the config by default',
      flag_values=values)
  flags.DEFINE_enum(
      'distributed', 'off', ('on', 'off'),
      'whether this process is one of several (jax.distributed)',
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
  except flags.UnrecognizedFlagError as error:
    raise UserError(f'{error}') from error
  except (KeyError, AttributeError) as error:
    raise UserError(_unknown_key(argv, error)) from error
  except Exception as error:  # a config file is code: anything can go wrong
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if 'parsing config file' in lines[0]:  # a whole traceback: its last line
      lines = lines[-1:]
    raise UserError(f'--config={path}: {lines[0].strip()}') from error
  if len(rest) > 1:
    raise UserError(f'unexpected argument {rest[1]!r}\n{_USAGE}')
  if not isinstance(config, ml_collections.ConfigDict):
    raise UserError(f'--config={path}: get_config() must return a ConfigDict')
  config_lib.validate(config)
  name = os.path.basename(path.split(':')[0]).removesuffix('.py')
  if ':' in path:
    name += '_' + path.split(':', 1)[1]
  return config, name


def _value_of(flag: str, argv: Sequence[str]) -> str | None:
  """The last --flag=value or --flag value."""
  value = None
  for i, argument in enumerate(argv):
    if argument.startswith((f'--{flag}=', f'-{flag}=')):
      value = argument.split('=', 1)[1]
    elif argument in (f'--{flag}', f'-{flag}') and i + 1 < len(argv):
      value = argv[i + 1]
  return value


def _unknown_key(argv: Sequence[str], error: Exception) -> str:
  """Names the first override of a key that does not exist."""
  known = list(config_lib.flatten(config_lib.base()))
  for argument in argv:
    if argument.lstrip('-').startswith('config.'):
      key = argument.lstrip('-').split('=')[0].removeprefix('config.')
      if key not in known:
        return f'unknown config key {key}{config_lib.nearest(key, known)}'
  message = error.args[0] if error.args else error
  return 'the config file fails: ' + ' '.join(str(message).split())


def main(argv: Sequence[str]) -> int:
  """Runs the task of the config; returns the exit code."""
  if any(argument in ('-h', '--help', '-help') for argument in argv[1:]):
    print(f'{_USAGE}\n\nEvery key with its default:')
    for key, value in config_lib.flatten(config_lib.base()).items():
      print(f'  --config.{key}={value}')
    return 0
  parallel.set_compiler_flags()
  try:
    values = define_flags(argv)
    config, name = parse(argv, values)
    workdir = values.workdir or os.path.join('runs', name)
    hosts.initialize(values.distributed, config.safety.heartbeat)
    logs.setup_console()
    if config.task == 'pretrain':
      from byol_jax import pretrain  # pylint: disable=g-import-not-at-top
      pretrain.run(config, workdir)
    elif config.task == 'prepare':
      from byol_jax import prepare  # pylint: disable=g-import-not-at-top
      prepare.run(config)
    return 0
  except UserError as error:
    print(f'byol_jax: {error}', file=sys.stderr)
    return 2
  except TransientError as error:
    print(f'byol_jax: {error}', file=sys.stderr)
    return watchdog.EXIT_CODE
  except KeyboardInterrupt:
    print('byol_jax: interrupted; the same command goes on from the last '
          'checkpoint', file=sys.stderr)
    return 130


def _exit(code: int) -> None:
  """Ends the process; of several, without waiting for the others on failure.

  They would wait for this one in a barrier, while its heart goes on beating.
  """
  if code and hosts.is_one_of_several():
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # pylint: disable=protected-access
  sys.exit(code)


if __name__ == '__main__':
  _exit(main(sys.argv))
