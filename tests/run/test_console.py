"""What a run says on the console."""

import functools
import math

from byol_jax.run import console as console_lib


def test_progress_line():
  figures = dict(loss=1.2341, learning_rate=.42, tau=.99712, seconds_left=451,
                 images_per_second=812.4, data_wait=.012)
  line = functools.partial(console_lib.progress_line, 1250, 24_000, '0..8')
  assert line(figures | {'probe_top1': 81.24}) == (
      'step 1,250/24,000  5.2%  812 img/s  ETA 0:07:31  loss 1.234 (0..8)  '
      'lr 0.42  tau 0.9971  wait 1%  probe 81.2%')
  slow = figures | dict(images_per_second=1.26, seconds_left=math.inf)
  assert '1.3 img/s  ETA ?' in line(slow)
  assert 'probe' not in line(slow)


def test_duration():
  assert console_lib.duration(0) == '0:00:00'
  assert console_lib.duration(59.7) == '0:01:00'
  assert console_lib.duration(360_000) == '100:00:00'
  assert console_lib.duration(math.nan) == '?'


def test_console_prints_plain_lines(capsys):
  console_lib.setup_console()
  console = console_lib.setup_console()
  console.info('step %d', 3)
  console.warning('cannot write %s', 'x')
  assert capsys.readouterr().out == 'step 3\nwarning: cannot write x\n'
