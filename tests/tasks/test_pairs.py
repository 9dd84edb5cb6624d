"""The pairs that a config names, and that nothing of the test teaches."""

import logging

import numpy as np
import pytest

from byol_jax.config import keys as keys_lib
from byol_jax.data.sources import table
from byol_jax.errors import UserError
from byol_jax.tasks import pairs as pairs_lib

N = 240
RNG = np.random.default_rng(0)
NAMES = [f'train[{k}]' for k in range(N)]  # as images without a name are called


def config(**values):
  made = keys_lib.base().unlock()
  made.pairs.update(values)
  return made


def images(n=N, labels=True):
  return table.Images(RNG.integers(0, 256, (n, 2, 2, 3), np.uint8),
                      np.arange(n, dtype=np.int32) % 4 if labels else None,
                      None, 'photos')


def divided(c, data, x=None, readable=None, test=None):
  items = pairs_lib.items(c, data, 'train')
  pairs, counts = pairs_lib.read(c, data, items)
  x = RNG.standard_normal((N, 8)).astype(np.float32) if x is None else x
  readable = np.ones(N, bool) if readable is None else readable
  return pairs_lib.divided(c, data, test, x, readable, items, pairs, counts)


def ends(pairs):
  return set(np.concatenate([pairs.anchor, pairs.positive]).tolist())


def write_log(tmp_path):
  """Pairs of images on one shelf of four, with times; and 60 items of four images."""
  log, items = tmp_path / 'log.csv', tmp_path / 'items.csv'
  first = RNG.integers(0, N // 4, 900) * 4
  second = first + RNG.integers(1, 4, 900)
  log.write_text('anchor,positive,time\n' + ''.join(
      f'{NAMES[a]},{NAMES[b]},{k}\n' for k, (a, b) in enumerate(zip(first, second))))
  items.write_text('item,image\n' + ''.join(
      f'p{k % 60},{name}\n' for k, name in enumerate(NAMES)) + 'p0,gone.png\n')
  return str(log), str(items)


def test_no_product_near_duplicate_or_later_event_of_the_test_teaches(tmp_path):
  """Image 8 k + 4 looks as image 8 k does, and image 101 has the bytes of 201."""
  data = images()
  data.images[101] = data.images[201]
  x = RNG.standard_normal((N, 8)).astype(np.float32)
  x[4::8] = x[::8] + 1e-3
  c = config(path=write_log(tmp_path)[0], test=0.3)
  log = divided(c, data, x)
  assert log.test.pairs.size > 10 and not log.test.is_test
  train, test = ends(log.train), ends(log.test.pairs)
  assert not train & test
  shelf = lambda items: {item // 8 for item in items}  # whose clicks and looks touch
  assert not shelf(train) & shelf(test)
  touched = {101 // 8, 201 // 8}
  assert not (touched & shelf(train) and touched & shelf(test))
  assert log.groups[101] == log.groups[201] and log.groups[12] == log.groups[8]
  assert log.train.time.max() < log.test.pairs.time.min()
  assert 'by time' in log.by
  # without a test part all that the rules leave teaches
  everything = divided(config(path=c.pairs.path, test=0.0), data, x)
  assert everything.test is None and everything.train.size > log.train.size


def test_made_pairs_are_tested_on_other_images():
  data, test = images(), images(80)
  c = config(made=200, test=0.25)
  log = divided(c, data, test=test)
  assert log.test.is_test and 'test part' in log.by
  assert 45 <= log.test.pairs.size <= 50 and max(ends(log.test.pairs)) < 80
  assert log.train.size > 190  # none of them is lost
  clean = divided(config(made=200, test=0.25, noise=0.0), data, test=test).test.pairs
  assert (clean.anchor % 4 == clean.positive % 4).all()
  for none in (divided(config(made=200, test=0.0), data, test=test), divided(c, data),
               divided(c, data, test=images(80, labels=False))):
    assert none.test is None


def test_items_have_several_images(tmp_path, caplog):
  _, path = write_log(tmp_path)
  with caplog.at_level(logging.WARNING, 'byol_jax'):
    items = pairs_lib.items(config(items=path), images(), 'train')
  assert items.names[:2] == ['p0', 'p1'] and list(items.images[1]) == [1, 61, 121, 181]
  assert "1 of 241 rows" in caplog.text and "first is 'gone.png'" in caplog.text
  alone = pairs_lib.items(config(), images(), 'train')
  assert alone.names == NAMES and alone.images[7].tolist() == [7]


def test_images_that_cannot_be_read_take_their_pairs(tmp_path):
  readable = np.ones(N, bool)
  readable[:40] = False
  log = divided(config(path=write_log(tmp_path)[0], test=0.0), images(),
                readable=readable)
  assert min(ends(log.train)) >= 40
  assert log.counts['pairs of an item without a readable image'] > 50


def test_mistakes_name_what_to_change(tmp_path):
  log, items = write_log(tmp_path)
  for c, data, text in (
      (config(items=items), images(), 'pairs.items is set, but pairs.path is not'),
      (config(), images(labels=False), 'photos has no labels .* name a file'),
      (config(path=log, least_count=99), images(), 'no pair of .* is left: .* pairs '
       'seen less than 99 times'),
      (config(path=log, items=str(tmp_path / 'other.csv')), images(), 'one that it has '
       r"is 'train\[0\]': name images as they are there")):
    (tmp_path / 'other.csv').write_text('item,image\na,x.jpg\n')
    with pytest.raises(UserError, match=text):
      divided(c, data)
  (tmp_path / 'one.csv').write_text('anchor,positive\ntrain[0],train[1]\n')
  with pytest.raises(UserError, match='are of one product'):
    divided(config(path=str(tmp_path / 'one.csv'), test=0.0), images())
