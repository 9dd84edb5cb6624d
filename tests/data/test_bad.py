"""Bad images: how many there may be, and what is said of them."""

import pytest

from byol_jax.data import bad
from byol_jax.errors import UserError


def test_several_processes_come_to_too_many_together():
  names = [str(k) for k in range(40)]
  processes = [bad.BadImages(names, 'them', 4) for _ in range(2)]
  def share():
    said = [process.reasons() for process in processes]
    processes[1].add(9, 'met while the others speak')
    ended = []
    for process in processes:
      try:
        for reasons in said:
          process.learn({str(k): why for k, why in reasons.items()})  # as JSON
      except UserError as error:
        ended.append(str(error))
    return ended
  for process in processes:
    process.together = True
  for k in range(2):
    processes[0].add(k, 'empty')
    processes[1].add(k + 1, 'damaged')
  assert not share()  # 0, 1 and 2; the 9 is not told yet
  processes[0].add(20, 'empty')
  assert len(processes[1].reasons()) == 4
  ended = share()
  assert len(ended) == 2 and '5 of 40 images of them' in ended[0]
  assert 'data.max_bad_images allows 4' in ended[0]


@pytest.mark.parametrize('num_images, limit', [
    (5, 1), (50, 5), (5000, 100), (50_000, 100), (1_281_167, 1281)])
def test_default_limit(num_images, limit):
  assert bad.default_limit(num_images) == limit


@pytest.mark.parametrize('names, unique', [
    ('a b a a', 'a b a#2 a#3'), ('a a a#2', 'a a#3 a#2'),
    ('a a#2 a#2 a', 'a a#2 a#2#2 a#3')])
def test_names_are_unique(names, unique):
  assert bad.unique_names(names.split()) == unique.split()


def test_what_was_left_out_is_told_by_reason():
  found = bad.BadImages(['a', 'b', 'c', 'b', 'b', 'b#2'] + ['z'] * 20, 'them', 26)
  for index, why in ((1, 'empty'), (0, 'missing'), (3, 'empty'), (4, 'damaged')):
    found.add(index, why)
  assert found.summary() == ("4 of 26 images of them cannot be used: 'b', 'b' "
                             "(empty); 'a' (missing); 'b' (damaged)")
  found.add(5, 'empty')
  assert found.report() == {'b': 'empty', 'a': 'missing', 'b#3': 'empty',
                            'b#4': 'damaged', 'b#2': 'empty'}
  for index in range(6, 26):
    found.add(index, 'missing')
  assert found.summary().count('(missing)') == 1
  assert found.summary().endswith("(damaged); and 15 more")
  assert len(found.report()) == 25


@pytest.mark.parametrize('root, first', [(None, 'p0'), ('/d', '/d/p0')])
def test_one_cause_of_many_is_told_once(root, first):
  found = bad.BadImages([f'p{k}' for k in range(5000)], 'them', root=root)
  with pytest.raises(UserError, match='101 of 5000 images of them cannot be used, all '
                     f"for one cause: missing. The first is '{first}'; config key"):
    for index in range(200):
      found.add(index, 'missing')


def test_the_limit_ends_the_run_and_names_the_first(caplog):
  found = bad.BadImages([f'{k}.jpg' for k in range(30)], 'them', 2)
  for _ in range(3):  # once is enough, again is harmless
    found.add(4, 'empty')
  found.add(7, 'damaged')
  assert len(found) == 2 and 4 in found and 5 not in found
  assert found.reasons() == {4: 'empty', 7: 'damaged'}
  with pytest.raises(UserError, match=r"3 of 30 images of them cannot be used: "
                     r"'4.jpg', '9.jpg' \(empty\); '7.jpg' \(damaged\); "
                     'config key data.max_bad_images allows 2'):
    found.add(9, 'empty')
  assert [r.getMessage() for r in caplog.records] == [
      "left out '4.jpg' of them: empty",
      "left out '7.jpg' of them: damaged"]
