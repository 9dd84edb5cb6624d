"""The exceptions that `byol_jax.main` prints without a traceback.

The message is one or two lower-case lines that say what is wrong and which key,
flag or path to change.
"""

from __future__ import annotations

import os
import re

_MOST_SHOWN = 300  # characters of a library's message
EXIT_CODE = 75  # EX_TEMPFAIL, of a TransientError: the same command may go on


class UserError(Exception):
  """A mistake in a flag, a config value, a path or a data set: exit code 2."""


class TransientError(Exception):
  """A failure of the machine, a disk or a network: exit code 75.

  The same command goes on from the last checkpoint once that is mended.
  """


def one_line(error: BaseException) -> str:
  """Returns an error's text in one line, for a message.

  tensorstore writes a page about the array, with the reason in it: only the reason is
  taken. The number of an OSError without a file's name is left out. What a terminal
  would act on, as in the bytes of a picture, is escaped.
  """
  has_reason = isinstance(error, OSError) and error.filename is None and error.strerror
  text = ' '.join(str(error.strerror if has_reason else error).split())
  if code := re.search(r"os_error_code='(\d+)'", text):
    return os.strerror(int(code[1]))
  text, page, _ = text.partition(' [tensorstore_spec')
  if page:  # its parts: kind of error, two places, reason
    parts = text.split(': ')
    text = ': '.join(parts[:1] + parts[1:][-1:])
  text = ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
  return text[:_MOST_SHOWN] or type(error).__name__
