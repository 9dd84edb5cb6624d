"""Describes one key of a config, and collects keys in sections."""

from __future__ import annotations

import textwrap
from typing import Any, NamedTuple

from byol_jax.config import names
from byol_jax.config.kinds import Kind


class Key(NamedTuple):
  """One key of the config, or a flag.

  Attributes:
    default: its value in `base()`.
    kind: what is allowed.
    help: what it is for.
    was: its value for a config of an older version that lacks it, where that is not
      the default of today.
    tasks: the tasks that read the key.
    free: the tasks that learn or measure the same with any value, so that it may differ
      when they go on. Such a key says where files are, how fast to go, what to write.
    of_the_weights: whether the key describes the encoder or how its images are
      prepared. Tasks that take `weights` take its value from them.
    of_the_data: whether the key names images or says how they are read. With
      data.source=same, evaluations that do not set it take the run's.
  """
  default: Any
  kind: Kind
  help: str
  was: Any = None
  tasks: tuple[str, ...] = names.TASKS
  free: tuple[str, ...] = ()
  of_the_weights: bool = False
  of_the_data: bool = False

  def described(self, name: str) -> str:
    """Returns the lines of --help for the key."""
    return '\n'.join([f'  --{name}={self.default}', *textwrap.wrap(
        f'{self.help} [{self.kind.words}]', 88, initial_indent=' ' * 6,
        subsequent_indent=' ' * 6)])


class Sections:
  """Sections of keys, in the order of --help.

  Attributes:
    keys: {name: key}, the names with their sections.
    titles: {section: its title}.
  """

  def __init__(self):
    self.keys: dict[str, Key] = {}
    self.titles: dict[str, str] = {}

  def add(self, section: str, tasks: tuple[str, ...], *, free: tuple[str, ...] = (),
          of_the_weights: bool = False, of_the_data: bool = False,
          **keys: tuple[Any, ...]) -> None:
    """Adds keys to a section, each as a tuple of Key's first fields.

    Args:
      section: its name and, once, its title behind a colon.
      tasks, free, of_the_weights, of_the_data: the same for all the keys; see `Key`.
      **keys: (default, kind, help) or (default, kind, help, was).
    """
    section, _, title = section.partition(': ')
    self.titles.setdefault(section, title)
    for name, key in keys.items():
      self.keys[f'{section}.{name}'.removeprefix('.')] = Key(
          *key, tasks=tasks, free=free, of_the_weights=of_the_weights,
          of_the_data=of_the_data)
