"""Bad images that one process meets become known to all, at the same step."""

import json

import jax
import numpy as np
import pytest

from byol_jax.data import bad as bad_lib
from byol_jax.data.sources import table
from byol_jax.devices import hosts
from byol_jax.errors import UserError
from byol_jax.run import bad_images


@pytest.fixture(name='of_others')
def _of_others(monkeypatch):
  """Lets this be one of two processes; returns what the other one has met."""
  met = {}
  told = [0]  # how many of them the other one has told
  asked = []
  def gather(flags):
    asked.append('gather')
    theirs = np.array([len(met) > told[0]])
    told[0] = len(met)
    return np.concatenate([flags, theirs])
  def gather_json(reasons):
    asked.append('json')
    return json.loads(json.dumps([reasons, met]))
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  monkeypatch.setattr(hosts, 'gather', gather)
  monkeypatch.setattr(hosts, 'gather_json', gather_json)
  return met, asked


def _bad(limit=3):
  return bad_lib.BadImages([f'{k}.jpg' for k in range(40)], 'photos', limit)


def _images(bad):
  return table.Images(np.zeros((40, 2, 2, 3), np.uint8), None, None, 'photos', bad)


def test_a_process_by_itself_shares_nothing():
  bad = _bad()
  assert bad_images.sharing(bad) is None and not bad.together
  bad.add(1, 'empty')
  bad_images.share_bad(_images(bad))
  assert bad.reasons() == {1: 'empty'}
  assert bad_images.sharing(None) is None


def test_where_none_can_be_bad_nobody_is_asked(of_others):
  _, asked = of_others
  assert bad_images.sharing(None) is None
  bad_images.share_bad(_images(None))
  assert not asked


def test_what_another_has_met_counts_here(of_others):
  met, _ = of_others
  bad = _bad()
  bad.add(1, 'empty')
  met.update({'7': 'damaged', '1': 'missing'})
  bad_images.share_bad(_images(bad))
  assert bad.reasons() == {1: 'empty', 7: 'damaged'}  # the first word stays


def test_a_run_shares_at_its_steps_and_only_what_is_new(of_others):
  met, asked = of_others
  bad = _bad()
  share = bad_images.sharing(bad)
  share()
  assert asked == ['gather']  # nothing was met: no texts travel
  bad.add(1, 'empty')
  share()
  assert asked == ['gather', 'gather', 'json']
  share()
  assert asked[3:] == ['gather']
  met['7'] = 'damaged'  # here nothing is new, but there
  share()
  assert asked[4:] == ['gather', 'json'] and 7 in bad


def test_too_many_end_the_run_at_a_shared_step_alone(of_others):
  """A process that ended when it meets one too many would leave the others waiting."""
  met, _ = of_others
  bad = _bad(limit=3)
  share = bad_images.sharing(bad)
  for index in range(3):
    bad.add(index, 'empty')
  share()
  met['30'] = 'damaged'
  bad.add(2, 'empty')  # known already
  with pytest.raises(UserError, match='4 of 40 images of photos .* allows 3'):
    share()


def test_a_process_does_not_end_before_the_step_at_which_all_do(of_others):
  bad = _bad(limit=1)
  share = bad_images.sharing(bad)
  bad.add(1, 'empty')
  bad.add(2, 'empty')  # one too many, but the others do not know
  with pytest.raises(UserError, match='2 of 40'):
    share()
