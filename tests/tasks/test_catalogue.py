"""The catalogue of an index, without an index."""

import types

import numpy as np

from byol_jax.data import bad
from byol_jax.data.sources import table
from byol_jax.tasks import catalogue as catalogue_lib


def make(names, labels, rows, **options):
  data = table.Encoded(
      lambda row: f'picture {row % 3}'.encode(), len(names), labels, names,
      ('cat', '7'), 'pictures', bad.BadImages(names, 'pictures'))
  named = types.SimpleNamespace(
      config=types.SimpleNamespace(index=types.SimpleNamespace(split='train')),
      data=types.SimpleNamespace(data=types.SimpleNamespace(source='folder')))
  return catalogue_lib.make(named, data, np.array(rows), **options)


def test_some_of_the_images(caplog):
  names, labels = ['a', 'b', 'a', 'c'], np.array([0, 1, 1, -1], np.int32)
  whole = make(names, labels, range(4))
  assert whole.rows == {'a': 0, 'b': 1, 'c': 3} and 'stand twice' in caplog.text
  assert whole.kinds == {'label': 'text'}
  assert whole.columns['label'] == ['cat', '7', '7', None]
  some = make(names, labels, [2, 3], has_columns=False)
  assert some.rows == {'a': 2, 'c': 3} and some.kinds == some.columns == {}
  # the same picture has the same stamp
  assert some.stamps['c'][0] == whole.stamps['c'][0] == whole.stamps['a'][0]
  assert some.stamps['a'][0] != whole.stamps['a'][0]


def test_names_that_are_no_utf8():
  made = make(['caf\udce9'], np.array([0]), [0])
  assert made.rows == {'caf\\udce9': 0} and list(made.stamps) == ['caf\\udce9']
