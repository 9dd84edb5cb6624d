"""The command line.

  python -m byol_jax.main --config=configs/NAME.py [--workdir=DIR]
      [--config.key=value ...]
  byol_jax pretrain PHOTOS      and other short commands (config/verbs.py)

Exit codes: 0 done, or left in order on a signal; 1 it does not fit (preflight),
or a defect of this program; 2 a mistake of the user's; 75 a failure of the
machine, after which the same command goes on.
"""

from __future__ import annotations

from byol_jax import ending
from byol_jax.run import signals

# Later imports take seconds, in which Ctrl-C would end in a traceback.
if __name__ == '__main__':
  ending.open_console()  # first: files that are opened later take the free numbers
  signals.for_good()

import atexit
from collections.abc import Sequence
import contextlib
import importlib
import sys
import traceback
from typing import NoReturn

from byol_jax import __version__
from byol_jax import errors
from byol_jax.config import command
from byol_jax.config import names as task_names
from byol_jax.config import verbs
from byol_jax.errors import TransientError
from byol_jax.errors import UserError


def main(argv: Sequence[str]) -> int:
  """Runs the task of the config; returns the exit code."""
  with contextlib.suppress(AttributeError):  # tests replace stdout
    # a path that the console cannot show must not end in a traceback
    sys.stdout.reconfigure(errors='backslashreplace')
  if (any(argument in ('-h', '--help', '-help') for argument in argv[1:])
      or argv[1:] in (['help'], ['--version'])):
    with contextlib.suppress(BrokenPipeError):  # `| head` has closed it
      print(f'byol_jax {__version__}' if argv[1] == '--version' else
            f'{command.USAGE}\n\n{verbs.help_text()}\n\n{command.help_text()}')
      sys.stdout.flush()
    return 0
  try:
    if long := verbs.expanded(argv):
      argv = long
      print(verbs.shown(argv), flush=True)
    return _run(command.parse(argv))
  except UserError as error:
    print(f'byol_jax: {error}', file=sys.stderr)
    return 2
  except TransientError as error:
    print(f'byol_jax: {error}', file=sys.stderr)
    return errors.EXIT_CODE
  except Exception as error:  # a defect; the other processes must not wait for this one
    traceback.print_exc()
    backend = sys.modules.get('byol_jax.devices.backend')
    return errors.EXIT_CODE if backend and backend.is_transient(error) else 1


def _run(asked: command.Command) -> int:
  """Runs a task; returns the exit code."""
  # importing jax takes seconds: a wrong command line is answered before
  try:
    import jax  # noqa: F401
  except ValueError as error:  # a variable that it cannot read
    raise UserError(f'jax cannot start ({error}): mend or unset the variable JAX_... '
                    'of the environment') from error
  from byol_jax.devices import backend
  from byol_jax.devices import compiler
  from byol_jax.devices import hosts
  from byol_jax.run import console as console_lib
  from byol_jax.run import orbax_repairs
  from byol_jax.storage import bucket
  if signals.are_ours():  # another program's jax may have read them, and has threads
    backend.check_flags()
  compiler.set_compiler_flags()
  compiler.pin_numbers()
  bucket.choose_library()
  config, task = asked.config, asked.config.task
  if task == 'study':  # its runs are processes of their own
    compiler.leave_accelerators()
  elif config.shard:  # its processes know nothing of one another
    if asked.flags['distributed'] == 'on':
      raise UserError('--distributed=on, but config key shard makes each process work '
                      'by itself: leave out one of the two')
  else:
    hosts.initialize(asked.flags['distributed'], config.safety.heartbeat,
                     config.safety.startup_timeout)
  backend.require()
  console_lib.setup_console()
  if task not in task_names.LEAVING:
    signals.interrupt()
  if task in ('pretrain', 'study', *task_names.EVALUATING):
    orbax_repairs.silence()
  with backend.explained(backend.advice(task)):
    module = importlib.import_module(
        f'byol_jax.tasks.{"evaluate" if task in task_names.MEASURING else task}')
    named = (asked.name,) if task in task_names.BESIDE else ()
    fits = module.run(config, asked.workdir, *named)
  return 1 if fits is False else 0  # preflight's answer; others return none


def _exit(code: int) -> NoReturn:
  """Ends the process, without joining its threads.

  Python would join them (https://github.com/python/cpython/issues/83993): the threads
  that orbax leaves behind after a failed save wait for ten minutes, and a Ctrl-C
  meanwhile would end a process that has done its work.
  """
  # a process that failed must not wait for the others: they would wait for it in a
  # barrier, while its heartbeat goes on
  hosts = sys.modules.get('byol_jax.devices.hosts')
  if not (code and hosts and hosts.is_one_of_several()):
    atexit._run_exitfuncs()
  ending.exit_saying(code, '', sys.stdout)


if __name__ == '__main__':
  _exit(main(sys.argv))
