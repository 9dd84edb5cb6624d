"""The one exception that means: the user can mend this."""


class UserError(Exception):
  """A mistake in a flag, a config value, a path or a data set.

  `byol_jax.main` prints the message, without a traceback, and exits with
  code 2. The message is one or two lower-case lines that say what is wrong and
  which key, flag or path to change.
  """
