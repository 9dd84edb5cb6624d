"""The command line.

  python -m byol_jax.main --config=configs/NAME.py [--workdir=DIR]
      [--config.key=value ...]

Exit codes: 0 done, or left in order on a signal; 1 it does not fit (preflight),
or a defect of this program; 2 a mistake of the user's; 75 a failure of the
machine, after which the same command goes on.
"""

from __future__ import annotations

from byol_jax.run import signals

# The imports below take seconds, in which Ctrl-C would end in a traceback.
LEAVING = signals.for_good() if __name__ == '__main__' else None

# pylint: disable=wrong-import-position,g-import-not-at-top,g-bad-import-order
import atexit
from collections.abc import Sequence
import contextlib
import os
import sys
import traceback
from typing import NoReturn

import jax

from byol_jax import ending
from byol_jax import errors
from byol_jax.config import command
from byol_jax.config import keys as keys_lib
from byol_jax.devices import compiler
from byol_jax.devices import hosts
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.run import console as console_lib
from byol_jax.storage import bucket
from byol_jax.storage import files as files_lib
# pylint: enable=wrong-import-position,g-import-not-at-top,g-bad-import-order


def main(argv: Sequence[str]) -> int:
  """Runs the task of the config; returns the exit code."""
  with contextlib.suppress(AttributeError):  # what stands in for it in tests
    # a path that the console cannot show must not end in a traceback
    sys.stdout.reconfigure(errors='backslashreplace')
  if any(argument in ('-h', '--help', '-help') for argument in argv[1:]):
    with contextlib.suppress(BrokenPipeError):  # of `| head`, which has seen enough
      print(f'{command.USAGE}\n\nEvery key with its default:')
      for key, value in files_lib.flatten(keys_lib.base()).items():
        print(f'  --config.{key}={value}')
      sys.stdout.flush()
    return 0
  compiler.set_compiler_flags()
  compiler.pin_numbers()
  bucket.choose_library()
  argv = command.config_first(command.last_of_each_list(argv))
  try:
    values = command.define_flags(argv)
    config, name = command.parse(argv, values)
    workdir = values.workdir or os.path.join('runs', name)  # but of evaluations
    hosts.initialize(values.distributed, config.safety.heartbeat,
                     config.safety.startup_timeout)
    console_lib.setup_console()
    if config.task == 'pretrain':
      # pylint: disable=g-import-not-at-top
      from byol_jax.run import orbax_repairs
      from byol_jax.tasks import pretrain
      orbax_repairs.silence()
      pretrain.run(config, workdir)
    elif config.task == 'prepare':
      if LEAVING is not None:
        LEAVING.now = signals.Now.INTERRUPTED
      from byol_jax.tasks import prepare  # pylint: disable=g-import-not-at-top
      prepare.run(config)
    elif config.task in keys_lib.EVALUATING:
      if LEAVING is not None:
        LEAVING.now = signals.Now.INTERRUPTED
      # pylint: disable=g-import-not-at-top
      from byol_jax.run import orbax_repairs
      from byol_jax.tasks import evaluate
      orbax_repairs.silence()
      evaluate.run(config, values.workdir, name)
    elif config.task == 'compare':
      from byol_jax.tasks import compare  # pylint: disable=g-import-not-at-top
      compare.run(config.compare.workdirs)
    elif config.task == 'preflight':
      from byol_jax.tasks import preflight  # pylint: disable=g-import-not-at-top
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
