"""Axes: round values within the ends."""

import pytest

from byol_jax.pages import axis


@pytest.mark.parametrize('values, log', [
    ([0, 1], False), ([0.98, 0.98003], False), ([5.0], False), ([1e-8, 1e4], True),
    ([3.0, 3.1], True)])
def test_ticks_are_within(values, log):
  found = axis.Axis(values, log)
  ticks = found.ticks()
  assert 1 <= len(ticks) <= 12
  assert all(0 <= found.share(tick) <= 1 for tick in ticks)
  assert found.share(values[0]) <= found.share(values[-1])


@pytest.mark.parametrize('value, shown', [
    (0.5, '0.5'), (1e-6, '1e-6'), (20_000, '20k'), (3_000_000, '3M'), (0, '0')])
def test_short(value, shown):
  assert axis.short(value) == shown


def test_steps_are_round():
  assert axis.steps(0, 10) == 2 and axis.steps(70, 90, 5) == 5
