"""The exceptions that `byol_jax.main` prints without a traceback.

The message is one or two lower-case lines that say what is wrong and which key,
flag or path to change.
"""

import errno


class UserError(Exception):
  """A mistake in a flag, a config value, a path or a data set: exit code 2."""


class TransientError(Exception):
  """The machine, a disk or a network failed: exit code 75.

  The same command goes on from the last checkpoint once that is mended.
  """


_FAILURES = {errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.ETIMEDOUT}


def of_storage(message: str, error: Exception) -> UserError | TransientError:
  """The error for storage that refuses: the user's mistake, or a failure."""
  return (TransientError if getattr(error, 'errno', None) in _FAILURES else
          UserError)(message)
