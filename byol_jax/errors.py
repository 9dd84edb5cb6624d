"""The exceptions that `byol_jax.main` prints without a traceback.

The message is one or two lower-case lines that say what is wrong and which key,
flag or path to change.
"""

from __future__ import annotations

EXIT_CODE = 75  # EX_TEMPFAIL, of a TransientError: the same command may go on


class UserError(Exception):
  """A mistake in a flag, a config value, a path or a data set: exit code 2."""


class TransientError(Exception):
  """The machine, a disk or a network failed: exit code 75.

  The same command goes on from the last checkpoint once that is mended.
  """
