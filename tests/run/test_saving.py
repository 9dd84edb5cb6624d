"""A save that fails is reported and tried again, less and less often."""

import pytest

from byol_jax.errors import TransientError
from byol_jax.run import saving


class Storage:
  """Stands in for `Checkpoints`: fails while it is told to."""

  def __init__(self):
    self.fails, self.in_background = False, False
    self.steps, self.sent = [], None

  def save(self, step, state, meta):
    del state, meta
    self.check()
    if self.fails:
      raise OSError('no space left')
    self.sent = step

  def check(self):
    if self.in_background:
      self.in_background, self.sent = False, None
      raise OSError('no space left, later')

  def is_saving(self):
    return self.sent is not None

  def end(self):
    self.steps.append(self.sent)
    self.sent = None

  def wait(self):
    self.check()
    if self.sent is not None:
      self.end()

  def latest(self):
    return max(self.steps, default=None)


@pytest.fixture(name='storage')
def _storage():
  return Storage()


@pytest.fixture(name='now')
def _now():
  return [0.0]


@pytest.fixture(name='saver')
def _saver(storage, now):
  def sleep(seconds):
    now[0] += seconds
  return saving.Saver(storage, 'runs/x/checkpoints', clock=lambda: now[0],
                      sleep=sleep)


def test_nothing_is_retried_where_nothing_failed(saver, storage):
  assert not saver.wants_retry()
  saver.save(5, None, {})
  assert not saver.wants_retry()
  storage.end()
  assert not saver.wants_retry()


@pytest.mark.parametrize('in_background', [False, True])
def test_retries_come_less_and_less_often(saver, storage, now, caplog,
                                          in_background):
  waits = []
  for _ in range(5):
    storage.fails = not in_background
    saver.save(5, None, {})
    storage.in_background = in_background
    start = now[0]
    while not saver.wants_retry():
      now[0] += 1.0
    waits.append(now[0] - start)
  assert waits == [5, 20, 60, 300, 300]
  assert 'training goes on, there is no checkpoint yet' in caplog.text
  storage.fails = storage.in_background = False
  saver.save(6, None, {})
  assert not saver.wants_retry()  # under way
  storage.end()
  assert not saver.wants_retry()
  now[0] += 1000
  assert not saver.wants_retry()  # forgotten


def test_the_last_one_is_waited_for(saver, storage, now):
  storage.fails = True
  storage.steps = [40]
  with pytest.raises(TransientError, match='step 50 could not be saved in runs/x'
                     '(.|\n)*last good checkpoint is of step 40'):
    saver.save_last(50, None, {})
  assert now[0] == 20
  storage.fails = False
  saver.save_last(50, None, {})
  assert storage.latest() == 50


def test_what_cannot_be_listed_is_no_reason_to_end(caplog):
  class Gone(Storage):
    def latest(self):
      raise RuntimeError('503')  # gcsfs's errors are no OSError
  storage = Gone()
  storage.fails = True
  saver = saving.Saver(storage, 'gs://bucket/run')
  saver.save(5, {}, {})
  assert 'cannot be listed (503)' in caplog.text


def test_a_save_under_way_counts_as_the_last_good(saver, storage):
  assert saver.last_good() == 'there is no checkpoint yet'
  saver.save(5, None, {})
  assert saver.last_good() == 'the last good checkpoint is of step 5'
  saver.save(10, None, {})
  storage.in_background = True  # it fails
  assert saver.last_good() == 'the last good checkpoint is of step 5'
