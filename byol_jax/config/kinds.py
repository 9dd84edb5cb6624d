"""Kinds of values in a config: each reads a text, checks a value, names its range."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
import difflib
import operator
import os
import re
from typing import Any, NamedTuple

from byol_jax.errors import UserError

_MOST, _LEAST = 3.4028234663852886e38, 1.1754943508222875e-38  # float32's
_MOST_SHOWN = 80  # characters of a value in a message
_BOUNDS = {'above': ('above', operator.gt), 'at_least': ('of at least', operator.ge),
           'at_most': ('at most', operator.le), 'below': ('below', operator.lt)}
_HOME = re.compile(r'(?:^|(?<=[,{]))~[^/,{}]*')  # of each of several paths
_BOOLEANS = {'true': True, 't': True, '1': True, 'false': False, 'f': False, '0': False}


class Kind(NamedTuple):
  """The kind of a key's or a flag's values.

  Attributes:
    type: their type in a ConfigDict.
    words: what is allowed, for people.
    parse: reads a text of the command line; raises ValueError.
    refusal: value -> what the value must be; '' where it is allowed.
    is_path: whether it is a text that names files; a ~ in it stands for the home.
  """
  type: type
  words: str
  parse: Callable[[str], Any]
  refusal: Callable[[Any], str]
  is_path: bool = False

  def check(self, name: str, value: Any) -> Any:
    """Returns the value; raises a UserError that calls it `name` if it is refused."""
    must_be = self.refusal(value)
    if must_be:
      raise UserError(f'{name} is {shown(value)}, it must be {must_be}')
    return value

  def read(self, name: str, text: str) -> Any:
    """Returns the value that a text stands for; raises a UserError like `check`."""
    try:
      value = self.parse(text)
    # a bracket too many, or thousands of digits or of brackets
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
      raise UserError(f'{name} is {shown(text)}, it must be {self.words}') from error
    return self.check(name, value)


def number(*, words: str = '', **bounds: float) -> Kind:
  """Makes the kind of a number that 32 bits can hold.

  Args:
    words: what is allowed; by default the bounds.
    **bounds: `above`, `at_least`, `at_most`, `below`.
  """
  return _number(float, 'a number', words, bounds)


def whole(*, words: str = '', **bounds: int) -> Kind:
  """Makes the kind of a whole number; arguments as for `number`."""
  return _number(int, 'a whole number', words, bounds)


def share() -> Kind:
  """Makes the kind of a number from 0 to 1."""
  return number(at_least=0, at_most=1, words='a number from 0 to 1')


def flag() -> Kind:
  """Makes the kind of True and False."""
  def parse(text):
    if text.lower() not in _BOOLEANS:
      raise ValueError(text)
    return _BOOLEANS[text.lower()]
  words = 'True or False'
  return Kind(bool, words, parse,
              lambda value: '' if isinstance(value, bool) else words)


def text() -> Kind:
  """Makes the kind of a text that can name a file."""
  def refusal(value):
    if not isinstance(value, str):
      return 'a string'
    return 'without the character NUL' if '\0' in value else ''
  return Kind(str, 'a string', str, refusal)


def path() -> Kind:
  """Makes the kind of a text that names files, also several that commas join."""
  return text()._replace(is_path=True)


def at_home(path: str) -> str:
  """Returns a path, or several, with ~ expanded: no shell does it behind a flag's =."""
  return _HOME.sub(lambda found: os.path.expanduser(found[0]), path)


def choice(*names: str, **other_words: str) -> Kind:
  """Makes the kind of one of some names; `other_words` has what stands for others."""
  words = f'one of {", ".join(names)}'
  return Kind(str, words, str, lambda value: '' if isinstance(
      value, str) and value in names else other_words.get(str(value), words))


def numbers(count: int, each: Kind) -> Kind:
  """Makes the kind of a list of `count` numbers."""
  return _list(f'{count} numbers, each {each.words}', each,
               lambda values: len(values) == count)


