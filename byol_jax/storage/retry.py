"""Makes calls again when they fail, by named policies.

Storage may fail for a moment: a network, a disk, too many open files. An image that
cannot be read now must not count as bad: another image would take its place, in this
process and not in others or after a restart.
"""

from __future__ import annotations

from collections.abc import Callable
import logging
import math
import time
from typing import NamedTuple, TypeVar

from byol_jax import errors
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.storage import failures

_console = logging.getLogger('byol_jax')

T = TypeVar('T')
_TOLD = 3  # failures in a row before one is logged


class Policy(NamedTuple):
  """The number of tries, and the time, for a call that fails.

  Attributes:
    waits: seconds before each new try.
    patience: seconds after which no new try begins.
    first_tries: so many first tries have `first_patience` instead, where a single try
      may take as long as the whole patience.
    first_patience: seconds.
  """
  waits: tuple[float, ...]
  patience: float = math.inf
  first_tries: int = 0
  first_patience: float = math.inf


# Data is tried for a minute. The libraries try again, too: one try of gcsfs may take a
# minute, so three are begun within five minutes; one of array_record takes 17 minutes
# (as https://github.com/facebookincubator/velox/pull/9064), and is the only one.
READ = Policy((0.1, 0.4, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0), patience=60.0,
              first_tries=3, first_patience=300.0)
# The run has not begun, or waits at its end: some twenty seconds.
CHECKPOINT = Policy((1.0, 5.0, 15.0))
LAST_SAVE = Policy((1.0, 4.0, 15.0))
# The run goes on meanwhile: the last wait is repeated without end.
BACKGROUND_SAVE = Policy((5.0, 20.0, 60.0, 300.0))
# Shorter than the time that the holder of a lock may be silent.
LOCK = Policy((0.1, 1.0))


def again(act: Callable[[], T], policy: Policy,
          may_pass: Callable[[Exception, float], bool] = (
              lambda error, _: not isinstance(error, (UserError, TransientError))),
          sleep: Callable[[float], None] | None = None) -> T:
  """Returns act(), called again after each wait while it fails.

  Args:
    act: may raise anything.
    policy: the waits and the patience.
    may_pass: (error, seconds until the next try) -> whether to try again.
    sleep: waits for so many seconds; time.sleep by default.

  Raises:
    Exception: the last error of act.
  """
  since = time.monotonic()
  for tries, wait in enumerate(policy.waits, 1):
    try:
      return act()
    except Exception as error:
      patience = (policy.first_patience if tries <= policy.first_tries
                  else policy.patience)
      if not may_pass(error, wait) or time.monotonic() - since >= patience:
        raise
    (sleep or time.sleep)(wait)
  return act()


def insist(read: Callable[[], T], where: str) -> T:
  """Returns read(), called again by the policy `READ` while storage fails.

  Args:
    read: raises OSError or, as array_record does, RuntimeError.
    where: the file's name, for messages.

  Raises:
    TransientError: the read failed for a minute.
    OSError: the file itself is at fault, and trying again is of no use.
    RuntimeError: the file's content is at fault.
  """
  since, failed = time.monotonic(), 0

  def may_pass(error: Exception, _: float) -> bool:
    nonlocal failed
    if not isinstance(error, (OSError, RuntimeError)) or not failures.may_pass(error):
      return False
    failed += 1
    if failed == _TOLD:
      _console.warning('cannot read %s (%s); trying again for a minute',
                       where, errors.one_line(error))
    return True

  try:
    return again(read, READ, may_pass)
  except (OSError, RuntimeError) as error:
    if not failures.may_pass(error):
      raise
    raise TransientError(f'cannot read {where} for {time.monotonic() - since:.0f} s '
                         f'now: {errors.one_line(error)}') from error
