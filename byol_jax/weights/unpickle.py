"""Reads pickles of arrays without executing them.

A pickle may contain any program. Here nothing of it is called: a machine of our own
walks through its operations, builds numbers, texts, lists, dictionaries, named tuples
and descriptions of arrays, and refuses everything else. Arrays and long texts stay in
the file until they are asked for.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np

from byol_jax.weights import pickled
from byol_jax.weights.pickled import Refused

# A ResNet-200 with its momentum has some hundred thousand operations. One operation
# makes at most some hundred bytes, so memory is bounded, whatever they are. A named
# tuple counts as one for each field.
_MOST_OPERATIONS = 2_000_000
_SHORT = 4096  # bytes; longer texts stay in the file
_MOST_NAME = 200
_MOST_AXES = 8


class Pickle:
  """A pickle of protocol 2 to 4, as dill and numpy write it."""

  def __init__(self, data: Any):
    """Takes the bytes of the file, or a mapping of it into memory."""
    self._data, self._at = data, 0
    self._stack, self._marked, self._memo = [], [], {}
    self._bytes_read, self._left = 0, _MOST_OPERATIONS

  def content(self) -> Any:
    """Returns what the pickle holds.

    Named tuples are dictionaries, arrays are `pickled.Array`s, to be given to `read`.

    Raises:
      Refused: it holds something else, or is cut short.
    """
    try:
      while self._left > 0:
        self._left -= 1
        operation = self._take(1)
        if operation == b'.':
          return self._stack.pop()
        if operation not in _OPERATIONS:
          raise Refused(f'it has the operation {operation!r}')
        _OPERATIONS[operation](self)
    except (IndexError, KeyError, struct.error) as error:
      raise Refused('it is cut short or damaged') from error
    except UnicodeDecodeError as error:
      raise Refused('a text in it is damaged') from error
    raise Refused(f'it has more than {_MOST_OPERATIONS:,} operations')

  def read(self, array: Any) -> np.ndarray:
    """Returns an array, read from the file now.

    Raises:
      Refused: it is no array, or does not have as many bytes as its shape says.
    """
    if not isinstance(array, pickled.Array) or array.state is None:
      raise Refused('there is no array where one should be')
    shape, dtype, is_fortran, raw = array.state
    size = int(dtype.code[1:]) * math.prod(shape)
    self._bytes_read += size
    if self._bytes_read > len(self._data):
      raise Refused('its arrays are larger than the file')
    if isinstance(raw, pickled.Encoded):
      text = raw.text
      if isinstance(text, pickled.Long):
        text = str(self._data[text.start:text.stop], 'utf-8', 'surrogatepass')
      try:
        raw = text.encode('latin1')
      except UnicodeEncodeError as error:
        raise Refused('the bytes of an array are no bytes') from error
    elif isinstance(raw, pickled.Long):
      raw = self._data[raw.start:raw.stop]
    if len(raw) != size or len(shape) > _MOST_AXES or max(shape, default=1) > size:
      raise Refused(f'an array of the shape {str(shape)[:40]} has {len(raw)} bytes')
    order = '=' if dtype.order == '|' else dtype.order
    found = np.frombuffer(raw, np.dtype(f'{order}{dtype.code}')).reshape(
        shape, order='F' if is_fortran else 'C')
    return np.array(found, found.dtype.newbyteorder('='), order='C')

  def _take(self, size: int) -> bytes:
    """Returns the next bytes."""
    part = self._data[self._at:self._at + size]
    if len(part) != size:
      raise IndexError
    self._at += size
    return part

  def _number(self, form: str) -> Any:
    """Returns the next number, in a form of `struct`."""
    return struct.unpack(form, self._take(struct.calcsize(form)))[0]

  def _text(self, size: int, is_text: bool) -> Any:
    """Returns the next text or bytes, or where it is if it is long."""
    if size <= _SHORT:
      return str(self._take(size), 'utf-8', 'surrogatepass') if is_text else (
          self._take(size))
    if size > len(self._data) - self._at:
      raise IndexError
    self._at += size
    return pickled.Long(self._at - size, self._at, is_text)

  def _line(self) -> str:
    """Returns the rest of a line, of a name."""
    end = self._data.find(b'\n', self._at, self._at + _MOST_NAME)
    if end < 0:
      raise Refused('a name in it is too long')
    return str(self._take(end - self._at + 1)[:-1], 'utf-8')

  def _top(self, kind: type, place: int = -1) -> Any:
    """Returns a thing on the stack, the last one, if it is of a kind."""
    if not isinstance(self._stack[place], kind):
      raise Refused('it fills what cannot be filled')
    return self._stack[place]

  def _mark(self) -> None:
    self._marked.append(self._stack)
    self._stack = []

  def _since_mark(self) -> list[Any]:
    """Returns what was put on the stack since the last mark, and removes it."""
    items, self._stack = self._stack, self._marked.pop()
    return items

  def _tuple(self) -> None:
    items = tuple(self._since_mark())
    self._stack.append(items)

  def _set(self, items: list[Any]) -> None:
    """Puts keys and values into the dictionary on the stack."""
    into, keys = self._top(dict), items[::2]
    # the hash of a tuple of tuples may take for ever; so do large numbers of one hash
    if len(items) % 2 or not all(
        len(key) <= _MOST_NAME and key.isprintable() if isinstance(key, str) else
        isinstance(key, int) and abs(key) < 2**32 for key in keys):
      raise Refused('a dictionary without names')
    into.update(zip(keys, items[1::2]))

  def _new(self, kind: Any, values: Any) -> dict[str, Any]:
    """Makes a named tuple."""
    if (not isinstance(kind, pickled.NamedTuples) or not isinstance(values, tuple)
        or len(values) != len(kind.fields)):
      raise Refused('it makes an object that is no named tuple')
    self._left -= len(values)
    return dict(zip(kind.fields, values))

  def _extend(self, items: list[Any]) -> None:
    self._top(list).extend(items)

  def _state(self, state: Any) -> None:
    self._stack[-1] = pickled.built(self._stack[-1], state)

  def _remember(self, key: int) -> None:
    self._memo[key] = self._stack[-1]


def _push(value):
  """Makes an operation that puts a value, of a function of the pickle, on the stack."""
  return lambda pickle: pickle._stack.append(value(pickle))


def _pops(count, make):
  """Makes an operation that puts one thing in the place of some."""
  def operation(pickle):
    if len(pickle._stack) < count:
      raise IndexError
    items = pickle._stack[len(pickle._stack) - count:]
    del pickle._stack[len(pickle._stack) - count:]
    pickle._stack.append(make(pickle, *items))
  return operation


# Each operation by its code; what it does is told by its name in Python's pickletools.
_OPERATIONS = {
    b'\x80': lambda p: p._take(1),                            # PROTO
    b'\x95': lambda p: p._take(8),                            # FRAME
    b'(': Pickle._mark,
    b'N': _push(lambda p: None),
    b'\x88': _push(lambda p: True),
    b'\x89': _push(lambda p: False),
    b'}': _push(lambda p: {}),
    b']': _push(lambda p: []),
    b')': _push(lambda p: ()),
    b'K': _push(lambda p: p._number('<B')),                   # BININT1
    b'M': _push(lambda p: p._number('<H')),                   # BININT2
    b'J': _push(lambda p: p._number('<i')),                   # BININT
    b'G': _push(lambda p: p._number('>d')),                   # BINFLOAT
    b'\x8a': _push(lambda p: int.from_bytes(                  # LONG1
        p._take(p._number('<B')), 'little', signed=True)),
    b'X': _push(lambda p: p._text(p._number('<I'), True)),    # BINUNICODE
    b'\x8c': _push(lambda p: p._text(p._number('<B'), True)),
    b'\x8d': _push(lambda p: p._text(p._number('<Q'), True)),
    b'B': _push(lambda p: p._text(p._number('<I'), False)),   # BINBYTES
    b'C': _push(lambda p: p._text(p._number('<B'), False)),
    b'\x8e': _push(lambda p: p._text(p._number('<Q'), False)),
    b'c': _push(lambda p: pickled.named(p._line(), p._line())),      # GLOBAL
    b'\x93': _pops(2, lambda p, module, name: pickled.named(module, name)),
    b'R': _pops(2, lambda p, function, items: pickled.call(function, items)),
    b'\x81': _pops(2, Pickle._new),                           # NEWOBJ
    b'b': lambda p: p._state(p._stack.pop()),                 # BUILD
    b'\x85': _pops(1, lambda p, *items: items),               # TUPLE1
    b'\x86': _pops(2, lambda p, *items: items),
    b'\x87': _pops(3, lambda p, *items: items),
    b't': lambda p: p._tuple(),                               # TUPLE
    b's': lambda p: p._set([p._stack.pop(-2), p._stack.pop()]),
    b'u': lambda p: p._set(p._since_mark()),                  # SETITEMS
    b'a': lambda p: p._top(list, -2).append(p._stack.pop()),
    b'e': lambda p: p._extend(p._since_mark()),               # APPENDS
    b'0': lambda p: p._stack.pop(),
    b'1': Pickle._since_mark,
    b'q': lambda p: p._remember(p._number('<B')),             # BINPUT
    b'r': lambda p: p._remember(p._number('<I')),
    b'\x94': lambda p: p._remember(len(p._memo)),             # MEMOIZE
    b'h': _push(lambda p: p._memo[p._number('<B')]),          # BINGET
    b'j': _push(lambda p: p._memo[p._number('<I')]),
}
