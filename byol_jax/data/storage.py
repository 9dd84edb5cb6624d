"""Reads that are tried again while storage fails: a network, a disk, too many files.

What cannot be read only for now must not count as a bad image: another would take
its place, in this process and not in others or after a restart.
"""

from __future__ import annotations

from collections.abc import Callable
import errno
import logging
import os
import re
import time
from typing import TypeVar

from byol_jax.errors import TransientError

T = TypeVar('T')

_console = logging.getLogger('byol_jax')

_WAITS = (0.1, 0.4, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # seconds before each new try
# errors of the file itself, which will be there tomorrow
FINAL = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EACCES,
         errno.ENAMETOOLONG)
_FINAL_WORDS = {os.strerror(number) for number in FINAL}
# array_record says 'open() failed: Too many open files; opening ...'; of damage it
# says something else
_OF_THE_SYSTEM = re.compile(r'\w+\(\) failed: ([^;]+)')
_OF_A_BUCKET = re.compile('UNAVAILABLE|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|ABORTED|'
                          'HTTP|[Tt]imed out|[Cc]onnection|[Rr]esolve')


def insist(read: Callable[[], T], where: str) -> T:
  """What read() returns, maybe after some tries.

  Args:
    read: raises OSError or, as array_record does, RuntimeError.
    where: what it reads, for messages.

  Raises:
    TransientError: it failed for a minute.
    OSError: of the file itself: one of `FINAL`.
    RuntimeError: of what the file holds.
  """
  for wait in (*_WAITS, None):
    try:
      return read()
    except (OSError, RuntimeError) as error:
      if not may_pass(error):
        raise
      if wait is None:
        raise TransientError(f'cannot read {where} for {sum(_WAITS):.0f} s now: '
                             f'{error}') from error
      if wait == _WAITS[2]:  # not of every hiccup
        _console.warning('warning: cannot read %s (%s); trying again for a minute',
                         where, error)
    time.sleep(wait)
  raise AssertionError('not reached')


def may_pass(error: Exception) -> bool:
  """Whether the same read may succeed later."""
  if isinstance(error, OSError) and error.errno is not None:
    return error.errno not in FINAL
  found = _OF_THE_SYSTEM.search(str(error))
  if found:
    return found[1].strip() not in _FINAL_WORDS
  return bool(_OF_A_BUCKET.search(str(error)))
