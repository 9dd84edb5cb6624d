"""Pickles of arrays are read, and nothing in any pickle is ever executed."""

import os
import pickle
import pickletools
import struct
import tracemalloc

import numpy as np
import pytest

from byol_jax.weights import unpickle
from byol_jax.weights.pickled import Refused

ARRAYS = [
    np.float32([[1, 2, 3], [4, 5, 6]]), np.asfortranarray(np.arange(6.).reshape(2, 3)),
    np.arange(4, dtype='>i4'), np.float16(2.5) * np.ones((1, 2, 1)), np.array(7),
    np.array([True, False]), np.arange(3000, dtype=np.uint16)]


@pytest.mark.parametrize('protocol', [2, 3, 4])
def test_arrays_come_back(protocol):
  data = pickle.dumps({'arrays': ARRAYS, 'more': (None, True, -3, 300, 70_000, 1 << 70,
                                                  0.5, 'é' * 5000)}, protocol)
  reader = unpickle.Pickle(data)
  content = reader.content()
  for array, found in zip(ARRAYS, content['arrays'], strict=True):
    found = reader.read(found)
    assert found.dtype == array.dtype.newbyteorder('=') and found.flags.c_contiguous
    np.testing.assert_array_equal(found, array)
  assert content['more'][:7] == (None, True, -3, 300, 70_000, 1 << 70, 0.5)


def test_scalars_of_numpy():
  reader = unpickle.Pickle(pickle.dumps(np.int32(300), 2))
  assert reader.read(reader.content()) == 300


class _Runs:
  """Pickles as a call of any function."""

  def __init__(self, function, *arguments):
    self._call = function, arguments

  def __reduce__(self):
    return self._call


def text(value):
  data = value.encode()
  return b'X' + struct.pack('<I', len(data)) + data


def called(module, name, *arguments):
  """Writes a call of dill's kind."""
  return f'c{module}\n{name}\n'.encode() + b'(' + b''.join(arguments) + b'tR'


def by_attribute(module, name):
  return called('dill._dill', '_get_attr', called('dill._dill', '_import_module',
                                                  text(module)), text(name))


EMPTY = called('numpy.core.multiarray', '_reconstruct', b'cnumpy\nndarray\n', b')', b'N')
DTYPE = called('numpy', 'dtype', text('f4'))
KIND = called('dill._dill', '_create_namedtuple', text('A'), b'(' + text('x') + b't',
              text('m'))
WIDE = called('dill._dill', '_create_namedtuple', text('A'), b'(' + b''.join(
    text(f'x{i}') for i in range(50)) + b't', text('m'))


def state(*parts):
  return b'(K\x01' + b''.join(parts) + b'tb'


MARKER = '/tmp/byol_jax_was_executed'
HOSTILE = {
    'os.system': pickle.dumps(_Runs(os.system, f'touch {MARKER}'), 2),
    'os.system, protocol 4': pickle.dumps(_Runs(os.system, f'touch {MARKER}'), 4),
    'eval': pickle.dumps(_Runs(eval, f'open({MARKER!r}, "w")'), 2),
    'exec of protocol 0': pickle.dumps(_Runs(exec, 'import os'), 0),
    'open': pickle.dumps(_Runs(open, MARKER, 'w'), 2),
    'a module by its name': b'\x80\x02' + called('dill._dill', '_import_module', text('os')),
    'an attribute': b'\x80\x02' + by_attribute('os', 'system'),
    'an attribute of numpy': b'\x80\x02' + by_attribute('numpy', 'load'),
    'an attribute of a text': called('dill._dill', '_get_attr', text('os'), text('system')),
    'a lambda': called('dill._dill', '_create_function', b'N'),
    'code': called('dill._dill', '_create_code', b'N'),
    'a class by its content': called('dill._dill', '_create_type', b'N'),
    'a type by its name': called('dill._dill', '_load_type', text('CodeType')),
    'getattr': called('__builtin__', 'getattr', text('a'), text('__class__')),
    'a name with a dot': b'cnumpy\nndarray.__class__\n.',
    'an instance': b'\x80\x02(ios\nsystem\n.',
    'an object of protocol 1': b'(cos\nsystem\n' + text('ls') + b'o.',
    'a persistent name': b'\x80\x02' + text('x') + b'Q.',
    'an extension': b'\x80\x02\x82\x01.',
    'a buffer outside': b'\x80\x05\x97.',
    'a byte array': b'\x80\x05\x96' + struct.pack('<Q', 1 << 60) + b'.',
    'a set': b'\x80\x04\x8f.',
    'an object with a state': EMPTY + b'}' + text('__class__') + b'Nsb.',
    'a class with a state': KIND + b'}' + text('__new__') + b'Nsb.',
    'a function with a state': b'cnumpy\ndtype\n}b.',
    'objects of a function': b'cnumpy\nndarray\n)\x81.',
    'a call of a text': text('x') + b')R.',
    'an array of objects': called('numpy', 'dtype', text('O8')),
    'an array of records': DTYPE + b'(K\x03' + text('<') + b'N)NtbN.',
    'an array of bfloat16': called('numpy', 'dtype', b'cml_dtypes\nbfloat16\n'),
    'an array of less than nothing': EMPTY + state(b'(J\xff\xff\xff\xfft', DTYPE, b'\x89',
                                                   b'C\x04abcd') + b'.',
    'an array of a text': EMPTY + state(b')', DTYPE, b'\x89', text('abcd')) + b'.',
    'a state twice': EMPTY + 2 * state(b')', DTYPE, b'\x89', b'C\x04abcd') + b'.',
    'a text of 4 GB': b'\x80\x02X\xff\xff\xff\xff.',
    'bytes of 2^63': b'\x80\x04\x8e' + b'\xff' * 8 + b'.',
    'a text that is none': b'X\x01\x00\x00\x00\xff.',
    'a name without an end': b'c' + b'a' * 10_000,
    'what is not remembered': b'h\x07.',
    'a place far away': b'Nr\xff\xff\xff\xff0',
    'a key that is a tuple': b'})Ns.', 'a key of two lines': b'}' + text('a\nb') + b'Ns.',
    'a list that is none': b'NNa.',
    'a dictionary that is none': b'N(NNu.',
    'nothing': b'', 'an end and nothing else': b'.', 'a mark too few': b't.',
    'a tuple too short': b'\x80\x02N\x87.', 'a zip': b'PK\x03\x04' + bytes(40),
    'named tuples without values': KIND + b')\x81.',
    'fifty-one fields': called('dill._dill', '_create_namedtuple', text('A'),
                               b'(' + 51 * text('x') + b't', text('m')),
    # 2 ** 60 leaves, if somebody walked through them or printed them
    'a tree without an end': b'N' + 60 * b'q\x00h\x00\x86' + b'q\x00' + called(
        'dill._dill', '_import_module', b'h\x00'),
    'brackets': 50_000 * b']',
    'tuples in tuples': b'N' + 50_000 * b'\x85',
    # each is a dictionary of 2 kB
    'named tuples without an end': WIDE + b'q\x00(' + 50 * b'N' + b'tq\x01' + (
        50_000 * b'h\x00h\x01\x81'),
    # each is found behind all the others
    'numbers of one hash': b'}(' + b''.join(
        b'\x8a\x0a' + (k * (2**61 - 1)).to_bytes(10, 'little') + b'N'
        for k in range(1, 30_000)) + b'u.',
    'a number of 2 GB': b'\x8b\xff\xff\xff\x7f.',
    'a persistent name of protocol 0': b'Px\n.',
    'extensions of two and four bytes': b'\x83\x01\x01\x84\x01\x01\x01\x01.',
    'an array of dates': called('numpy', 'dtype', text('M8[s]')),
    'an array of texts': called('numpy', 'dtype', text('U99999999')),
    'a shape of shapes': EMPTY + state(b'((ttt', DTYPE, b'\x89', b'C\x00') + b'.',
    'a shape of a name': EMPTY + state(text('4'), DTYPE, b'\x89', b'C\x00') + b'.',
    'an array that is its own content': EMPTY + b'q\x00' + state(
        b')', DTYPE, b'\x89', b'h\x00') + b'.',
    'a mapping of what is no dictionary': called(
        'haiku._src.data_structures', 'FlatMapping', b'(NNt'),
    'a module of a module': b'cnumpy.core\nmultiarray\n.',
}


