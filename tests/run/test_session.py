"""What a loop asks of its session: nothing learned is lost, whatever ends it."""

import contextlib

import jax.numpy as jnp
import numpy as np
import pytest

from byol_jax.errors import TransientError
from byol_jax.errors import UserError
from byol_jax.run import session as session_lib
from byol_jax.run import signals


class Saver:
  """Notes what is saved, and how."""

  def __init__(self):
    self.saved, self.retry = [], False

  def save(self, step, state, meta):
    self.saved.append(('on', step, state, meta))

  def save_last(self, step, state, meta):
    self.saved.append(('last', step, state, meta))

  def wants_retry(self):
    return self.retry


class Health:
  skipped = 0

  def __init__(self):
    self.looked, self.states, self.replicas = [], [], []

  def check(self, step, metrics):
    self.looked.append(step)

  def check_state(self, step, state):
    self.states.append(step)

  def check_replicas(self, step, state):
    self.replicas.append(step)


class Watchdog:
  beats = 0

  def beat(self, doing):
    self.beats += 1

  @contextlib.contextmanager
  def paused(self):
    yield


def _session(start=0, total=20, cadence=(4, 8, 5), **more):
  parts = dict(leaving=signals.Leaving(), health=Health(), saver=Saver(),
               watchdog=Watchdog(), meta=lambda: {'when': 'now'}) | more
  return session_lib.Session(start, total, session_lib.Cadence(*cadence), **parts), parts


def _metrics():
  return {'loss': jnp.float32(1.0)}


def _drive(session, *, batches=None, at=None):
  """Runs the loop as tasks/pretrain.py does; at(step) is called within each step."""
  batches = iter(range(100)) if batches is None else batches
  found = {}
  for step in session.steps():
    batch = session.next(batches)
    if batch is None:
      break
    if at is not None:
      at(step)
    session.note(step, f'state {step}', _metrics(), jnp.float32(0))
    found[step] = due = session.due()
    session.settle(due)
    if due.saves:
      session.save(due)
  return found


def test_cadence():
  session, parts = _session()
  found = _drive(session)
  assert list(found) == list(range(1, 21))
  assert [step for step, due in found.items() if due.measure] == [8, 16, 20]
  assert [step for step, due in found.items() if due.log] == [4, 8, 12, 16, 20]
  assert [step for step, due in found.items() if due.save] == [5, 10, 15, 20]
  assert [due.last for due in found.values()] == [False] * 19 + [True]
  saved = parts['saver'].saved
  assert [(how, step) for how, step, *_ in saved] == [
      ('on', 5), ('on', 10), ('on', 15), ('last', 20)]
  assert saved[0][2:] == ('state 5', {'when': 'now'})
  assert parts['health'].looked == list(range(1, 21))  # every one, in order
  assert parts['health'].replicas == [5, 10, 15, 20]
  assert set(parts['health'].states) == {4, 5, 8, 10, 12, 15, 16, 20}
  assert not session.left and not session.is_leaving()


def test_it_goes_on_behind_the_steps_that_are_done():
  assert list(_drive(_session(start=17)[0])) == [18, 19, 20]
  assert not _drive(_session(start=20)[0])


def test_a_failed_save_is_tried_again_between_the_others():
  session, parts = _session(total=4, cadence=(100, 100, 100))
  parts['saver'].retry = True
  found = _drive(session)
  assert [due.retry for due in found.values()] == [True, True, True, False]
  assert [step for _, step, *_ in parts['saver'].saved] == [1, 2, 3, 4]
  assert parts['health'].replicas == [4]  # a retry looks at the state alone


def test_before_the_first_step_a_signal_ends_at_once_and_then_saves():
  session, parts = _session()
  assert parts['leaving'].now is signals.Now.AT_ONCE
  seen = []
  _drive(session, at=lambda step: seen.append(parts['leaving'].now))
  assert seen[0] is signals.Now.AT_ONCE
  assert set(seen[1:]) == {signals.Now.AFTER_SAVING}


def test_a_signal_in_a_step_saves_it_and_ends_the_loop():
  session, parts = _session()
  found = _drive(session, at=lambda step: (
      parts['leaving']._asked.set() if step == 7 else None))
  assert list(found)[-1] == 7 and found[7].leave and found[7].log
  assert not found[7].measure
  assert session.left and parts['saver'].saved[-1][:2] == ('last', 7)


def test_a_signal_while_input_is_waited_for_saves_what_there_is():
  session, parts = _session()
  def batches():
    yield from range(3)
    parts['leaving']._asked.set()
    assert session.meanwhile()
    yield None  # as prefetch does once meanwhile() says so
  assert list(_drive(session, batches=batches())) == [1, 2, 3]
  assert session.left and parts['saver'].saved[-1][:2] == ('last', 3)


@pytest.mark.parametrize('error', [UserError('bad images'), TransientError('a disk')])
def test_input_that_fails_keeps_what_was_learned(error):
  session, parts = _session()
  def batches():
    yield from range(3)
    raise error
  with pytest.raises(type(error)):
    _drive(session, batches=batches())
  assert parts['saver'].saved[-1][:3] == ('last', 3, 'state 3')
  assert parts['health'].looked[-1] == 3


def test_input_that_fails_at_first_has_nothing_to_keep():
  session, parts = _session()
  def batches():
    raise UserError('no images')
    yield
  with pytest.raises(UserError):
    _drive(session, batches=batches())
  assert not parts['saver'].saved


def test_a_measurement_that_fails_keeps_the_step_and_counts_no_time():
  session, parts = _session()
  def fail():
    raise TransientError('a disk')
  for step in session.steps():
    session.next(iter([0]))
    session.note(step, f'state {step}', _metrics(), jnp.float32(0))
    if step == 2:
      with pytest.raises(TransientError):
        session.pausing(fail)
      break
  assert parts['saver'].saved == [('last', 2, 'state 2', {'when': 'now'})]


def test_several_leave_two_steps_behind_the_signal(monkeypatch):
  """All see a step's signal once it is two steps on: they leave at the same one."""
  monkeypatch.setattr(session_lib.jax, 'process_count', lambda: 2)
  shared = []
  session, parts = _session(share=lambda: shared.append(1))
  left_at = None
  for step in session.steps():
    session.next(iter([0]))
    asked = jnp.float32(step == 9)  # of another process
    session.note(step, step, _metrics(), asked)
    due = session.due()
    session.settle(due)
    if due.saves:
      session.save(due)
    left_at = step
  assert left_at == 11 and session.left
  assert parts['saver'].saved[-1][:2] == ('last', 11)
  # where something is logged or saved, all tell each other what they have met
  assert len(shared) == len({4, 5, 8, 10, 11})
  assert not session.meanwhile()  # one of several never leaves alone


def test_what_the_others_are_told():
  session, parts = _session()
  assert not np.any(session.asked())
  parts['leaving']._asked.set()
  assert np.all(np.asarray(session.asked()) == 1)
