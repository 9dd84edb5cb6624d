"""What a run says on the console."""

import functools
import io
import logging
import math
import sys

import pytest

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


class _Terminal(io.StringIO):
  """A terminal that keeps what is written."""

  def isatty(self):
    return True

  def lines(self):
    """The lines that a person sees in the end."""
    seen = []
    for line in self.getvalue().split('\n'):
      row = ''
      for text in line.split('\r'):
        row = text + row[len(text):]
      seen.append(row.rstrip())
    return seen


def _in_terminal(monkeypatch):
  """Makes stdout a terminal; in the test itself: pytest sets it anew before that."""
  monkeypatch.setattr(sys, 'stdout', terminal := _Terminal())
  monkeypatch.setenv('TERM', 'xterm')
  monkeypatch.setenv('COLUMNS', '60')
  return terminal


def test_on_a_terminal_a_line_renews_itself_below_the_others(monkeypatch):
  terminal = _in_terminal(monkeypatch)
  console = console_lib.setup_console()
  console.info('begin')
  console_lib.show('step 1/4', 0.25)
  console_lib.show('step 2', 0.5)
  console.warning('a file is bad')
  assert terminal.lines() == ['begin', 'warning: a file is bad',
                              '[##########..........] step 2']
  console_lib.show('x' * 100, 1.0)
  console_lib.keep()
  console_lib.keep()
  console.info('end')
  assert terminal.lines()[2:] == [f'[{"#" * 20}] {"x" * 36}', 'end', '']


def test_a_progress_line_has_room_for_what_changes(monkeypatch):
  terminal = _in_terminal(monkeypatch)
  values = dict(loss=1.2, learning_rate=.4, tau=.9, seconds_left=4, data_wait=.02,
                images_per_second=812.4)
  assert console_lib.progress_line(5, 20, '0..8', values) == (
      'step 5/20  25.0%  812 img/s  ETA 0:00:04  loss 1.200 (0..8)  wait 2%')
  console_lib.setup_console()
  bar = console_lib.Progress('embed', 200)
  for _ in range(4):
    bar.add(50)
  bar.close()
  assert terminal.lines()[0].startswith(f'[{"#" * 20}] embed  200/200  100%')
  assert terminal.lines()[1:] == ['']


def test_a_file_gets_plain_lines(capsys):
  console_lib.setup_console()
  console_lib.show('step 1/4', 0.25)
  console_lib.show('step 2/4', 0.5)
  console_lib.keep()
  assert capsys.readouterr().out == 'step 1/4\nstep 2/4\n'


def test_a_notebook_is_as_a_terminal_without_width(monkeypatch):
  cell = type('OutStream', (io.StringIO,), {'__module__': 'ipykernel.iostream'})()
  monkeypatch.setattr(sys, 'stdout', cell)
  console_lib.setup_console()
  console_lib.show('x' * 150, 0.0)
  assert cell.getvalue().endswith(f'[{"." * 20}] {"x" * 150}')


def test_a_borrowed_console_is_given_back():
  console = logging.getLogger('byol_jax')
  before = console.handlers, console.propagate, console.level
  with pytest.raises(KeyError), console_lib.borrowed():
    assert not console.propagate
    raise KeyError
  assert (console.handlers, console.propagate, console.level) == before


@pytest.mark.parametrize('error, said', [
    (BrokenPipeError(), ''), (OSError(28, 'No space left on device'),
     'byol_jax: the output cannot be written (No space left on device); going on '
     'without\n')])
def test_a_reader_that_left_and_a_full_disk_are_no_errors(
    monkeypatch, capsys, error, said):
  class Closed(io.StringIO):
    def write(self, text):
      raise error
  monkeypatch.setattr(sys, 'stdout', Closed())
  console = console_lib.setup_console()
  for _ in range(2):
    console.info('a line')
  assert capsys.readouterr().err == said


def test_the_seconds_left_of_a_line():
  assert console_lib.seconds_left('step 1/2  50%  9 img/s  ETA 1:02:03  loss 1') == 3723
  assert math.isnan(console_lib.seconds_left('compiling the train step ...'))
  assert math.isnan(console_lib.seconds_left('step 1/2  ETA ?'))
