"""Writes what tasks give people to read: pages, and files beside them."""

from __future__ import annotations

import logging
import os
import time

from byol_jax import __version__
from byol_jax.storage import files as files_lib

_console = logging.getLogger('byol_jax')

REPORT = 'report.html'  # of a run, an evaluation, a study or several runs


def write(folder: str, content: str, name: str = REPORT) -> None:
  """Writes FOLDER/NAME, and tells where it is.

  Raises:
    UserError: it cannot be written.
  """
  path = os.path.join(folder, name)
  files_lib.write_for_user(path, content.encode())
  _console.info('%s: %s', name.partition('.')[0], path)


def made() -> str:
  """Returns when and by what a page is made."""
  return f'page of {time.strftime("%Y-%m-%d %H:%M:%S")}, byol_jax {__version__}'
