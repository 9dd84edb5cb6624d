"""Pairs and event logs by their rules, each of which says what it took."""

import logging

import numpy as np
import pytest

from byol_jax.errors import UserError
from byol_jax.retrieval import pairs as pairs_lib
from byol_jax.retrieval.pairs import Events
from byol_jax.retrieval.pairs import Pairs
from byol_jax.retrieval.pairs import Rules

ITEMS = {name: k for k, name in enumerate('abcdef')}


def read(tmp_path, text, rules=None, items=None):
  path = tmp_path / 'log.csv'
  path.write_text(text, encoding='utf-8')
  return pairs_lib.read(str(path), items or ITEMS, rules or Rules())


def shown(pairs):
  names = 'abcdef'
  return [f'{names[a]}{names[p]}{w:g}' for a, p, w in zip(
      pairs.anchor, pairs.positive, pairs.weight)]


def events(*rows, are_users=False):
  """Events of (session, item, weight, minute)."""
  session, item, weight, minute = zip(*rows)
  return Events(np.array(session), np.array([ITEMS[x] for x in item]),
                np.array(weight, float), 60.0 * np.array(minute, float), are_users)


def test_a_file_of_pairs(tmp_path, caplog):
  with caplog.at_level(logging.WARNING, 'byol_jax'):
    pairs, counts = read(tmp_path, 'anchor,positive,weight,time\na,b,2,10\na,a,1,10\n'
                         'a,zz,1,10\nc,b,0,10\nb,a,1,2026-01-01\n')
  assert shown(pairs) == ['ab2', 'ba1'] and list(pairs.time) == [10, 1767225600]
  assert counts == {
      'rows of the file': 5, 'rows with an unknown item': 1,
      'rows that pair an item with itself': 1, 'rows of weight 0': 1}
  assert "1 of 5 rows" in caplog.text and "the first is 'zz' in row 4" in caplog.text
  pairs, _ = read(tmp_path, 'positive,anchor\na,b\n')
  assert shown(pairs) == ['ba1'] and pairs.time is None


def test_a_log_of_events(tmp_path):
  pairs, counts = read(
      tmp_path, 'visitorid,itemid,event,timestamp\n'
      '1,a,view,60\n1,b,add to cart,90\n2,c,transaction,5\n2,d,view,6\n2,e,share,7\n',
      items=ITEMS | {'x': 6})
  assert shown(pairs) == ['ab2', 'cd4'] and list(pairs.time) == [90, 6]
  assert counts['events of the file'] == 5 and counts['sessions'] == 2
  assert counts['events of another kind, or of weight 0'] == 1


def test_the_window_of_a_session():
  rules = Rules(window_minutes=10, window_events=2)
  log = events(('s', 'a', 1, 0), ('s', 'b', 1, 5), ('s', 'c', 1, 10), ('s', 'd', 1, 11),
               ('s', 'e', 1, 30), ('t', 'f', 1, 30))
  pairs, counts = pairs_lib.from_events(log, rules)
  # d is three events behind a; e is too late
  assert shown(pairs) == ['ab1', 'ac1', 'bc1', 'bd1', 'cd1']
  assert counts['pairs of events more than 10 minutes apart'] == 2
  # the order of the file does not matter, but of times
  again, _ = pairs_lib.from_events(Events(*(x[::-1] for x in log[:4])), rules)
  assert shown(again) == shown(pairs)


def test_users_are_cut_into_sessions():
  rules = Rules(window_minutes=10, most_events=2)
  log = [('u', 'a', 1, 0), ('u', 'b', 1, 5), ('u', 'c', 1, 30), ('u', 'd', 4, 31)]
  pairs, counts = pairs_lib.from_events(events(*log, are_users=True), rules)
  assert shown(pairs) == ['ab1', 'cd4'] and counts['sessions'] == 2
  pairs, counts = pairs_lib.from_events(events(*log), rules)
  assert not pairs.size and counts['sessions of more than 2 events'] == 1


def test_the_same_item_is_no_pair():
  pairs, counts = pairs_lib.from_events(events(
      ('s', 'a', 1, 0), ('s', 'a', 1, 1), ('s', 'b', 1, 2)), Rules())
  assert shown(pairs) == ['ab1', 'ab1']
  assert counts['pairs of events of the same item'] == 1


def test_equal_pairs_become_one():
  pairs = Pairs(*np.array([[0, 1], [2, 3], [1, 0], [0, 4], [1, 0]]).T,
                np.array([1, 1, 2, 1, 1.0]), np.array([5, 6, 9, 1, 2.0]))
  once, counts = pairs_lib.merged(pairs, Rules())
  assert shown(once) == ['ab4', 'cd1', 'ae1'] and list(once.time) == [9, 6, 1]
  assert counts['pairs seen before'] == 2
  often, counts = pairs_lib.merged(pairs, Rules(least_count=2))
  assert shown(often) == ['ab4'] and counts['pairs seen less than 2 times'] == 2
  # the heaviest pairs of a popular item stay
  few, counts = pairs_lib.merged(pairs, Rules(most_of_item=1))
  assert shown(few) == ['ab4', 'cd1']
  assert counts['pairs of an item that has 1 already'] == 1


@pytest.mark.parametrize('text,match', [
    ('anchor,price\na,1\n', 'columns anchor, price, none of them for positive'),
    ('name,price\na,1\n', 'name, price: pairs have anchor and positive, an event log'),
    ('item,time\na,1\n', 'none of them for session or user: call it one of user'),
    ('session,item\n1,a\n', 'none of them for time: call it one of time'),
    ('session,item,time\n1,a,soon\n', "row 2, has the time 'soon'"),
    ('anchor,positive,weight\na,b,-1\n', "row 2, has the weight '-1'"),
    ('anchor,positive\nx,y\n', "first is 'x' in row 2, and a known one is 'a': name"),
    ('anchor,positive\na,a\n', "no pair of .* is left: 1 rows of the file, 1 rows that"),
    ('session,item,time\n1,a,1\n2,b,1\n', 'is left: 2 events of the file, 2 sessions'),
    ('anchor,positive\na,\n', 'row 2, has no positive')])
def test_bad_files_end_in_one_line(tmp_path, text, match):
  with pytest.raises(UserError, match=match) as error:
    read(tmp_path, text)
  assert '\n' not in str(error.value)