def pair(limit: str = '', **bounds: float) -> Kind:
  """Makes the kind of two numbers above 0, the smaller first; `limit`: the bounds."""
  words = 'two numbers above 0, the smaller one first'
  return _list(f'{words}, {limit}' if limit else words, number(above=0, **bounds),
               lambda values: len(values) == 2 and values[0] <= values[1])


def list_of(*, zero: bool = False, empty: bool = False) -> Kind:
  """Makes the kind of a list of up to 100 numbers up to 1e6.

  Args:
    zero: whether 0 is allowed.
    empty: whether the list may be empty.
  """
  least = 'at_least' if zero else 'above'
  return _list(
      f'{"at most 100 numbers" if empty else "one number or more, at most 100"}, each '
      f'{"from" if zero else "above"} 0 to 1e6, as in (0.1, 0.2)',
      number(**{least: 0}, at_most=1e6),
      lambda values: (0 if empty else 1) <= len(values) <= 100)


def automatic(kind: Kind) -> Kind:
  """Makes the kind of None, which the run replaces, or of a value of another kind."""
  return Kind(kind.type, f'{kind.words}; or None, automatic',
              lambda text: None if text == 'None' else kind.parse(text),
              lambda value: '' if value is None else kind.refusal(value))


def _number(kind: type, name: str, words: str, bounds: Mapping[str, float]) -> Kind:
  limits = [(*_BOUNDS[bound], limit) for bound, limit in bounds.items()]
  words = words or f'{name} ' + ' and '.join(f'{of} {x:,}' for of, _, x in limits)
  types = (int, float) if kind is float else int
  def refusal(value):
    if not isinstance(value, types) or isinstance(value, bool):
      return words
    # compared, not converted: a whole number may be too large for any float
    if not -_MOST <= value <= _MOST:
      return f'{words}, and finite, also in 32 bits'
    if not all(fits(value, x) for _, fits, x in limits):
      return words
    return f'at least {_LEAST:.3g}' if 'above' in bounds and 0 < value < _LEAST else ''
  return Kind(kind, words, float if kind is float else _parse_whole, refusal)


def _parse_whole(text: str) -> int:
  """Reads 12, 0x0c or 0o14."""
  return int(text, {'0x': 16, '0o': 8}.get(text[:2].lower(), 10))


def _list(words: str, each: Kind, fits: Callable[[Any], bool]) -> Kind:
  def refusal(values):
    if (isinstance(values, (list, tuple)) and fits(values)
        and not any(each.refusal(value) for value in values)):
      return ''
    return words
  def parse(text):
    values = ast.literal_eval(text)
    return tuple(values) if isinstance(values, (list, tuple)) else (values,)
  return Kind(tuple, words, parse, refusal)


def shown(value: Any) -> str:
  """Returns a value as a message shows it, cut where it is long."""
  try:
    text = repr(value)
  except ValueError:  # it has thousands of digits
    text = f'a huge {type(value).__name__}'
  return text if len(text) <= _MOST_SHOWN else f'{text[:_MOST_SHOWN]}...'


def nearest(key: str, keys: list[str]) -> str:
  """Returns ' (did you mean KEY?)', or '' where no key is near."""
  within = [k for k in keys if k.startswith(f'{key}.')]
  if within:
    return f' (a section: set one of its keys, such as {within[0]})'
  tails = {k.split('.')[-1]: k for k in keys}
  # two letters exchanged: difflib takes view2 to be as near to vie1w as view1 is
  found = ([k for k in keys if sorted(k.lower()) == sorted(key.lower())]
           or difflib.get_close_matches(key, keys, 1))
  if not found:
    tail = difflib.get_close_matches(key.split('.')[-1], list(tails), 1)
    found = [tails[tail[0]]] if tail else []
  return f' (did you mean {found[0]}?)' if found else ''


# what many keys are
POSITIVE = whole(above=0)
COUNT = whole(at_least=0)
FEW = whole(above=0, at_most=1000)
CLASSES = whole(at_least=0, at_most=100_000)
PART = number(above=0, at_most=1)
FACTOR = number(at_least=0, at_most=10)
