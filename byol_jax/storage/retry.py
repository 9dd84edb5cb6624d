"""Reads that are tried again while storage fails.

It fails for a moment: a network, a disk, too many files. What cannot be read only for
now must not count as a bad image: another would take its place, in this process and
not in others or after a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import logging
import time
from typing import TypeVar

from byol_jax import errors
from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.storage import failures

_console = logging.getLogger('byol_jax')

T = TypeVar('T')
_WAITS = (0.1, 0.4, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # seconds before each new try
_PATIENCE = 60.0  # seconds, after which no try is begun
_TRIES = 3  # but for so many: each may take a minute, for gcsfs, too, tries again;
MOST_PATIENCE = 300.0  # array_record does for 17 minutes, which must do


def insist(read: Callable[[], T], where: str) -> T:
  """What read() returns, maybe after some tries.

  Args:
    read: raises OSError or, as array_record does, RuntimeError.
    where: what it reads, for messages.

  Raises:
    TransientError: it failed for a minute.
    OSError: of the file itself: it will be there tomorrow.
    RuntimeError: of what the file holds.
  """
  since, tries = time.monotonic(), 0

  def passes(error: Exception) -> bool:
    nonlocal tries
    if not isinstance(error, (OSError, RuntimeError)) or not failures.may_pass(error):
      return False
    tries += 1
    if tries == _TRIES:  # not of every hiccup
      _console.warning('warning: cannot read %s (%s); trying again for a minute',
                       where, errors.one_line(error))
    return time.monotonic() - since < (
        MOST_PATIENCE if tries <= _TRIES else _PATIENCE)

  try:
    return again(read, _WAITS, passes)
  except (OSError, RuntimeError) as error:
    if not failures.may_pass(error):
      raise
    raise TransientError(f'cannot read {where} for {time.monotonic() - since:.0f} s '
                         f'now: {errors.one_line(error)}') from error


def again(act: Callable[[], T], waits: Sequence[float],
          passes: Callable[[Exception], bool] = lambda _: True) -> T:
  """What act() returns, called again after each wait while it fails.

  Args:
    act: may raise anything; UserError and TransientError are never tried again.
    waits: in seconds.
    passes: whether to try again after an error.

  Raises:
    Exception: act's last one.
  """
  for wait in waits:
    try:
      return act()
    except (UserError, TransientError):
      raise
    except Exception as error:
      if not passes(error):
        raise
    time.sleep(wait)
  return act()
