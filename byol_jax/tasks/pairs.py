"""Opens the pairs that a config names, and divides them."""

from __future__ import annotations

import logging
from typing import NamedTuple

import ml_collections
import numpy as np

from byol_jax import wording
from byol_jax.data.sources import table
from byol_jax.errors import UserError
from byol_jax.evaluation import checks
from byol_jax.retrieval import batches
from byol_jax.retrieval import clicks
from byol_jax.retrieval import groups as groups_lib
from byol_jax.retrieval import head as head_lib
from byol_jax.retrieval import pairs as pairs_lib
from byol_jax.retrieval import tables

_console = logging.getLogger('byol_jax')

_ITEM, _IMAGE = (('item', 'item_id', 'product', 'product_id', 'sku', 'article_id'),
                 ('image', 'image_id', 'path', 'file', 'file_name', 'name'))


class Tested(NamedTuple):
  """Pairs to test on.

  Attributes:
    pairs: each once.
    items: the images of their items, among which positives are searched.
    is_test: whether these are images of the test part; else of the training part.
  """
  pairs: pairs_lib.Pairs
  items: batches.Items
  is_test: bool


class Log(NamedTuple):
  """The pairs of a log, divided.

  Attributes:
    items: the images of the items.
    train: the pairs to learn from, each once.
    test: the pairs to test on; None without any.
    groups: int64 [items], near-duplicates.
    counts: what the rules took, for results.json.
    by: what the parts were divided by.
  """
  items: batches.Items
  train: pairs_lib.Pairs
  test: Tested | None
  groups: np.ndarray
  counts: dict[str, int]
  by: str


def items(config: ml_collections.ConfigDict, data: table.Data,
          split: str) -> batches.Items:
  """Returns the items of pairs.items; without, each image is an item."""
  rows = np.arange(data.size)
  names = table.names_of(data, rows, split)
  path = config.pairs['items']  # .items is a method
  if not path:
    return batches.Items(names, rows[:, None])
  listed = tables.read(path, 'pairs.items')
  place = dict(zip(names, rows.tolist()))
  images: dict[str, list[int]] = {}
  unknown = []
  for item, image in zip(listed.need(_ITEM, 'item'), listed.need(_IMAGE, 'image')):
    if image in place:
      images.setdefault(item, []).append(place[image])
    else:
      unknown.append(image)
  if unknown:
    text = (f'{len(unknown)} of {listed.size} rows of {path!r} name an '
            f'image that {data.name} does not have: the first is {unknown[0]!r}, and '
            f'one that it has is {names[0]!r}')
    if not images:
      raise UserError(f'{text}: name images as they are there')
    _console.warning('%s', text)
  return batches.Items(list(images), [np.unique(x) for x in images.values()])


def read(config: ml_collections.ConfigDict, data: table.Data,
         items: batches.Items) -> tuple[pairs_lib.Pairs, dict[str, int]]:
  """Returns the pairs of pairs.path, or made ones, and what the rules took."""
  c, rules = config.pairs, _rules(config)
  if c.path:
    return pairs_lib.read(c.path, {name: k for k, name in enumerate(items.names)},
                          rules)
  if c['items']:
    raise UserError('config key pairs.items is set, but pairs.path is not: made pairs '
                    'are of single images')
  if data.labels is None:
    raise UserError(f'config key pairs.path is empty, and {data.name} has no labels '
                    'that pairs could be made of: name a file of pairs or events')
  labels = np.asarray(data.labels[np.arange(data.size)])
  checks.check_classes(labels)
  return pairs_lib.from_events(clicks.make(labels, c.made, c.noise, config.seed), rules)


def _made_for_test(config: ml_collections.ConfigDict,
                   test: table.Data | None) -> Tested | None:
  """Returns made pairs of the test part's images, with as much noise; None if none."""
  c = config.pairs
  sessions = round(c.made * c.test)
  if test is None or test.labels is None or not sessions:
    return None
  rows = np.arange(test.size)
  events = clicks.make(np.asarray(test.labels[rows]), sessions, c.noise,
                       config.seed + 1)  # not the order of the others
  pairs, _ = pairs_lib.merged(pairs_lib.from_events(events, _rules(config))[0],
                              _all(config))
  return Tested(pairs, batches.Items([], rows[:, None]), is_test=True)


