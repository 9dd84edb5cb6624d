"""What keeps orbax from hurting: its words, its loops, and metadata that it does not survive."""

from __future__ import annotations

import asyncio
import json
import logging
import os

from etils import epath

_MOST_METADATA = 8 << 20  # bytes of a JSON file; a ResNet-200 takes less than 1 MiB


def silence() -> None:
  """Drops the pages that orbax prints of a failed save, which is raised, too.

  For programs: it changes what the whole process prints.
  """
  logging.getLogger('absl').addFilter(
      lambda record: f'{os.sep}orbax{os.sep}' not in record.pathname)
  logging.getLogger('asyncio').setLevel(logging.CRITICAL)
  asyncio.set_event_loop_policy(_ForgivingLoops())


class _ForgivingLoops(asyncio.DefaultEventLoopPolicy):
  """Loops that take calls after their end, and drop them.

  When a write has failed, orbax closes its loop; each write that ends later makes
  tensorstore print a traceback.
  """

  def new_event_loop(self):
    loop = super().new_event_loop()
    call = loop.call_soon_threadsafe
    def forgiving(*args, **kwargs):
      if loop.is_closed():
        return None
      return call(*args, **kwargs)
    loop.call_soon_threadsafe = forgiving
    return loop


def why_unreadable(folder: epath.Path) -> Exception | None:
  """What keeps the bytes of some file in a folder from being read."""
  try:
    for path in folder.iterdir():
      if path.is_dir():
        if error := why_unreadable(path):
          return error
      else:
        path.read_bytes()
    return None
  except FileNotFoundError:
    return None  # nothing to be had by waiting
  except Exception as error:  # pylint: disable=broad-exception-caught
    return error


def is_small_json(path: epath.Path) -> bool:
  """Whether a file holds a JSON object, and none that could fill the memory."""
  try:
    with path.open('rb') as f:  # epath's stat fails where the owner has no name
      data = f.read(_MOST_METADATA + 1)
    return len(data) <= _MOST_METADATA and isinstance(json.loads(data), dict)
  except (ValueError, RecursionError):
    return False
