"""Lists the names a pickle of arrays may have; values stand for them, no code."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

_MOST_FIELDS = 50  # of a named tuple; each object has them all
_MOST_SHOWN = 60


class Refused(Exception):
  """The pickle is not what it should be; says why."""


class NamedTuples(NamedTuple):
  """A class of named tuples."""
  fields: tuple[str, ...]


class Long(NamedTuple):
  """A long text or bytes, left in the file: data[start:stop]."""
  start: int
  stop: int
  is_text: bool


class Encoded(NamedTuple):
  """A text whose characters are bytes: protocol 2 has no other way to write them."""
  text: Any


class _Named(NamedTuple):
  """A function, class or module that the pickle names; it is a name and no more."""
  name: str


class _Dtype:
  """A dtype: 'f4' and the order of its bytes."""

  def __init__(self, code: Any):
    if not (isinstance(code, str) and re.fullmatch('f[248]|[iu][1248]|b1', code)):
      raise Refused(f'an array is of the type {_shown(code)}')
    self.code, self.order = code, '='


class Array:
  """An array that is not read yet."""

  def __init__(self):
    self.state = None  # shape, dtype, is_fortran, raw


# What a checkpoint may name, by the end of the module's name and its own name. haiku's
# mappings were called so from 2020 on; jax's arrays call numpy's function.
_KNOWN = {
    'dill': ('_create_namedtuple', '_create_array', '_import_module', '_get_attr'),
    'numpy': ('_reconstruct', 'scalar', 'ndarray', 'dtype'),
    '_codecs': ('encode',),
    'jax': ('_reconstruct_array',),
    'collections': ('OrderedDict',),
    'haiku': ('FlatMapping', 'FlatMap', 'frozendict'),
}
_MODULES = {
    'dill._dill': 'dill', 'dill.dill': 'dill', 'numpy': 'numpy', '_codecs': '_codecs',
    **{f'numpy.{core}.{module}': 'numpy' for core in ('core', '_core')
       for module in ('multiarray', '_multiarray_umath')},
    'jax._src.array': 'jax', 'collections': 'collections',
    'haiku._src.data_structures': 'haiku'}


def named(module: Any, name: Any) -> _Named:
  """Returns what stands for a function or class that a pickle names."""
  if not (isinstance(module, str) and isinstance(name, str)
          and name in _KNOWN.get(_MODULES.get(module, ''), ())):
    raise Refused(f'it names {_shown(module)} {_shown(name)}')
  return _Named(name)


def call(function: Any, arguments: Any) -> Any:
  """Returns what one of the known functions makes of its arguments."""
  if not isinstance(function, _Named) or not isinstance(arguments, tuple):
    raise Refused('it calls what is no function')
  try:
    return _CALLS[function.name](*arguments)
  except (KeyError, TypeError) as error:
    raise Refused(f'it calls {function.name} with other arguments') from error


def _namedtuple(name: str, fields: Any, module: str,
                defaults: Any = None) -> NamedTuples:
  del name, module, defaults
  if (not isinstance(fields, (tuple, list)) or len(fields) > _MOST_FIELDS
      or not all(isinstance(field, str) for field in fields)):
    raise Refused('a named tuple without names, or with too many')
  return NamedTuples(tuple(fields))


def _import_module(name: str, safe: bool = False) -> _Named:
  del safe
  if not isinstance(name, str) or name not in _MODULES:
    raise Refused(f'it imports {_shown(name)}')
  return _Named(f'module {name}')


def _get_attr(module: Any, name: str) -> _Named:
  if not isinstance(module, _Named) or not module.name.startswith('module '):
    raise Refused('it asks for an attribute of what is no module')
  return named(module.name.removeprefix('module '), name)


def _reconstruct(kind: Any, shape: Any, typecode: Any) -> Array:
  del shape, typecode
  if kind != _Named('ndarray'):
    raise Refused('an array of another class')
  return Array()


def _scalar(dtype: Any, raw: Any) -> Array:
  return built(Array(), (1, (), dtype, False, raw))


def _array(function: Any, arguments: Any, state: Any, more: Any = None) -> Array:
  """Does dill's _create_array and jax's _reconstruct_array."""
  del more
  if function != _Named('_reconstruct'):
    raise Refused('an array of another class')
  return built(call(function, arguments), state)


def _encode(text: Any, encoding: str) -> Encoded:
  is_text = isinstance(text, str) or isinstance(text, Long) and text.is_text
  if not is_text or encoding != 'latin1':
    raise Refused('it encodes what is no text')
  return Encoded(text)


def _dictionary(content: Any = ()) -> dict:
  if isinstance(content, dict):
    return content
  if content == () or content == []:
    return {}
  raise Refused('a mapping that is no dictionary')


_CALLS = {
    '_create_namedtuple': _namedtuple, '_import_module': _import_module,
    '_get_attr': _get_attr, '_reconstruct': _reconstruct, 'scalar': _scalar,
    '_create_array': _array, '_reconstruct_array': _array, 'encode': _encode,
    'dtype': lambda code, align=False, copy=True: _Dtype(code),
    'OrderedDict': _dictionary, 'FlatMapping': _dictionary, 'FlatMap': _dictionary,
    'frozendict': _dictionary}


def built(value: Any, state: Any) -> Any:
  """Gives an array or a dtype its state."""
  if not isinstance(state, tuple):
    raise Refused('an object with a state of its own')
  if isinstance(value, _Dtype) and len(state) >= 5:
    _, value.order, *inner = state
    if value.order not in ('<', '>', '|', '=') or any(
        x is not None for x in inner[:3]):
      raise Refused('an array of records')
  elif isinstance(value, Array) and len(state) == 5 and value.state is None:
    _, shape, dtype, is_fortran, raw = state
    if not (isinstance(dtype, _Dtype) and isinstance(shape, tuple)
            and all(type(side) is int and side >= 0 for side in shape)
            and (isinstance(raw, (bytes, Encoded))
                 or isinstance(raw, Long) and not raw.is_text)):
      raise Refused('an array that is no array of numbers')
    value.state = shape, dtype, bool(is_fortran), raw
  else:
    raise Refused('an object with a state of its own')
  return value


def _shown(value: Any) -> str:
  """Returns a text for a message; other things may be endless."""
  return repr(value[:_MOST_SHOWN]) if isinstance(value, str) else (
      f'a {type(value).__name__}')