def _all(config: ml_collections.ConfigDict) -> pairs_lib.Rules:
  """Returns the rules for pairs that test: none is too rare or too many."""
  return _rules(config)._replace(least_count=1, most_of_item=0)


def _rules(config: ml_collections.ConfigDict) -> pairs_lib.Rules:
  return pairs_lib.Rules(**{key: config.pairs[key]
                            for key in pairs_lib.Rules._fields})


def divided(config: ml_collections.ConfigDict, data: table.Data,
            test_data: table.Data | None, x: np.ndarray, readable: np.ndarray,
            items: batches.Items, pairs: pairs_lib.Pairs,
            counts: dict[str, int]) -> Log:
  """Divides the pairs into those that teach and those that test, and tells of it.

  Args:
    config: the task's.
    data: the images.
    test_data: those of the test part, of which made pairs test.
    x: float32 [N, D], the images features; zero for those that cannot be read.
    readable: bool [N].
    items: the images of the items.
    pairs: all pairs.
    counts: what the rules took.
  """
  what = config.pairs.path or 'made clicks'
  images = [rows[readable[rows]] for rows in items.images]
  there = np.array([len(rows) > 0 for rows in images])
  seen = there[pairs.anchor] & there[pairs.positive]
  counts = counts | {'pairs of an item without a readable image': int((~seen).sum())}
  pairs, items = pairs.take(seen), batches.Items(items.names, images)
  pairs_lib.check_left(pairs, counts, what)
  groups = _groups(config.pairs.duplicates, data, x, items, pairs)
  train, test, by = pairs, None, ''
  if not config.pairs.path:
    test, by = _made_for_test(config, test_data), 'images: those of the test part test'
  elif config.pairs.test:
    parts = groups_lib.divide(pairs, groups, config.pairs.test, config.seed,
                              by_time=True)
    counts, by = counts | parts.counts, parts.by
    test = Tested(pairs_lib.merged(pairs.take(parts.held_out), _all(config))[0], items,
                  is_test=False)
    train = pairs.take(parts.kept)
  train, more = pairs_lib.merged(train, _rules(config))
  counts = counts | more
  pairs_lib.check_left(train, counts, what)
  if len(np.unique(groups[np.concatenate([train.anchor, train.positive])])) < 3:
    raise UserError(f'the pairs of {what!r} are of one product, with its '
                    'near-duplicates: there is nothing to tell it from')
  _console.info('%s: %s to learn from%s', what, wording.count(train.size, 'pair'),
                '' if test is None else f', {test.pairs.size} to test, by {by}')
  for text, number in counts.items():
    if number:
      _console.info('  %d %s', number, text)
  return Log(items, train, test, groups, counts, by)


def _groups(least: float, data: table.Data, x: np.ndarray, items: batches.Items,
            pairs: pairs_lib.Pairs) -> np.ndarray:
  """Returns the group of near-duplicates of each item, int64 [items]."""
  used = np.unique(np.concatenate([pairs.anchor, pairs.positive]))
  rows, owner = batches.Items([], [items.images[item] for item in used]).owners
  if isinstance(data, table.Images):
    content = lambda k: data.images[rows[k]].tobytes()
  else:
    content = lambda k: data.read(int(rows[k]))
  first = groups_lib.same_bytes(content, len(rows))
  edges = [np.stack([np.arange(len(rows)), first])]
  equal = int((first != np.arange(len(rows))).sum())
  near = 0
  if least < 1:
    start = head_lib.start(x[rows], x.shape[1])
    standard = (x[rows] - start['mean']) * start['scale']
    alike = np.stack(groups_lib.alike(standard, least))
    edges.append(alike)
    near = alike.shape[1]
  first, second = used[owner[np.concatenate(edges, axis=1)]]
  groups = groups_lib.joined(first, second, len(items.images))
  _console.info(
      'near-duplicates among %d images: %d of equal bytes, %d pairs with a cosine of '
      'at least %g; the largest group has %d of %d items', len(rows), equal, near,
      least, np.bincount(groups[used]).max(), len(used))
  return groups
