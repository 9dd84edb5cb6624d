"""Counts the images of a source that cannot be used, and ends a run on too many."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping, Sequence
import itertools
import logging
import os
import threading

from byol_jax.errors import UserError

_console = logging.getLogger('byol_jax')

_TOLD = 10  # images named one by one, and again in the summary


def default_limit(num_images: int) -> int:
  """Returns how many may be bad: the larger of 100 and 0.1 %, at most a tenth."""
  return min(max(100, num_images // 1000), max(num_images // 10, 1))


class BadImages:
  """Holds the bad images of one source that this process knows; for many threads.

  Attributes:
    limit: how many there may be.
    together: whether `learn` checks the limit instead of `add`. Several processes
      that train meet different images, but must all end at the same step.
  """

  def __init__(self, names: Sequence[str], where: str, limit: int | None = None,
               root: str | None = None):
    """Starts with none.

    Args:
      names: the names of all images, for messages.
      where: the source's name, for messages.
      limit: how many may be bad; None: `default_limit`.
      root: the folder that the names are files of, for messages.
    """
    self._names = names
    self._where, self._root = where, root
    self.limit = default_limit(len(names)) if limit is None else limit
    self.together = False
    self._why: dict[int, str] = {}
    self._learned: set[int] = set()
    self._lock = threading.Lock()

  def __len__(self) -> int:
    return len(self._why)

  def __contains__(self, index: int) -> bool:
    return index in self._why

  def add(self, index: int, why: str) -> None:
    """Notes that an image is bad; may be called again for the same image.

    Args:
      index: the image's index.
      why: the message of its `decode.BadImage`.

    Raises:
      UserError: there are more than the limit, and `together` is not set; names
        the first of them.
    """
    with self._lock:
      if index not in self._why:
        self._why[index] = why
        if len(self._why) <= min(_TOLD, self.limit):
          _console.warning('left out %r of %s: %s',
                           str(self._names[index]), self._where, why)
      count = len(self._why)
    if not self.together:
      self._check(count)

  def reasons(self) -> dict[int, str]:
    """Returns the reasons by index, in the order in which the images were met."""
    with self._lock:
      return dict(self._why)

  def learn(self, reasons: Mapping[int, str]) -> None:
    """Notes the bad images that a process has shared with all, this one included.

    Raises:
      UserError: more than the limit were shared. Images that only this process has
        met since do not count: all processes must decide alike.
    """
    with self._lock:
      for index, why in reasons.items():
        self._why.setdefault(int(index), why)
        self._learned.add(int(index))
      count = len(self._learned)
    self._check(count)

  def _check(self, count: int) -> None:
    if count > self.limit:
      raise UserError(
          f'{self.summary()}; config key data.max_bad_images allows '
          f'{self.limit}: mend or remove them, or raise it')

  def summary(self) -> str:
    """Returns one line: how many there are, and the first ones by reason."""
    names = collections.defaultdict(list)
    with self._lock:
      first = list(itertools.islice(self._why, _TOLD))
      for index in first:
        why = self._why[index]
        names[why].append(repr(str(self._names[index])))
      count, causes = len(self._why), set(self._why.values())
    if len(causes) == 1 and count > 1:
      cause, = causes
      path = os.path.join(self._root or '', str(self._names[first[0]]))
      return (f'{count} of {len(self._names)} images of {self._where} cannot be used, '
              f'all for one cause: {cause}. The first is {path!r}')
    listed = '; '.join(
        f'{", ".join(examples)} ({why})' for why, examples in names.items())
    more = f'; and {count - _TOLD} more' if count > _TOLD else ''
    return (f'{count} of {len(self._names)} images of {self._where} cannot be '
            f'used: {listed}{more}')

  def report(self) -> dict[str, str]:
    """Returns the reasons by `unique_names`, in the order in which images were met."""
    reasons = self.reasons()
    return dict(zip(unique_names(str(self._names[index]) for index in reasons),
                    reasons.values()))


def unique_names(names: Iterable[str]) -> list[str]:
  """Returns the names, each once: the second 'a.jpg' becomes 'a.jpg#2'."""
  names = list(names)
  taken, count = set(names), {}
  result = []
  for name in names:
    count[name] = number = count.get(name, 0) + 1
    unique = name
    if number > 1:
      while (unique := f'{name}#{number}') in taken:
        number += 1
      taken.add(unique)
      count[name] = number
    result.append(unique)
  return result
