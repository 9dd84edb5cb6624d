"""Words of messages: how many of what, and the first of many names."""

from __future__ import annotations

from collections.abc import Iterable


def count(number: float, what: str, form: str = '') -> str:
  """Returns a number with its noun: '1 shard', '3 shards', '2 classes', '4 queries'.

  Args:
    number: how many.
    what: the noun for one, maybe behind other words.
    form: as for `format`, of the number.
  """
  if number != 1:
    if what.endswith(('s', 'x', 'tch', 'sh')):
      what += 'es'
    else:
      what = f'{what[:-1]}ies' if what.endswith('ry') else f'{what}s'
  return f'{number:{form}} {what}'


def some(words: Iterable[str], most: int) -> str:
  """Returns the first of some words: 'a, b and 3 more'."""
  words = list(words)
  more = len(words) - most
  return ', '.join(words[:most]) + (f' and {more:,} more' if more > 0 else '')


def quoted(names: Iterable[str], most: int) -> str:
  """Returns the first of some names in quotes: "'a', 'b' and 3 more"."""
  return some(map(repr, names), most)