@pytest.mark.parametrize('name', HOSTILE)
def test_hostile(name, monkeypatch):
  monkeypatch.setattr(unpickle, '_MOST_OPERATIONS', 20_000)
  tracemalloc.start()
  try:
    with pytest.raises(Refused) as refused:
      unpickle.Pickle(HOSTILE[name]).content()
    most = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
  assert '\n' not in str(refused.value) and len(str(refused.value)) < 200
  assert most < 200 * 20_000 if 'operations' in str(refused.value) else most < 1 << 20
  assert not os.path.exists(MARKER)


def test_operations_that_make_no_arrays():
  """Operations that Python has and a checkpoint has not are refused, all of them."""
  others = {op.code.encode('latin1') for op in pickletools.opcodes} - (
      unpickle._OPERATIONS.keys() | {b'.'})
  assert len(others) > 25
  for code in others:
    with pytest.raises(Refused, match='it has the operation'):
      unpickle.Pickle(b'\x80\x05NN' + code + bytes(20)).content()


def _array(shape, raw):
  return EMPTY + state(shape, DTYPE, b'\x89', raw)


@pytest.mark.parametrize('data, message', [
    (_array(b'K\x02\x85', b'C\x04abcd') + b'.', r'shape \(2,\) has 4 bytes'),
    (_array(b'(J\xff\xff\xff\x7fJ\xff\xff\xff\x7fJ\xff\xff\xff\x7ft', b'C\x04abcd') + b'.',
     'larger than the file'),
    (_array(b'(J\xff\xff\xff\x7fK\x00t', b'C\x00') + b'.', 'has 0 bytes'),
    (_array(b'(' + 9 * b'K\x01' + b't', b'C\x04abcd') + b'.', 'has 4 bytes'),
    (_array(b'K\x01\x85', called('_codecs', 'encode', text('a☃'), text('latin1'))) + b'.',
     'are no bytes'),
    (EMPTY + b'.', 'no array'), (b'N.', 'no array')])
def test_arrays_that_are_none(data, message):
  reader = unpickle.Pickle(data)
  content = reader.content()
  with pytest.raises(Refused, match=message):
    reader.read(content)


def test_one_text_is_not_the_content_of_many_arrays():
  raw = called('_codecs', 'encode', text('x' * 8000), text('latin1'))
  data = b'(' + raw + b'q\x00' + 9 * _array(b'M\xd0\x07\x85', b'h\x00') + b't.'
  reader = unpickle.Pickle(data)
  arrays = reader.content()[1:]
  assert reader.read(arrays[0]).tobytes() == 8000 * b'x'
  with pytest.raises(Refused, match='larger than the file'):
    reader.read(arrays[1])


@pytest.mark.parametrize('name', ['online', 'zeros'])
def test_a_file_that_is_cut_anywhere(name):
  data = pickle.dumps({name: ARRAYS[:2]}, 2)
  for size in range(len(data)):
    with pytest.raises(Refused):
      unpickle.Pickle(data[:size]).content()
