"""Each kind reads a text, checks a value and says what it takes."""

import pytest

from byol_jax.config import kinds
from byol_jax.errors import UserError

NUMBER, WHOLE = kinds.number(above=0), kinds.whole(at_least=0, at_most=4096)
AUTOMATIC, NUMBERS = kinds.automatic(NUMBER), kinds.numbers(3, kinds.share())
LIST, PAIR = kinds.list_of(), kinds.pair('at most 1', at_most=1)


def shown(value):
  """For the names of the tests."""
  if isinstance(value, kinds.Kind):
    return value.words
  return kinds.shown(value)[:40].replace('\\', '')


@pytest.mark.parametrize('kind,text,value', [
    (NUMBER, '3', 3.0), (NUMBER, '1e-3', 0.001), (WHOLE, '12', 12), (WHOLE, '0x10', 16),
    (WHOLE, '0o17', 15), (kinds.share(), '0', 0.0), (kinds.flag(), 'True', True),
    (kinds.flag(), 'f', False), (kinds.flag(), '0', False), (kinds.text(), 'a b=c', 'a b=c'),
    (kinds.choice('a', 'b'), 'b', 'b'), (NUMBERS, '(1, 0.5, 0)', (1, 0.5, 0)),
    (NUMBERS, '[1, 0, 0]', (1, 0, 0)), (LIST, '0.1,0.2', (0.1, 0.2)), (LIST, '3', (3,)),
    (kinds.list_of(empty=True), '()', ()), (kinds.list_of(zero=True), '0', (0,)),
    (PAIR, '(0.5, 1)', (0.5, 1)), (AUTOMATIC, 'None', None), (AUTOMATIC, '2', 2.0),
], ids=shown)
def test_what_is_read(kind, text, value):
  read = kind.read('config key a.b', text)
  assert read == value and type(read) is type(value)
  assert not kind.refusal(value)


@pytest.mark.parametrize('kind,text,words', [
    (NUMBER, 'many', 'a number above 0'), (NUMBER, '0', 'a number above 0'),
    (NUMBER, '', 'a number above 0'), (NUMBER, 'nan', 'finite'),
    (NUMBER, '1e400', 'finite'), (NUMBER, '4e38', 'finite, also in 32 bits'),
    (NUMBER, '1e-50', 'at least 1.18e-38'), (NUMBER, 'None', 'a number above 0'),
    (WHOLE, '4097', 'a whole number of at least 0 and at most 4,096'),
    (WHOLE, '1.0', 'a whole number'), (WHOLE, '-1', 'a whole number of at least 0'),
    (WHOLE, '9' * 5000, 'a whole number'), (kinds.share(), '1.1', 'from 0 to 1'),
    (kinds.flag(), 'yes', 'True or False'), (kinds.text(), 'a\0b', 'NUL'),
    (kinds.choice('a', 'b'), 'c', 'one of a, b'),
    (NUMBERS, '(1, 2, 3)', '3 numbers, each a number from 0 to 1'),
    (NUMBERS, '(1, 1)', '3 numbers'), (NUMBERS, '1', '3 numbers'),
    (NUMBERS, '(1', '3 numbers'), (NUMBERS, '(nan, nan, nan)', '3 numbers'),
    (NUMBERS, '(1, 1, True)', '3 numbers'), (NUMBERS, '{}', '3 numbers'),
    (NUMBERS, '(' * 9000, '3 numbers'), (NUMBERS, 'open("x")', '3 numbers'),
    (LIST, '()', 'one number or more'), (LIST, '(0.1, 0)', 'above 0'),
    (LIST, '2e6,', 'to 1e6'), (LIST, str((1,) * 101), 'at most 100'),
    (PAIR, '(0.5, 0.1)', 'the smaller one first'), (PAIR, '(0, 1)', 'above 0'),
    (PAIR, '(0.5, 2)', 'at most 1'), (PAIR, '(0.1, 0.2, 0.3)', 'two numbers'),
    (AUTOMATIC, 'none', 'a number above 0; or None, automatic'),
], ids=shown)
def test_what_is_refused(kind, text, words):
  with pytest.raises(UserError) as caught:
    kind.read('config key a.b', text)
  assert str(caught.value).startswith('config key a.b is ')
  assert words in str(caught.value) and len(str(caught.value)) < 250


@pytest.mark.parametrize('kind,value', [
    (NUMBER, True), (NUMBER, '1'), (NUMBER, None), (NUMBER, 10**400), (NUMBER, 1j),
    (WHOLE, 1.0), (WHOLE, False), (kinds.flag(), 1), (kinds.text(), b'x'),
    (kinds.text(), None), (kinds.choice('a'), ['a']), (NUMBERS, None),
    (NUMBERS, (1, 10**400, 0)), (LIST, {0.1: 1}), (AUTOMATIC, 'None'),
    (WHOLE, 10**5000), (LIST, (10**5000,))], ids=shown)
def test_values_of_a_file_are_checked_by_type(kind, value):
  with pytest.raises(UserError, match='config key a.b is .*, it must be '):
    kind.check('config key a.b', value)


@pytest.mark.parametrize('key,near', [
    ('train.bach_size', 'train.batch_size'), ('trian.epochs', 'train.epochs'),
    ('bach_size', 'train.batch_size'), ('augment.vie1w.blur', 'augment.view1.blur')])
def test_the_nearest_key(key, near):
  keys = ['train.batch_size', 'train.epochs', 'augment.view2.blur',
          'augment.view1.blur']
  assert kinds.nearest(key, keys) == f' (did you mean {near}?)'


def test_a_section_or_nothing_is_near():
  assert 'such as train.epochs' in kinds.nearest('train', ['train.epochs'])
  assert kinds.nearest('qqq', ['train.epochs']) == ''
