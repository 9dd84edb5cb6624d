"""Pairs of items that people put together, from files of pairs and from event logs.

An event log is turned into pairs by rules (`Rules`). What a rule takes away is counted
by name, and told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import logging
from typing import NamedTuple

import numpy as np

from byol_jax.data.sources.columns import plain
from byol_jax.errors import UserError
from byol_jax.retrieval import tables

_console = logging.getLogger('byol_jax')

# Titles of columns: the first that is there counts (`tables.Table.find`).
_ANCHOR = ('anchor', 'query', 'item1', 'item_a', 'left')
_POSITIVE = ('positive', 'clicked', 'item2', 'item_b', 'right')
_WEIGHT = ('weight', 'count')
_TIME = ('time', 'timestamp', 'datetime', 'date', 'event_time')
_SESSION = ('session', 'session_id', 'user_session')
_USER = ('user', 'user_id', 'visitor', 'visitor_id', 'customer_id')
_ITEM = ('item', 'item_id', 'product', 'product_id', 'sku', 'article_id')
_EVENT = ('event', 'event_type', 'action', 'type')
# what shops call an event: the name of its weight in `Rules`
_KINDS = {'click': 'click', 'view': 'click', 'addtocart': 'cart', 'cart': 'cart',
          'buy': 'purchase', 'purchase': 'purchase', 'transaction': 'purchase',
          'order': 'purchase'}


class Rules(NamedTuple):
  """The rules by which events become pairs, and by which pairs are kept.

  Attributes:
    window_minutes: two events of a session are a pair if no more time is between them.
      A user's events are cut into sessions where more time is.
    window_events: and if the second is at most so many events later.
    click_weight: the weight of a pair of clicks or views.
    cart_weight: of one whose stronger event puts the item into the cart.
    purchase_weight: of one whose stronger event is a purchase.
    most_events: a session with more is a program's, and is dropped.
    least_count: a pair is kept if it was seen so often.
    most_of_item: the most pairs of an item, the heaviest first; 0: all.
  """
  window_minutes: float = 30.0
  window_events: int = 5
  click_weight: float = 1.0
  cart_weight: float = 2.0
  purchase_weight: float = 4.0
  most_events: int = 50
  least_count: int = 1
  most_of_item: int = 200


class Pairs(NamedTuple):
  """Pairs of items; the same pair may be there more than once (`merged`).

  Attributes:
    anchor: int64 [P], numbers of items.
    positive: int64 [P], other items.
    weight: float64 [P], above 0.
    time: float64 [P], seconds since 1970; None where times are not known.
  """
  anchor: np.ndarray
  positive: np.ndarray
  weight: np.ndarray
  time: np.ndarray | None = None

  @property
  def size(self) -> int:
    """Returns P."""
    return len(self.anchor)

  def take(self, rows: np.ndarray) -> Pairs:
    """Returns some of the pairs, by a mask or by rows."""
    return Pairs(*(None if x is None else x[rows] for x in self))


class Events(NamedTuple):
  """Events of an event log, in the order of the file.

  Attributes:
    session: the session or user of each, texts or ints [E].
    item: int64 [E], numbers of items.
    weight: float64 [E], by the kind of event.
    time: float64 [E], seconds.
    are_users: whether `session` names users, whose events are cut into sessions.
  """
  session: np.ndarray
  item: np.ndarray
  weight: np.ndarray
  time: np.ndarray
  are_users: bool = False


def read(path: str, items: Mapping[str, int],
         rules: Rules) -> tuple[Pairs, dict[str, int]]:
  """Reads pairs, or an event log by the rules.

  Args:
    path: a .csv, .tsv or .parquet with the columns anchor, positive and maybe weight
      and time; or with session (or user), item, time and maybe event.
    items: {name: number} of the known items.
    rules: what events become pairs.

  Returns:
    The pairs in the file's order, and what was counted: {text: number}.

  Raises:
    UserError: names the file and what is wrong; no pair is left.
    TransientError: the storage fails for a minute.
  """
  table = tables.read(path, 'pairs.path')
  if table.find(_ANCHOR) is None and table.find(_ITEM) is not None:
    events, counts = _events(table, items, rules)
    pairs, more = from_events(events, rules)
    check_left(pairs, counts | more, path)
    return pairs, counts | more
  if table.find(_ANCHOR) is None and table.find(_POSITIVE) is None:
    raise UserError(
        f'config key pairs.path is {path!r} with the columns '
        f'{", ".join(table.columns)}: pairs have anchor and positive, an event log has '
        'session or user, item and time')
  weight = table.numbers(_WEIGHT, 'weight')
  ends = [_numbered(table.need(titles, what), items) for titles, what in (
      (_ANCHOR, 'anchor'), (_POSITIVE, 'positive'))]
  weight = np.ones(table.size) if weight is None else weight
  pairs = Pairs(*ends, weight, table.times(_TIME))
  unknown = (pairs.anchor < 0) | (pairs.positive < 0)
  itself = ~unknown & (pairs.anchor == pairs.positive)
  nothing = ~unknown & ~itself & (weight == 0)
  _tell_unknown(table, unknown, ends, (_ANCHOR, _POSITIVE), items)
  pairs, counts = pairs.take(~(unknown | itself | nothing)), {
      'rows of the file': table.size,
      'rows with an unknown item': int(unknown.sum()),
      'rows that pair an item with itself': int(itself.sum()),
      'rows of weight 0': int(nothing.sum())}
  check_left(pairs, counts, path)
  return pairs, counts


def check_left(pairs: Pairs, counts: Mapping[str, int], what: str) -> None:
  """Raises UserError, with what took how many, if there is no pair."""
  if not pairs.size:
    raise UserError(f'no pair of {what!r} is left: ' + ', '.join(
        f'{number} {name}' for name, number in counts.items() if number)
                    + '; see the keys of config section pairs')


def _numbered(names: np.ndarray, items: Mapping[str, int]) -> np.ndarray:
  """Returns the numbers of items, int64 [N]; -1 for unknown ones."""
  return np.array([items.get(name, -1) for name in names], np.int64)


def _tell_unknown(table: tables.Table, unknown: np.ndarray,
                  numbers: Sequence[np.ndarray], titles: Sequence[Sequence[str]],
                  items: Mapping[str, int]) -> None:
  """Warns of rows with unknown items; raises UserError if all rows are."""
  if not unknown.any():
    return
  row = int(np.argmax(unknown))
  name = next(table.find(column)[row] for column, found in zip(titles, numbers)
              if found[row] < 0)
  text = (f'{int(unknown.sum())} of {table.size} rows of {table.path!r} name an item '
          f'that is not among the {len(items)} known ones: the first is {name!r} in '
          f'row {table.first + row}')
  if unknown.all():
    raise UserError(f'{text}, and a known one is {next(iter(items))!r}: name items as '
                    'images are named, or set config key pairs.items')
  _console.warning('%s', text)


def _events(table: tables.Table, items: Mapping[str, int],
            rules: Rules) -> tuple[Events, dict[str, int]]:
  """Returns the events whose item is known, with their weights."""
  are_users = table.find(_SESSION) is None
  sessions = table.need(_USER if are_users else _SESSION, 'session or user')
  number = _numbered(table.need(_ITEM, 'item'), items)
  times = table.times(_TIME)
  if times is None:
    table.need(_TIME, 'time')
  weight = np.full(table.size, rules.click_weight)
  if table.find(_EVENT) is not None:
    kinds = table.need(_EVENT, 'event')
    weights = {kind: getattr(rules, f'{name}_weight') for kind, name in _KINDS.items()}
    weight = np.array([weights.get(plain(kind), 0.0) for kind in kinds])
  unknown = number < 0
  _tell_unknown(table, unknown, [number], [_ITEM], items)
  other = ~unknown & (weight == 0)
  kept = ~(unknown | other)
  return Events(sessions[kept], number[kept], weight[kept], times[kept], are_users), {
      'events of the file': table.size, 'events of an unknown item': int(unknown.sum()),
      'events of another kind, or of weight 0': int(other.sum())}


def from_events(events: Events, rules: Rules) -> tuple[Pairs, dict[str, int]]:
  """Turns events into pairs: items that one session holds close together.

  Returns:
    A pair for each two events, the earlier first, with the weight of the stronger and
    the time of the later, in the order of sessions and times; and what was counted.
  """
  _, which = np.unique(np.asarray(events.session, str), return_inverse=True)
  order = np.lexsort((events.time, which))  # stable: the file's order at equal times
  which, item, weight, time = (
      x[order] for x in (which, events.item, events.weight, events.time))
  window = rules.window_minutes * 60
  starts = np.ones(len(which), bool)
  starts[1:] = which[1:] != which[:-1]
  if events.are_users:
    starts[1:] |= np.diff(time) > window
  session = np.cumsum(starts) - 1
  lengths = np.bincount(session) if len(session) else np.zeros(0, int)
  kept = lengths[session] <= rules.most_events
  session, item, weight, time = (x[kept] for x in (session, item, weight, time))
  parts, itself, later = [], 0, 0
  for gap in range(1, rules.window_events + 1):
    together = session[gap:] == session[:-gap]
    near = together & (time[gap:] - time[:-gap] <= window)
    differ = near & (item[gap:] != item[:-gap])
    later, itself = later + int((together & ~near).sum()), itself + int(
        (near & ~differ).sum())
    first = np.flatnonzero(differ)
    parts.append(np.stack([first, first + gap]))
  first, second = np.concatenate(parts, axis=1)
  order = np.lexsort((second, first))
  first, second = first[order], second[order]
  pairs = Pairs(item[first], item[second], np.maximum(weight[first], weight[second]),
                time[second])
  return pairs, {
      'sessions': len(lengths),
      f'sessions of more than {rules.most_events} events': int(
          (lengths > rules.most_events).sum()),
      f'pairs of events more than {rules.window_minutes:g} minutes apart': later,
      'pairs of events of the same item': itself}


def merged(pairs: Pairs, rules: Rules) -> tuple[Pairs, dict[str, int]]:
  """Makes one pair of equal ones, in either direction, and keeps those that count.

  Returns:
    Each pair once, as it was seen first, with the sum of its weights and its last time;
    and what was counted.
  """
  ends = np.stack([pairs.anchor, pairs.positive])
  numbers = keys(*np.sort(ends, axis=0), ends.max(initial=0) + 1)
  _, first, which, count = np.unique(
      numbers, return_index=True, return_inverse=True, return_counts=True)
  weight = np.bincount(which, pairs.weight, len(first))
  time = None
  if pairs.time is not None:
    time = np.full(len(first), -np.inf)
    np.maximum.at(time, which, pairs.time)
  order = np.argsort(first)
  often = order[count[order] >= rules.least_count]
  once = Pairs(pairs.anchor[first], pairs.positive[first], weight, time).take(often)
  kept = once.take(_capped(once, rules.most_of_item))
  return kept, {
      'pairs seen before': pairs.size - len(first),
      f'pairs seen less than {rules.least_count} times': len(first) - len(often),
      f'pairs of an item that has {rules.most_of_item} already':
          once.size - kept.size}


def _capped(pairs: Pairs, most: int) -> np.ndarray:
  """Returns which pairs stay, bool [P], if an item has `most`; the heaviest do."""
  kept = np.ones(pairs.size, bool)
  if not most:
    return kept
  counts = np.bincount(np.concatenate([pairs.anchor, pairs.positive]))
  if counts.max(initial=0) <= most:
    return kept
  counts[:] = 0
  for row in np.argsort(-pairs.weight, kind='stable').tolist():
    ends = (pairs.anchor[row], pairs.positive[row])
    kept[row] = counts[ends[0]] < most and counts[ends[1]] < most
    for end in ends:
      counts[end] += kept[row]
  return kept


def keys(anchor: np.ndarray, positive: np.ndarray, num_items: int) -> np.ndarray:
  """Returns a number for each pair of items, int64."""
  return anchor * np.int64(num_items) + positive
