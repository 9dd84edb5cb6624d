"""How fast a run is, by a clock of the test."""

import math

from byol_jax.run import stopwatch


def test_stopwatch():
  now = [100.]
  watch = stopwatch.Stopwatch(10, clock=lambda: now[0])
  def spend(seconds):
    now[0] += seconds
  spend(3)
  with watch.waiting():
    spend(1)
  with watch.paused():
    spend(50)
  assert watch.lap(30, batch_size=8, total_steps=50) == {
      'images_per_second': 40., 'data_wait': .25, 'seconds_left': 4.}
  spend(10)   # the next window knows nothing of the last
  assert watch.lap(40, batch_size=8, total_steps=50) == {
      'images_per_second': 8., 'data_wait': 0., 'seconds_left': 10.}
  assert watch.lap(40, batch_size=8, total_steps=50)['seconds_left'] == math.inf


def test_stopwatch_counts_from_when_the_devices_are_idle():
  now, ends = [0.], [3.]  # the last step computes until then
  watch = stopwatch.Stopwatch(0, clock=lambda: now[0])
  def wait(*seconds):
    with watch.waiting(lambda: now[0] < ends[0]):
      for part in seconds:
        now[0] += part
        watch.look()
  wait(1, 1)        # the batch is there first
  wait(1.5, .5, 1)  # seen idle after 1.5
  wait(.5)          # idle all the time
  assert watch.lap(1, batch_size=1, total_steps=1)['data_wait'] == 2 / 5.5
